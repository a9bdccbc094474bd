"""Operated while it runs: what is ordered reaches every process, and no restart costs a request."""

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest

from conftest import DatabaseUrls
from journeys.test_serve import ENDS_WITHIN_SECONDS, Serving, eventually, gone, serving  # noqa: F401 - a fixture

PREFIX = "/api/v1/internal/instrument-registry"
WHY = {"reason": "trial"}
ASKERS = 12
HELD = "select count(*) from instrument_registry.consumer_streams where alive_until > clock_timestamp() and not leaving"


class Connection:
    """One connection that is kept, as a pool keeps it: whatever breaks on it is the caller's failed request."""

    def __init__(self, port: int, key: str, *, timeout_seconds: float = 20) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)
        self._headers = {"X-Internal-API-Key": key, "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        content = None if body is None else json.dumps(body)
        self._http.request(method, path if path.startswith("/health") else PREFIX + path, content, self._headers)
        answer = self._http.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")

    def close(self) -> None:
        self._http.close()


def key_of(one: Serving) -> str:
    return (one.data_dir / "operator.key").read_text(encoding="ascii").strip()


def ask(one: Serving, method: str, path: str, body: object = None, *, key: str | None = None) -> tuple[int, dict]:
    """One request on a connection of its own, so that any worker may answer."""
    connection = Connection(one.port, key or key_of(one))
    with contextlib.closing(connection):
        return connection.ask(method, path, body)


def entries(one: Serving) -> dict[str, float]:
    """How many answers each process remembers."""
    _, text = one.get("/metrics")
    found = re.findall(r"^instrument_registry_cache_entries{([^}]*)} (\S+)$", text, re.MULTILINE)
    return {
        re.search(r'process="([^"]+)"', labels)[1]: float(value) for labels, value in found if '"answers"' in labels
    }


class TestWhatIsOrdered:
    def test_reaches_every_process(self, serving: Serving) -> None:  # noqa: F811
        serving.environment["INSTRUMENT_REGISTRY_LOG_FORMAT"] = "json"
        serving.start()
        eventually(lambda: len(serving.children("api")) == 2)

        def both_remember() -> bool:
            ask(serving, "GET", "/search?query=tea")
            there = entries(serving)
            return len(there) >= 2 and sum(value > 0 for value in there.values()) == 2

        eventually(both_remember)
        status, evicted = ask(serving, "POST", "/actuator/caches/answers/evict", WHY)
        eventually(lambda: not any(entries(serving).values()), within_seconds=10)
        ask(serving, "POST", "/actuator/loggers/http", {"level": "debug", **WHY})

        def debug_of_both() -> bool:  # probes are told at debug, so that each process says so at once
            for _ in range(10):
                serving.get("/health/live")
            answered = re.findall(r'"level":"debug"', serving.words())
            return len(answered) >= 20

        eventually(debug_of_both, within_seconds=20)
        asked, _ = ask(serving, "POST", "/actuator/tasks/retention/run", WHY)

        def had_its_turn() -> bool:
            _, told = ask(serving, "GET", "/actuator/tasks")
            retention = next(one for one in told["tasks"] if one["name"] == "retention")
            return retention["turns"] >= 1 and retention["taken_at"] is not None and retention["ended_at"] is not None

        eventually(had_its_turn, within_seconds=30)
        listed = serving.run("tasks", "list", "--json")
        turned = serving.run("toggles", "off", "event_streaming", "--reason", "trial", "--json")
        nearest = serving.run("toggles", "off", "event_streeming", "--reason", "trial")
        looked = serving.run("top", "--once", "--json", "--every", "0.5")

        assert (status, evicted["evicted"], asked) == (200, ["answers"], 202)
        assert "retention" in {one["name"] for one in json.loads(listed.stdout)["tasks"]}
        assert json.loads(turned.stdout)["enabled"] is False
        assert (nearest.returncode, "event_streaming?" in nearest.stderr) == (2, True)
        now = json.loads(looked.stdout)
        assert {"api-1", "api-2", "worker"} <= {one["process"] for one in now["processes"]}
        assert now["requests_per_second"] > 0

    def test_configuration_is_watched_across_a_restart(self, serving: Serving, tmp_path: Path) -> None:  # noqa: F811
        serving.start()
        with (tmp_path / "watched").open("wb") as out:
            watching = subprocess.Popen(
                [sys.executable, "-m", "instrument_registry", "config", "watch", "--json"],
                env=serving.environment, stdout=out, stderr=subprocess.DEVNULL,
            )  # fmt: skip

            def versions() -> list[int]:
                lines = (tmp_path / "watched").read_text(encoding="utf-8").splitlines()
                told = [json.loads(line) for line in lines if line.startswith("{")]
                return [one["version"] for one in told if one["kind"] == "change"]

            eventually(lambda: "snapshot" in (tmp_path / "watched").read_text(encoding="utf-8"))
            ask(serving, "POST", "/actuator/config", {"CACHE_TTL_SECONDS": 7, **WHY})
            eventually(lambda: versions() == [1])
            before = {child.pid for child in serving.children("api")}
            serving.process.send_signal(signal.SIGHUP)
            eventually(lambda: not before & {child.pid for child in serving.children("api")}, otherwise=serving.words)
            ask(serving, "POST", "/actuator/config", {"CACHE_TTL_SECONDS": 8, **WHY})
            eventually(lambda: versions() == [1, 2])
            watching.terminate()
            watching.wait(ENDS_WITHIN_SECONDS)


@dataclass
class Load:
    """Callers at a steady rate on kept connections: two of three ask by GET, the third by POST."""

    port: int
    key: str
    per_second: float
    stop: threading.Event = field(default_factory=threading.Event)
    answered: "Counter[str]" = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def going_on(self) -> Iterator["Load"]:
        callers = [threading.Thread(target=self._call, args=(number,)) for number in range(ASKERS)]
        for caller in callers:
            caller.start()
        try:
            yield self
        finally:
            self.stop.set()
            for caller in callers:
                caller.join()

    def _call(self, number: int) -> None:
        connection, due = Connection(self.port, self.key), time.monotonic()
        while not self.stop.is_set():
            method = "POST" if (number + self.answered["GET"]) % 3 == 0 else "GET"
            try:
                if method == "POST":
                    status, told = connection.ask("POST", "/instruments/bulk", {"instrument_ids": ["NSE:RELIANCE"]})
                else:
                    status, told = connection.ask("GET", "/search?query=reliance&limit=3")
                if status != 200:
                    self.failed.append(f"{method}: {status} {told.get('detail')}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{method}: {type(error).__name__}")
                connection.close()
                connection = Connection(self.port, self.key)
            self.answered[method] += 1
            due = max(due + ASKERS / self.per_second, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))
        connection.close()


class TestRestarting:
    @pytest.mark.serial
    @pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=[pytest.mark.nemesis, pytest.mark.timeout(1200)])])
    def test_by_turns_under_load_loses_no_request(
        self,
        serving: Serving,  # noqa: F811
        database_urls: DatabaseUrls,
        rounds: int,
    ) -> None:
        serving.environment["INSTRUMENT_REGISTRY_DATABASE_URL"] = database_urls.service
        serving.environment["INSTRUMENT_REGISTRY_OWNER_DATABASE_URL"] = database_urls.owner
        serving.environment["INSTRUMENT_REGISTRY_WORKERS"] = "4"
        serving.start()
        eventually(
            lambda: len(serving.children("api")) == 4 and ask(serving, "GET", "/health/ready")[0] == 200,
            within_seconds=240,
        )
        load = Load(serving.port, key_of(serving), per_second=500)
        not_ready: list[int] = []
        with load.going_on():
            for _ in range(rounds):
                before = {child.pid for child in serving.children("api")}
                serving.process.send_signal(signal.SIGHUP)

                def restarted(before: set[int] = before) -> bool:
                    status, told = ask(serving, "GET", "/health/ready")
                    if status != 200 and "stopping" in str(told.get("detail")):
                        not_ready.append(status)
                    there = {child.pid for child in serving.children("api")}
                    return not before & there and len(there) == 4

                eventually(restarted, within_seconds=240, otherwise=serving.words)
            one = serving.children("api")[0]
            one.terminate()
            eventually(lambda: gone([one]) and len(serving.children("api")) == 4, within_seconds=240)
            time.sleep(0.5)

        print(f"\n{load.answered} requests, {len(load.failed)} failed")
        assert load.failed == []
        assert not_ready == []  # the address stays ready: others answer there
        assert load.answered["GET"] > 100
        assert load.answered["POST"] > 50

    def test_one_that_is_told_to_stop_says_so_before_it_takes_no_more(
        self,
        serving: Serving,  # noqa: F811
        database_urls: DatabaseUrls,
    ) -> None:
        serving.environment["INSTRUMENT_REGISTRY_DATABASE_URL"] = database_urls.service
        serving.environment["INSTRUMENT_REGISTRY_STOP_DELAY_SECONDS"] = "2"
        key = json.loads(serving.run("keys", "create", "o", "--scope", "operator", "--json").stdout)["key"]
        serving.command = ("api",)
        serving.start()
        kept = Connection(serving.port, key)
        kept.ask("GET", "/search?query=tea")
        with psycopg.connect(database_urls.owner) as owner:  # a request that is under way meanwhile
            owner.execute("lock table instrument_registry.aliases in access exclusive mode")
            answers: list[int] = []
            under_way = threading.Thread(target=lambda: answers.append(ask(serving, "GET", "/aliases", key=key)[0]))
            under_way.start()
            eventually(lambda: waits(database_urls.owner))
            serving.process.terminate()
            said: list[str] = []

            def says_so() -> bool:
                status, told = ask(serving, "GET", "/health/ready", key=key)
                said.append(str(told.get("detail")))
                return status == 503

            eventually(says_so, within_seconds=10)
            still, _ = ask(serving, "GET", "/search?query=tea", key=key)
            on_the_old, _ = kept.ask("GET", "/search?query=tea")
            alive, _ = ask(serving, "GET", "/health/live", key=key)
            eventually(lambda: not listens(serving.port), within_seconds=10)
            running = serving.process.poll() is None
            owner.rollback()
        under_way.join()
        kept.close()

        assert said[-1].startswith("stopping")
        assert (still, on_the_old, alive, running) == (200, 200, 200, True)
        assert answers == [200]
        assert serving.process.wait(ENDS_WITHIN_SECONDS) == 0

    def test_a_consumer_has_its_place_back_when_its_worker_ends(
        self,
        serving: Serving,  # noqa: F811
        database_urls: DatabaseUrls,
    ) -> None:
        serving.environment["INSTRUMENT_REGISTRY_DATABASE_URL"] = database_urls.service
        key = json.loads(serving.run("keys", "create", "o", "--scope", "operator", "--json").stdout)["key"]
        serving.command = ("api",)
        serving.start()
        streaming = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=20)
        body = json.dumps({"consumer_id": "billing", "process": "one"})
        headers = {"X-Internal-API-Key": key, "Content-Type": "application/json"}
        streaming.request("POST", PREFIX + "/events/stream", body, headers)
        answer = streaming.getresponse()
        answer.readline()
        eventually(lambda: held_places(database_urls.owner) == 1)
        serving.process.terminate()
        last = [line for line in iter(answer.readline, b"") if line.strip()][-1]
        streaming.close()
        code = serving.process.wait(ENDS_WITHIN_SECONDS)

        assert (code, json.loads(last)["ends"]) == (0, "stopping")
        assert held_places(database_urls.owner) == 0


class TestLiveness:
    def test_answers_whatever_else_is_gone(self, serving: Serving) -> None:  # noqa: F811
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            serving.environment["INSTRUMENT_REGISTRY_EVENT_BROKER_URL"] = (
                f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
            )
        serving.start()
        (server,) = serving.children("postgres")
        family = [server, *server.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        hanging = [serving.get("/health/live")[0] for _ in range(20)]
        not_ready = serving.get("/health/ready")[0]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        gone = [serving.get("/health/live")[0] for _ in range(20)]
        eventually(lambda: serving.answers("/health/ready"), otherwise=serving.words)

        assert set(hanging) == set(gone) == {200}
        assert not_ready != 200


def waits(owner_url: str) -> bool:
    with psycopg.connect(owner_url) as owner:
        question = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        return owner.execute(question).fetchone() is not None


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def held_places(owner_url: str) -> int:
    with psycopg.connect(owner_url) as owner:
        return owner.execute(HELD).fetchone()[0]
