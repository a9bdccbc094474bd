"""Nobody is silent while nobody listens: since when tickers could have been heard."""

from datetime import UTC, datetime, timedelta

import pytest

from instrument_registry.workers.connections import GAP, Listening

BEGAN = datetime(2026, 8, 18, 3, 30, tzinfo=UTC)


def looked(*seconds: float) -> datetime:
    """Since when it listens after looks at these instants."""
    one = Listening(BEGAN, BEGAN)
    for second in seconds:
        one.look(BEGAN + timedelta(seconds=second))
    return one.since


def test_looks_that_follow_each_other_leave_it_as_it_began() -> None:
    assert looked(1, 2, 4.9, 7) == BEGAN


@pytest.mark.parametrize("second", [GAP.total_seconds() + 0.1, 600])
def test_after_a_gap_it_begins_anew(second: float) -> None:
    assert looked(second, second + 1) == BEGAN + timedelta(seconds=second)


def test_after_a_clock_that_was_set_back_it_begins_anew() -> None:
    assert looked(2, 1) == BEGAN + timedelta(seconds=1)
