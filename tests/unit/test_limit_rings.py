"""Rings of admissions against a plain log of them; what is left when processes die, stop or start anew."""

import array
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from instrument_registry.access.limits.model import Limits, Verdict, Window, Windows
from instrument_registry.access.limits.ring import Ring, judge
from instrument_registry.access.limits.rings import BOOT, MOVING, PROBES, SLOTS, Rings, RingsBusy
from instrument_registry.http.limiting import headers

SECOND_US = 1_000_000


@dataclass
class Watch:
    """A clock in the hand of a test."""

    us: int = 10**12

    def ns(self) -> int:
        return self.us * 1000


@dataclass
class Log:
    """The limiter that nobody doubts: every admission in a list."""

    admitted: list[int] = field(default_factory=list)

    def take(self, windows: Windows, now: int) -> tuple[int, tuple[int, ...]]:
        wait, inside = 0, []
        for window in windows:
            within = [one for one in self.admitted if one > now - window.span_us]
            if len(within) >= window.limit:
                wait = max(wait, within[-window.limit] + window.span_us - now)
            inside.append(len(within))
        if not wait:
            self.admitted.append(now)
        return wait, tuple(one + (not wait) for one in inside)


def windows(minute: int, burst: int) -> Windows:
    return Window("read", minute, 60), Window("read-burst", burst, 1)


@pytest.fixture
def watch() -> Watch:
    return Watch()


STEPS = some.lists(
    some.tuples(
        some.sampled_from(
            [0, 1, 999_999, SECOND_US, 7 * SECOND_US, 60 * SECOND_US - 1, 60 * SECOND_US, 61 * SECOND_US]
        ),
        some.integers(1, 90),
        some.sampled_from([(5, 2), (70, 50), (64, 64), (200, 130), (300, 300)]),
    ),
    max_size=25,
)


@given(STEPS)
@settings(deadline=None, max_examples=60)
def test_a_ring_says_what_a_log_of_all_admissions_says(steps: list[tuple[int, int, tuple[int, int]]]) -> None:
    watch, log = Watch(), Log()
    rings = Rings(None, elapsed_ns=watch.ns)

    for pause, times, limits in steps:
        watch.us += pause
        for _ in range(times):
            watch.us += 1
            verdict = rings.take("somebody", "read", windows(*limits))
            assert (verdict.wait_us, verdict.inside) == log.take(windows(*limits), watch.us)
    rings.close()


@pytest.mark.parametrize("others", [0, 63, 64, 100])
def test_an_admission_counts_until_exactly_a_window_later(watch: Watch, others: int) -> None:
    rings = Rings(None, elapsed_ns=watch.ns)
    limits = (Window("read", 1 + others, 60),)
    rings.take("somebody", "read", limits)
    for _ in range(others):
        watch.us += 1
        rings.take("somebody", "read", limits)

    watch.us += 60 * SECOND_US - others - 1
    before = rings.take("somebody", "read", limits)
    watch.us += 1
    then = rings.take("somebody", "read", limits)

    assert (before.wait_us, then.wait_us) == (1, 0)
    rings.close()


def test_a_walk_that_forgets_where_the_ring_wraps_would_be_noticed(watch: Watch) -> None:
    words = memoryview(array.array("q", [30, 40, 10, 20]))

    right = judge(words, Ring(0, 4, 6), (Window("read", 3, 1),), now=SECOND_US + 15)
    wrong = judge(words, Ring(0, 4, 4), (Window("read", 3, 1),), now=SECOND_US + 15)

    assert right.inside == (3,)
    assert wrong.inside != right.inside


class TestOneFile:
    def test_is_one_memory_for_all_who_open_it(self, tmp_path: Path, watch: Watch) -> None:
        first, second = (Rings(tmp_path / "rings", elapsed_ns=watch.ns) for _ in range(2))

        passed = [one.take("somebody", "read", windows(100, 100)).admitted for one in (first, second) * 75]

        assert sum(passed) == 100
        assert passed == [True] * 100 + [False] * 50

    def test_keeps_parties_and_classes_apart(self, tmp_path: Path, watch: Watch) -> None:
        rings = Rings(tmp_path / "rings", elapsed_ns=watch.ns)

        passed = {
            (party, kind): sum(rings.take(party, kind, windows(3, 3)).admitted for _ in range(5))
            for party in ("a", "b")
            for kind in ("read", "write")
        }

        assert set(passed.values()) == {3}

    def test_remembers_over_a_restart_but_not_over_a_boot(self, tmp_path: Path, watch: Watch) -> None:
        rings = Rings(tmp_path / "rings", elapsed_ns=watch.ns)
        rings.take("somebody", "read", windows(1, 1))
        rings.close()
        again = Rings(tmp_path / "rings", elapsed_ns=watch.ns)
        restarted = again.take("somebody", "read", windows(1, 1))
        again._words[BOOT] ^= 1
        again.close()
        booted = Rings(tmp_path / "rings", elapsed_ns=watch.ns).take("somebody", "read", windows(1, 1))

        assert (restarted.admitted, booted.admitted) == (False, True)

    def test_grows_with_what_is_asked_and_is_seen_grown_by_others(self, tmp_path: Path, watch: Watch) -> None:
        first, second = (Rings(tmp_path / "rings", elapsed_ns=watch.ns) for _ in range(2))
        before = os.stat(tmp_path / "rings").st_size

        for _ in range(100_000):
            watch.us += 1
            first.take("somebody", "read", windows(100_000, 100_000))
        refused = second.take("somebody", "read", windows(100_000, 100_000))

        assert os.stat(tmp_path / "rings").st_size > before
        assert not refused.admitted
        assert refused.wait_us == 60 * SECOND_US - 99_999

    def test_gives_the_place_of_who_is_idle_to_others_and_one_limit_to_all_who_find_none(
        self, tmp_path: Path, watch: Watch
    ) -> None:
        rings = Rings(tmp_path / "rings", elapsed_ns=watch.ns)

        crowd = [rings.take(f"10.{n}", "stranger", windows(1, 1)).admitted for n in range(3 * SLOTS)]
        watch.us += 61 * SECOND_US
        later = [rings.take(f"11.{n}", "stranger", windows(1, 1)).admitted for n in range(SLOTS // 4)]

        assert SLOTS - PROBES <= sum(crowd) <= SLOTS
        assert all(later)

    def test_of_a_process_that_died_while_it_moved_a_ring_is_begun_anew(self, tmp_path: Path, watch: Watch) -> None:
        rings = Rings(tmp_path / "rings", elapsed_ns=watch.ns)
        rings.take("somebody", "read", windows(1, 1))
        slot, _ = rings._known["somebody", "read"]
        rings._words[MOVING] = slot

        after = [rings.take("somebody", "read", windows(1, 1)).admitted for _ in range(3)]

        assert after == [True, False, False]
        assert rings._words[MOVING] == 0

    def test_whose_lock_somebody_keeps_is_not_waited_for_without_end(self, tmp_path: Path, watch: Watch) -> None:
        rings = Rings(tmp_path / "rings", elapsed_ns=watch.ns)
        stopped = os.open(tmp_path / "rings", os.O_RDWR)
        fcntl.flock(stopped, fcntl.LOCK_EX)

        with pytest.raises(RingsBusy):
            rings.take("somebody", "read", windows(1, 1))

        os.close(stopped)
        assert rings.take("somebody", "read", windows(1, 1)).admitted


class TestHeaders:
    def test_tell_how_every_window_stands_and_the_tightest_of_them(self) -> None:
        verdict = Verdict(windows(600, 100), (40, 40), 0, 0)

        told = dict(headers(verdict))

        assert told == {
            b"ratelimit-policy": b'"read";q=600;w=60, "read-burst";q=100;w=1',
            b"ratelimit": b'"read";r=560;t=60, "read-burst";r=60;t=1',
            b"x-ratelimit-limit": b"100",
            b"x-ratelimit-remaining": b"60",
            b"x-ratelimit-reset": b"1",
        }

    def test_tell_who_is_refused_to_wait_longer_than_the_longest_wait(self) -> None:
        verdict = Verdict(windows(600, 100), (600, 3), 20_500_000, 12_000_000)

        told = dict(headers(verdict))

        assert told[b"retry-after"] == b"13"
        assert told[b"ratelimit"] == b'"read";r=0;t=40, "read-burst";r=97;t=1'


def test_a_share_is_never_nothing() -> None:
    assert Window("read", 3, 60).share(4).limit == 1
    assert Limits() == Limits(None, None)
