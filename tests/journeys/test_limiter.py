"""The limiter over four processes: never more than the limit in any window, never a false refusal, never nobody."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import limiters
from redis_servers import RedisServer, binaries, serving

PROCESSES, LIMIT, SECONDS = 4, 60, 1
SPAN_NS = SECONDS * 1_000_000_000
Passed = list[tuple[int, int]]
Fleet = list["subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with serving(binaries()["valkey"], tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Four processes that become what a test wants."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, limiters.__file__],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip
    yield started
    for one in started:
        one.kill()
        one.communicate()


def become(fleet: Fleet, kind: str, places: Sequence[str], *, limit: int = LIMIT) -> None:
    """Let each process limit at its place: `file` or `file|address of a Redis`."""
    for one, place in zip(fleet, places, strict=True):
        ask(one, f"be {kind} {place} {limit} {SECONDS}")
    for one in fleet:
        answer(one)


def ask(worker: "subprocess.Popen[str]", words: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(words + "\n")


def answer(worker: "subprocess.Popen[str]") -> object:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    while not line.startswith(("[[", "[]", "{")):  # what the limiter logs
        line = worker.stdout.readline()
    return json.loads(line)


def hammered(started: Fleet, *, spans: float, phase: float | None = None) -> float:
    """Let all of them ask as often as it goes, from a phase of the clock's own windows on; when that begins."""
    now, wall = time.monotonic(), time.time()
    begins = now + 0.1
    if phase is not None:
        begins = now + ((wall // SECONDS + 1 + phase) * SECONDS - wall)
    for one in started:
        ask(one, f"hammer {begins} {begins + spans * SECONDS}")
    return begins


def worst(passed: Passed, *, since: float = 0.0) -> int:
    """The most that were certainly let pass within one window: begun after its start, answered before its end."""
    asked = sorted(one for one in passed if one[0] > since * 1e9)
    most = first = 0
    ended = sorted(after for _, after in asked)
    for before, _ in asked:
        while first < len(ended) and ended[first] - before < SPAN_NS:
            first += 1
        begun_earlier = sum(1 for other, after in asked if other < before and after <= ended[first - 1])
        most = max(most, first - begun_earlier)
    return most


def all_of(started: Fleet) -> list[Passed]:
    return [answer(one) for one in started]  # type: ignore[misc]


class TestFourProcesses:
    """Each begins to ask shortly before the clock's window ends, which is where counters by windows fail."""

    @pytest.mark.parametrize(
        ("kind", "exact"), [("memory", True), ("redis", True), ("limits", True), ("fixed", False), ("counter", False)]
    )
    def test_let_pass_no_more_than_the_limit_in_any_window(
        self, server: RedisServer, fleet: Fleet, tmp_path: Path, kind: str, exact: bool
    ) -> None:
        server.do("FLUSHALL")
        places = [f"{tmp_path}/{0 if kind == 'memory' else number}" for number in range(PROCESSES)]
        if kind != "memory":
            places = [f"{place}|{server.url}" for place in places]

        become(fleet, kind, places)
        hammered(fleet, spans=2.6, phase=0.8)
        passed = [one for each in all_of(fleet) for one in each]

        assert (worst(passed) <= LIMIT) is exact
        assert len(passed) >= 2 * LIMIT

    @pytest.mark.parametrize("kind", ["memory", "redis"])
    def test_refuse_nobody_who_obeys_the_headers(
        self, server: RedisServer, fleet: Fleet, tmp_path: Path, kind: str
    ) -> None:
        server.do("FLUSHALL")
        redis = f"|{server.url}" if kind == "redis" else ""
        places = [f"{tmp_path}/{0 if kind == 'memory' else number}{redis}" for number in range(PROCESSES)]
        sent = refused = waits = 0

        become(fleet, kind, places)
        while waits < 3:
            turn = fleet[(sent * 7) % PROCESSES]
            ask(turn, "take")
            told = answer(turn)
            assert isinstance(told, dict)
            sent += 1
            refused += "retry-after" in told
            if int(told["x-ratelimit-remaining"]) == 0:
                time.sleep(int(told["x-ratelimit-reset"]))
                waits += 1

        assert refused == 0
        assert sent >= 3 * LIMIT

    def test_alone_each_with_a_share_refuse_who_obeys_the_headers(self, fleet: Fleet, tmp_path: Path) -> None:
        places = [f"{tmp_path}/{number}" for number in range(PROCESSES)]
        refused = 0

        become(fleet, "memory", places, limit=LIMIT // PROCESSES)
        for number in range(LIMIT):  # who lands on one worker more often than on the others
            turn = fleet[0 if number % 2 else number % PROCESSES]
            ask(turn, "take")
            refused += "retry-after" in answer(turn)  # type: ignore[operator]

        assert refused > 0


class TestRedis:
    def test_that_is_killed_leaves_each_instance_its_share(self, fleet: Fleet, tmp_path: Path) -> None:
        with serving(binaries()["valkey"], tmp_path / "redis") as server:
            places = [f"{tmp_path}/{number}|{server.url}" for number in range(PROCESSES)]
            become(fleet, "redis", places)
            begins = hammered(fleet, spans=4)
            time.sleep(begins + 1.2 * SECONDS - time.monotonic())
            server.end()
            killed = time.monotonic()
            passed = all_of(fleet)
            server.start()
            time.sleep(2.0)
            hammered(fleet[:1], spans=2.5)
            (again,) = all_of(fleet[:1])

        assert worst([one for each in passed for one in each]) <= 2 * LIMIT
        shares = [worst(each, since=killed + 0.5) for each in passed]
        assert all(0 < share <= LIMIT // PROCESSES for share in shares)
        assert LIMIT // PROCESSES < worst(again) <= LIMIT

    def test_that_forgets_everything_lets_pass_twice_the_limit_at_most_and_once(
        self, server: RedisServer, fleet: Fleet, tmp_path: Path
    ) -> None:
        places = [f"{tmp_path}/{number}|{server.url}" for number in range(PROCESSES)]

        become(fleet, "redis", places)
        begins = hammered(fleet, spans=4)
        time.sleep(begins + 0.5 * SECONDS - time.monotonic())
        server.do("FLUSHALL")
        flushed = time.monotonic()
        passed = [one for each in all_of(fleet) for one in each]

        assert len(passed) > LIMIT
        assert worst(passed) <= 2 * LIMIT
        assert worst(passed, since=flushed + SECONDS) <= LIMIT
