"""Ladders follow the money: not every flutter, not too often, at once when it is far; no price nobody believes."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument_registry.subscriptions.ladders import Frozen, Ladder, Leg, Price, Standing, band, followed, legs

NOW = datetime(2026, 8, 18, 4, 0, tzinfo=UTC)
STRIKES = [Decimal(one) for one in range(20_000, 28_001, 50)]
EXPIRIES = [date(2026, 8, 18), date(2026, 8, 25), date(2026, 9, 1), date(2026, 9, 8)]
NIFTY = Ladder(around=10, expiries=3)
CHAIN = dict.fromkeys(EXPIRIES, STRIKES)


def at(value: str | int, standing: Standing = Standing(), *, after_seconds: int = 0) -> Standing:  # noqa: B008
    now = NOW + timedelta(seconds=after_seconds)
    return followed(NIFTY, standing, Price(value=Decimal(value), at=now), STRIKES, now=now)


def options(standing: Standing) -> set[Leg]:
    assert standing.centre is not None
    return set(legs(NIFTY, standing.centre, CHAIN).legs)


class TestALadder:
    def test_has_both_sides_of_every_strike_of_the_nearest_expiries(self) -> None:
        first = at(24_000)

        assert len(options(first)) == 126
        assert {one.expiry for one in options(first)} == set(EXPIRIES[:3])

    def test_stays_within_the_hysteresis_and_moves_beyond_it(self) -> None:
        first = at(24_000)
        near = at(24_049, first, after_seconds=100)
        beyond = at(24_051, near, after_seconds=200)

        assert options(near) == options(first)
        assert beyond.centre == 24_050
        assert (len(options(beyond) - options(first)), len(options(first) - options(beyond))) == (6, 6)

    def test_follows_a_gap_at_once_and_a_step_after_its_interval(self) -> None:
        first = at(24_000)
        soon, late = at(24_060, first, after_seconds=30), at(24_060, first, after_seconds=61)
        gap = at(25_551, first, after_seconds=1)

        assert (soon.centre, late.centre) == (24_000, 24_050)
        assert gap.centre == 25_550
        assert options(gap).isdisjoint(options(first))

    def test_of_a_short_chain_says_that_it_is_cut(self) -> None:
        short = [one for one in STRIKES if one <= 24_000 + 8 * 50]
        chain = dict.fromkeys(EXPIRIES[:3], short)
        found = legs(NIFTY, Decimal(24_000), chain)

        assert (len(found.legs), found.truncated) == (114, True)

    def test_of_fewer_expiries_than_wanted_says_so(self) -> None:
        assert legs(NIFTY, Decimal(24_000), {EXPIRIES[0]: STRIKES}).truncated


class TestAPriceThatIsNotBelieved:
    @pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity", "31000"])
    def test_leaves_the_ladder_where_it_is_and_says_why(self, value: str) -> None:
        first = at(24_000)
        found = at(value, first, after_seconds=100)

        assert (found.centre, found.frozen) == (first.centre, Frozen.IMPLAUSIBLE)

    def test_is_one_that_is_too_old(self) -> None:
        old = Price(value=Decimal(24_500), at=NOW - timedelta(seconds=301))
        found = followed(NIFTY, at(24_000), old, STRIKES, now=NOW)

        assert (found.centre, found.frozen) == (24_000, Frozen.STALE)

    def test_is_forgotten_with_the_next_good_one(self) -> None:
        frozen = at("NaN", at(24_000), after_seconds=10)

        assert at(24_100, frozen, after_seconds=100).frozen is None


@given(st.lists(st.decimals(min_value=23_000, max_value=25_000, places=2), min_size=1, max_size=60))
def test_the_price_is_never_further_off_than_half_a_step_and_the_hysteresis(prices: list[Decimal]) -> None:
    standing = Standing()
    for number, price in enumerate(prices):
        standing = at(str(price), standing, after_seconds=61 * number)

        assert standing.centre is not None
        assert abs(price - standing.centre) <= (Decimal("0.5") + NIFTY.hysteresis) * 50


class TestTheBand:
    @given(
        centre=st.sampled_from(STRIKES[1:-1]), price=st.decimals(20_000, 28_000, places=2),
        hysteresis=st.sampled_from([Decimal(0), Decimal("0.1"), Decimal("0.5"), Decimal(1)]),
    )  # fmt: skip
    def test_is_where_a_price_moves_nothing(self, centre: Decimal, price: Decimal, hysteresis: Decimal) -> None:
        ladder = Ladder(around=10, expiries=3, hysteresis=hysteresis)
        low, high = band(ladder, centre, STRIKES)
        stood = Standing(centre=centre, since=NOW - timedelta(days=1))

        moved = followed(ladder, stood, Price(value=price, at=NOW), STRIKES, now=NOW)

        assert low is not None
        assert high is not None
        assert (moved.centre == centre) == (low <= price <= high)

    def test_is_open_where_there_is_no_further_strike(self) -> None:
        assert band(NIFTY, STRIKES[0], STRIKES)[0] is None
        assert band(NIFTY, STRIKES[-1], STRIKES)[1] is None
        assert band(NIFTY, STRIKES[0], []) == (None, None)
