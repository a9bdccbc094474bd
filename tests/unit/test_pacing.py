"""Frames go no faster than a broker takes them, and none is longer than it takes one."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument_registry.subscriptions.capacity import AccountStanding, Figure, FrameLimits, venue
from instrument_registry.subscriptions.frames import CODECS, Act, Frame, Operation, ordered
from instrument_registry.subscriptions.frames.pacing import FrameTooLong, paced, within
from instrument_registry.subscriptions.planner import Mode
from instrument_registry.subscriptions.plans.applying import frames_of
from instrument_registry.subscriptions.plans.deltas import Item


def figure(value: int) -> Figure:
    return Figure(value=value, source="tests", as_of=date(2026, 8, 1))


def streams(count: int) -> list[Operation]:
    return ordered(Operation(act=Act.ADD, token=f"C{n}", segment="SPOT", mode=Mode.LTP) for n in range(count))


def worst_second(instants: list[int]) -> int:
    """How many of some instants lie in the fullest second."""
    return max(sum(start <= one < start + 1000 for one in instants) for start in instants)


class TestBinance:
    """S9: 1,025 streams need a second connection; five messages in any second, 300 ms apart."""

    def test_paces_six_frames_of_one_connection_over_a_second_and_a_half(self) -> None:
        limits = venue("binance").frame
        frames = within(CODECS["binance"], streams(1024), limits)
        told = paced(frames, limits)

        assert [one.frame.instruments for one in told] == [200, 200, 200, 200, 200, 24]
        assert [one.not_before_ms for one in told] == [0, 300, 600, 900, 1200, 1500]
        assert len(within(CODECS["binance"], streams(1), limits)) == 1

    def test_leaves_room_for_its_pongs(self) -> None:
        limits = venue("binance").frame
        pongs = [100, 500, 800, 1100]
        told = [one.not_before_ms for one in paced([Frame(b"", 1)] * 6, limits, sent_ms=pongs)]

        assert worst_second([*told, *pongs]) <= 5
        assert all(abs(one - other) >= 300 for one in told for other in pongs)


def test_without_bounds_everything_goes_at_once() -> None:
    limits = FrameLimits(items=figure(10))

    assert {one.not_before_ms for one in paced([Frame(b"", 1)] * 5000, limits, now_ms=7)} == {7}


class TestBytes:
    def test_of_a_frame_are_kept_below_what_the_broker_takes(self) -> None:
        limits = FrameLimits(items=figure(1000), bytes=figure(400))
        frames = within(CODECS["binance"], streams(1000), limits)

        assert max(len(one.payload) for one in frames) <= 400
        assert sum(one.instruments for one in frames) == 1000

    def test_that_no_frame_can_keep_are_refused(self) -> None:
        with pytest.raises(FrameTooLong, match="takes 20"):
            within(CODECS["binance"], streams(2), FrameLimits(items=figure(1000), bytes=figure(20)))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 30), st.integers(1, 7), st.integers(0, 400), st.lists(st.integers(-2000, 4000), max_size=6))
def test_no_second_is_fuller_than_it_may_be_because_of_what_is_added(
    count: int, rate: int, spacing: int, sent: list[int]
) -> None:
    limits = FrameLimits(items=figure(1), messages_per_second=figure(rate), spacing=figure(spacing))
    told = [one.not_before_ms for one in paced([Frame(b"", 1)] * count, limits, sent_ms=sent)]

    assert told == sorted(told)
    for place, at in enumerate(told):
        others = [*sent, *told[:place], *told[place + 1 :]]
        assert all(abs(at - one) >= spacing for one in others)
        assert all(
            sum(start <= one < start + 1000 for one in (*others, at)) <= rate for start in range(at - 999, at + 1)
        )


def test_the_messages_of_a_step_say_when_they_may_go() -> None:
    known = venue("binance")
    binance = AccountStanding(
        name="B", broker="binance", tokens="binance", version=1, account=known.account("B"), frame=known.frame,
        segments=None, segment_modes={}, health=(None,),
    )  # fmt: skip
    items = [Item(number, f"SPOT|C{number}", Mode.LTP) for number in range(1024)]
    told = frames_of(items, Act.ADD, binance)

    assert [one.get("not_before_ms", 0) for one in told] == [0, 300, 600, 900, 1200, 1500]
    assert sum(int(str(one["instruments"])) for one in told) == 1024
