"""Breakers: when calls are refused, who may try, and that all processes of an instance know the same."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from frame import NOON
from instrument_registry.breakers import Breaker, Breakers, DependencyResting, State, Terms
from instrument_registry.breakers.board import SIZE_BYTES

TERMS = Terms(
    window_calls=10, window_seconds=60.0, minimum_calls=4, failing_share=0.5, slow_seconds=2.0, rest_seconds=1.0,
    longest_rest_seconds=8.0, probes=2, probe_seconds=5.0,
)  # fmt: skip

# Waits until told, then tries to begin a call: one line says how many of ten tries were let through.
PROBER = """
import sys
from pathlib import Path
import structlog
from instrument_registry.breakers import Breakers, DependencyResting, Terms
breaker = Breakers(Path(sys.argv[1]), elapsed=lambda: 1000.0).of("it", terms=Terms(probes=2, probe_seconds=5.0))
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
print("here", flush=True)
sys.stdin.readline()
let = 0
for _ in range(10):
    try:
        breaker.enter()
        let += 1
    except DependencyResting:
        pass
print(let, flush=True)
sys.stdin.readline()
"""


class Watch:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


def process(folder: Path, watch: Watch) -> Breakers:
    """The breakers as one more process sees them."""
    return Breakers(folder, elapsed=watch, clock=lambda: NOON)


def breaker_in(folder: Path, watch: Watch) -> Breaker:
    return process(folder, watch).of("it", terms=TERMS)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.leave(breaker.enter(), failed=True, reason="refused")


def succeed(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.leave(breaker.enter())


def refused(breaker: Breaker) -> DependencyResting:
    with pytest.raises(DependencyResting) as caught:
        breaker.enter()
    return caught.value


class TestOpening:
    def test_needs_a_least_number_of_calls(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)

        fail(breaker, 3)
        before = breaker.standing.state
        fail(breaker)

        assert (before, breaker.standing.state) == (State.CLOSED, State.OPEN)

    def test_needs_a_share_of_them_to_fail(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)

        succeed(breaker, 6)
        fail(breaker, 4)
        before = breaker.standing.state
        fail(breaker)

        assert (before, breaker.standing.state) == (State.CLOSED, State.OPEN)

    def test_looks_at_the_last_calls_alone(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)

        succeed(breaker, 1000)
        fail(breaker, 5)

        assert breaker.standing.state is State.OPEN

    def test_forgets_what_was_long_ago(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)

        fail(breaker, 3)
        watch.seconds += 61
        fail(breaker, 3)

        assert breaker.standing.state is State.CLOSED

    def test_counts_a_slow_answer_as_none(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)

        for _ in range(4):
            call = breaker.enter()
            watch.seconds += 2
            breaker.leave(call)

        assert (breaker.standing.state, breaker.standing.reason) == (State.OPEN, "an answer took 2.0 s")

    def test_counts_whoever_left_a_slow_call_and_nobody_who_left_a_quick_one(
        self, tmp_path: Path, watch: Watch
    ) -> None:
        breaker = breaker_in(tmp_path, watch)

        for _ in range(20):
            breaker.forget(breaker.enter())
        before = breaker.standing.state
        for _ in range(4):
            call = breaker.enter()
            watch.seconds += 3
            breaker.forget(call)

        assert (before, breaker.standing.state) == (State.CLOSED, State.OPEN)


class TestAnOpenOne:
    def test_refuses_naming_the_dependency_and_when_to_come_again(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)
        fail(breaker, 4)

        error = refused(breaker)

        assert error.facts == {"dependency": "it", "retry_after": 1}
        assert str(error) == "it rests for 1.0 s more: refused"

    def test_rests_twice_as_long_after_each_probe_that_fails_up_to_a_bound(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)
        fail(breaker, 4)

        rests = []
        for _ in range(6):
            rests.append(breaker.rests_seconds)
            watch.seconds += breaker.rests_seconds
            fail(breaker)

        assert rests == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]

    def test_of_before_the_system_started_anew_is_tried_at_once(self, tmp_path: Path, watch: Watch) -> None:
        watch.seconds = 1_000_000.0
        fail(breaker_in(tmp_path, watch), 4)

        watch.seconds = 3.0
        succeed(breaker_in(tmp_path, watch), 2)

        assert breaker_in(tmp_path, watch).standing.state is State.CLOSED


class TestHalfOpen:
    def test_lets_a_few_try_and_closes_when_so_many_have_succeeded(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)
        fail(breaker, 4)
        watch.seconds += 1

        first, second = breaker.enter(), breaker.enter()
        error = refused(breaker)
        breaker.leave(first)
        between = breaker.standing.state
        breaker.leave(second)

        assert error.facts["retry_after"] == 1
        assert (between, breaker.standing.state) == (State.HALF_OPEN, State.CLOSED)
        succeed(breaker, 100)

    def test_opens_again_at_the_first_that_fails(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)
        fail(breaker, 4)
        watch.seconds += 1

        first, second = breaker.enter(), breaker.enter()
        breaker.leave(first, failed=True)
        breaker.leave(second)  # of before: says nothing any more

        assert (breaker.standing.state, breaker.rests_seconds) == (State.OPEN, 2.0)

    def test_gives_the_place_of_a_probe_that_is_gone_to_another(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)
        fail(breaker, 4)
        watch.seconds += 1
        breaker.enter(), breaker.enter()  # of a process that was killed

        watch.seconds += 5
        succeed(breaker, 2)

        assert breaker.standing.state is State.CLOSED

    def test_a_late_failure_of_before_does_not_count(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)
        late = [breaker.enter() for _ in range(20)]
        fail(breaker, 4)
        watch.seconds += 1
        succeed(breaker, 2)

        for call in late:
            breaker.leave(call, failed=True)

        assert breaker.standing.state is State.CLOSED


class TestSeveralProcesses:
    def test_what_one_finds_holds_for_all(self, tmp_path: Path, watch: Watch) -> None:
        one, other = breaker_in(tmp_path, watch), breaker_in(tmp_path, watch)
        succeed(other, 10)

        fail(one, 4)

        refused(other)
        assert other.standing.reason == "refused"

    def test_a_reset_by_any_holds_for_all_and_forgets_what_was(self, tmp_path: Path, watch: Watch) -> None:
        one, other = breaker_in(tmp_path, watch), breaker_in(tmp_path, watch)
        fail(one, 4)

        was = other.reset()
        fail(one, 3)
        succeed(other, 3)

        assert (was, one.standing.state) == (State.OPEN, State.CLOSED)

    def test_try_together_no_more_than_a_few(self, tmp_path: Path) -> None:
        breaker = Breakers(tmp_path, elapsed=lambda: 998.0).of("it", terms=TERMS)
        fail(breaker, 4)
        others = [
            subprocess.Popen(
                [sys.executable, "-c", PROBER, str(tmp_path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(sys.path)},
            )
            for _ in range(4)
        ]  # fmt: skip
        for one in others:
            assert one.stdout.readline() == "here\n"

        for one in others:
            one.stdin.write("\n")
            one.stdin.flush()
        let = [int(one.stdout.readline()) for one in others]
        for one in others:
            one.communicate("\n")

        assert sum(let) == 2

    def test_a_damaged_file_stands_in_nobodys_way(self, tmp_path: Path, watch: Watch) -> None:
        fail(breaker_in(tmp_path, watch), 4)
        (path,) = (tmp_path / "breakers").iterdir()
        path.write_bytes(b"\xa5" * SIZE_BYTES)

        breaker = breaker_in(tmp_path, watch)
        breaker.reset()
        succeed(breaker, 3)

        assert breaker.standing.state is State.CLOSED

    def test_one_that_does_not_let_go_of_the_file_holds_up_nobody(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)
        (path,) = (tmp_path / "breakers").iterdir()
        holding = subprocess.Popen(
            [sys.executable, "-c", "import fcntl, sys, time; file = open(sys.argv[1]); fcntl.flock(file, 2);"
             "print('held', flush=True); sys.stdin.readline()", str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert holding.stdout.readline() == "held\n"

        fail(breaker, 10)
        held = breaker.standing.state
        holding.communicate("\n")
        fail(breaker)

        assert (held, breaker.standing.state) == (State.CLOSED, State.OPEN)

    def test_all_that_any_has_made_are_listed(self, tmp_path: Path, watch: Watch) -> None:
        process(tmp_path, watch).of("downloads:api.kite.trade")
        breakers = process(tmp_path, watch)
        breakers.of("database")

        assert list(breakers.all()) == ["database", "downloads:api.kite.trade"]

    def test_a_folder_that_cannot_be_written_leaves_each_its_own(self, tmp_path: Path, watch: Watch) -> None:
        (tmp_path / "breakers").write_text("no folder")
        breaker = breaker_in(tmp_path, watch)

        fail(breaker, 4)

        refused(breaker)

    def test_more_hosts_than_anybody_has_share_one(self, tmp_path: Path, watch: Watch) -> None:
        breakers = process(tmp_path, watch)
        for number in range(150):
            breakers.of(f"downloads:host-{number}")

        assert len(breakers.all()) <= 101
        assert breakers.of("downloads:another").name == "downloads"


class TestCalling:
    async def test_judges_by_what_is_raised(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)

        for error in [KeyError] * 20 + [OSError] * 4:
            with pytest.raises(error), breaker.calling(OSError):
                raise error("away")

        assert json.loads(json.dumps(breaker.standing.reason)) == "away"
        refused(breaker)

    async def test_whoever_is_cancelled_in_time_says_nothing(self, tmp_path: Path, watch: Watch) -> None:
        breaker = breaker_in(tmp_path, watch)

        for _ in range(20):
            with pytest.raises(asyncio.CancelledError), breaker.calling(OSError):
                raise asyncio.CancelledError

        assert breaker.standing.state is State.CLOSED
