"""Webhooks of a running instance, at a terminal: made, tried, paused, rotated, replayed, and gone."""

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from journeys.test_serve import Serving, eventually


class Receiver(ThreadingHTTPServer):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.came: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), Taking)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def wait(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        eventually(lambda: len(self.came) >= count, within_seconds=30)
        return self.came


class Taking(BaseHTTPRequestHandler):
    """Takes everything."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.came.append(({name.lower(): value for name, value in self.headers.items()}, body))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.shutdown()
    one.server_close()


@pytest.fixture
def instance() -> Iterator[Serving]:
    folder = Path(tempfile.mkdtemp(prefix="instrument-registry-webhooks-"))
    folder.chmod(0o711)  # as root the server runs as nobody, who has to pass
    one = Serving(folder / "data", workers=1)
    one.environment["INSTRUMENT_REGISTRY_WEBHOOK_NETWORKS"] = "127.0.0.0/8"
    try:
        yield one.start()
    finally:
        one.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def told(instance: Serving, *words: str) -> dict:
    answer = instance.run(*words, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_an_endpoint_is_made_tried_paused_rotated_replayed_and_deleted(instance: Serving, receiver: Receiver) -> None:
    made = told(instance, "webhooks", "create", receiver.url, "--type", "alias.*", "--type", "webhook_endpoint.*")
    (first, first_body), *_ = receiver.wait(1)  # that it was made
    instance.run("webhooks", "pause", "1", "--reason", "A release")
    ping = instance.run("deliveries", "ping", "1")
    paused = told(instance, "webhooks", "list")["webhooks"]
    waiting = told(instance, "deliveries", "list", "1", "--status", "waiting")["deliveries"]
    instance.run("webhooks", "resume", "1", "--reason", "Released")
    rotated = told(instance, "webhooks", "rotate", "1", "--overlap", "60")
    came = receiver.wait(6)  # made, paused, pinged, the ping, resumed, rotated
    counted = instance.run("deliveries", "replay", "1", "--from", "1", "--reason", "Lost a disk", "--dry-run")
    refused = instance.run("webhooks", "create", "http://10.0.0.1/")
    gone = instance.run("webhooks", "delete", "1", "--reason", "No more")

    assert Webhook(made["verifies_with"]).verify(first_body, first)["type"] == "webhook_endpoint.created"
    assert ping.stdout.startswith("It is due")
    assert [one["state"] for one in paused] == ["paused"]
    assert "webhook.ping" in {one["type"] for one in waiting}
    types = [json.loads(body)["type"] for _, body in came]
    assert {"webhook_endpoint.paused", "webhook.ping", "webhook_endpoint.resumed"} <= set(types)
    assert rotated["verifies_with"] != made["verifies_with"]
    assert "It would send" in counted.stdout
    assert (refused.returncode, "not sent to" in refused.stderr) == (2, True)
    assert gone.stdout == "1 is gone.\n"
    assert (instance.data_dir / "master.key").stat().st_mode & 0o777 == 0o600
