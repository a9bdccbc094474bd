"""Consumers, workers and the database killed at any time: all arrives, and what kills a consumer is put aside."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
import pytest

from instrument_registry.http.routes import PREFIX
from journeys.test_serve import Serving, eventually, serving

__all__ = ["serving"]  # a fixture

CONSUMER = """
import os, signal, sys
from instrument_registry.consumer import Consumer, Subscription

url, key, path, poison = sys.argv[1:5]
done = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def handle(event):
    number = event.data["n"]
    if number == int(poison):
        os.kill(os.getpid(), signal.SIGKILL)
    os.write(done, f"{number}\\n".encode())

asked = Subscription(consumer_id="journey", event_types=["external.*"], start="earliest", batch_size=20)
Consumer(url, key, asked).run(handle)
"""
EVENTS, AT_ONCE, POISON = 400, 4, 57
# Of workers and databases five crashes in a minute would be too many for the supervisor.
KILLS = {40: "consumer", 80: "api", 120: "consumer", 160: "consumer", 200: "postgres", 280: "api", 320: "consumer"}


class Instance:
    """A running instance as its callers see it: now and then it does not answer."""

    def __init__(self, serving: Serving, folder: Path) -> None:
        self.serving, self.done = serving, folder / "done"
        self.key = (serving.data_dir / "operator.key").read_text(encoding="ascii").strip()
        self.consumer: subprocess.Popen[bytes] | None = None
        self.deaths = 0

    def ask(self, path: str, body: object = None, **headers: str) -> dict:
        """The answer, asked for until there is one."""
        data = None if body is None else json.dumps(body).encode()
        headers |= {"X-Internal-API-Key": self.key, "Content-Type": "application/json"}
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(self.serving.url + PREFIX + path, data, headers)
                with urllib.request.urlopen(request, timeout=5) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                assert error.code == 503, error.read()
            except OSError:
                assert time.monotonic() < deadline, self.serving.words()[-2000:]
            time.sleep(0.02)

    def publish(self, first: int) -> None:
        """A few events; sent again when the answer was lost, which must not tell them twice."""
        told = [{"event_type": "external.tick", "data": {"n": n}} for n in range(first, first + AT_ONCE)]
        self.ask("/events/publish", {"events": told}, **{"Idempotency-Key": f"ticks-{first}"})

    def ensure_consumer(self) -> None:
        """A consumer that died is started again."""
        if self.consumer is None or self.consumer.poll() is not None:
            self.deaths += self.consumer is not None
            command = [sys.executable, "-c", CONSUMER, self.serving.url, self.key, str(self.done), str(POISON)]
            with open(self.done.with_suffix(".log"), "ab") as log:
                self.consumer = subprocess.Popen(command, env=self.serving.environment, stdout=log, stderr=log)

    def handled(self) -> Counter[int]:
        """How often each number was handled."""
        return Counter(map(int, self.done.read_text().split())) if self.done.exists() else Counter()


@pytest.mark.serial
def test_everything_arrives_while_consumers_and_workers_are_killed(serving: Serving, tmp_path: Path) -> None:
    serving.environment |= {"INSTRUMENT_REGISTRY_EVENT_RETRY_SECONDS": "0.1"}
    serving.start()
    chance, here = random.Random(4), Instance(serving, tmp_path)
    try:
        for first in range(0, EVENTS, AT_ONCE):
            here.ensure_consumer()
            here.publish(first)
            if first in KILLS:
                kill(here, KILLS[first], chance)
            time.sleep(0.04)

        def finished() -> bool:
            here.ensure_consumer()
            return len(here.handled()) >= EVENTS - 1 and here.ask("/events/dlq")["total"] >= 1

        eventually(finished, within_seconds=60, otherwise=lambda: str(here.ask("/consumers/journey")))
        letters = here.ask("/events/dlq/external.tick")["dead_letters"]
        listed = here.ask("/events?event_types=external.tick&limit=1000")["events"]
        eventually(lambda: here.ask("/consumers/journey")["held"] == 0)
        standing = here.ask("/consumers/journey")
    finally:
        with contextlib.suppress(ProcessLookupError):
            here.consumer.kill()
        here.consumer.wait()
    handled = here.handled()

    assert [event["data"]["n"] for event in listed] == list(range(EVENTS))  # told once, in order
    assert set(handled) == set(range(EVENTS)) - {POISON}  # nothing missing
    assert [(one["reason"], one["attempts"]) for one in letters] == [("never acknowledged", 3)]
    assert standing["waiting"] == 0
    assert handled.total() - len(handled) <= 20 * (len(KILLS) + here.deaths)  # twice only what was in hand


def kill(here: Instance, whom: str, chance: random.Random) -> None:
    """Kill a consumer, a worker that answers, or the database, without a word."""
    if whom == "consumer":
        here.consumer.send_signal(signal.SIGKILL)
        here.consumer.wait()
        return
    eventually(lambda: bool(here.serving.children(whom)))
    with contextlib.suppress(psutil.NoSuchProcess):
        chance.choice(here.serving.children(whom)).kill()


def test_a_stream_does_not_hold_up_the_stop_and_is_told_of_it(serving: Serving, tmp_path: Path) -> None:
    serving.start()
    here = Instance(serving, tmp_path)
    headers = {"X-Internal-API-Key": here.key, "Content-Type": "application/json"}
    body = json.dumps({"consumer_id": "journey"}).encode()
    request = urllib.request.Request(f"{serving.url}{PREFIX}/events/stream", body, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        first = json.loads(answer.readline())
        began = time.monotonic()
        serving.process.terminate()
        last = [json.loads(line) for line in answer][-1]
        took = time.monotonic() - began
    serving.process.wait(30)

    assert first["event_type"] == "heartbeat"
    assert last["ends"] == "stopping"
    assert took < 8  # less than the grace that requests are given
