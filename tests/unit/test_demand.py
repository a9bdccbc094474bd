"""Demand: every instrument once, the highest anybody wants of it, in an order that row order never decides."""

import random
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from instrument_registry.subscriptions.demand.model import Demand
from instrument_registry.subscriptions.demand.summing import COPIES_AT, ID_AT, MODE_AT, PRIORITY_AT, summed
from instrument_registry.subscriptions.demand.wants import tier_of


@dataclass(frozen=True)
class Row:
    """One want as the table has it."""

    user: int
    instrument: int
    mode: int = 0
    priority: int = 50
    copies: int = 1
    pinned: bool = False

    @property
    def packed(self) -> int:
        return (
            self.instrument << ID_AT | self.mode << MODE_AT | self.priority << PRIORITY_AT
            | (self.copies - 1) << COPIES_AT | self.pinned
        )  # fmt: skip


def demand(*rows: Row) -> Demand:
    return summed(
        np.array([row.packed for row in rows], np.int64), np.array([hash((7, row.user)) for row in rows], np.int64)
    )


def first_to_last(found: Demand) -> list[int]:
    return found.ids[np.argsort(found.order)].tolist()


ROWS = st.lists(
    st.builds(
        Row, user=st.integers(0, 4), instrument=st.integers(1, 12), mode=st.integers(0, 2),
        priority=st.sampled_from([0, 24, 25, 49, 50, 60, 74, 75, 100]), copies=st.integers(1, 2), pinned=st.booleans(),
    ),
    max_size=60,
)  # fmt: skip


def naive(rows: list[Row]) -> dict[int, tuple[int, ...]]:
    """The same, one want after the other: mode, tier, place in the order, references, copies, pinned."""
    of: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        of[row.instrument].append(row)
    priority = {one: max(row.priority for row in wants) for one, wants in of.items()}
    turn: dict[int, int] = {}
    for user in {row.user for row in rows}:
        for tier in range(4):
            theirs = {row.instrument for row in rows if row.user == user and tier_of(priority[row.instrument]) == tier}
            for place, one in enumerate(sorted(theirs, key=lambda one: (-priority[one], one))):
                turn[one] = min(turn.get(one, place), place)
    ranked = sorted(of, key=lambda one: (-priority[one], -len({row.user for row in of[one]}), turn[one], one))
    return {
        one: (
            max(row.mode for row in wants), tier_of(priority[one]), ranked.index(one), len(wants),
            max(row.copies for row in wants), max(row.pinned for row in wants),
        )
        for one, wants in of.items()
    }  # fmt: skip


class TestSumming:
    @given(rows=ROWS)
    def test_is_what_one_want_after_the_other_comes_to(self, rows: list[Row]) -> None:
        found = demand(*rows)

        columns = (found.mode, found.tier, found.order, found.wanted_by, found.copies, found.pinned)
        told = dict(zip(found.ids.tolist(), zip(*(one.tolist() for one in columns), strict=True), strict=True))
        assert told == naive(rows)
        assert found.ids.tolist() == sorted(told)

    @given(rows=ROWS, seed=st.integers(0, 1_000))
    def test_does_not_depend_on_the_order_of_rows(self, rows: list[Row], seed: int) -> None:
        shuffled = random.Random(seed).sample(rows, len(rows))

        assert demand(*shuffled).digest == demand(*rows).digest

    @given(rows=ROWS, extra=st.builds(Row, user=st.just(9), instrument=st.integers(1, 12)))
    def test_of_another_want_has_another_digest(self, rows: list[Row], extra: Row) -> None:
        assert demand(*rows, extra).digest != demand(*rows).digest

    def test_of_nothing_is_nothing(self) -> None:
        assert (len(demand()), demand().digest) == (0, demand().digest)

    def test_of_one_user_and_of_a_hundred_brings_the_same_instruments_and_modes(self) -> None:
        one = demand(*(Row(user=1, instrument=n, mode=n % 3) for n in range(200)))
        hundred = demand(*(Row(user=n % 100, instrument=n, mode=n % 3) for n in range(200)))

        assert (one.ids.tolist(), one.mode.tolist()) == (hundred.ids.tolist(), hundred.mode.tolist())


class TestTheOrder:
    def test_goes_by_priority_then_by_users(self) -> None:
        found = demand(
            Row(user=1, instrument=1, priority=60), Row(user=1, instrument=2, priority=70),
            Row(user=1, instrument=3, priority=60), Row(user=2, instrument=3, priority=50),
        )  # fmt: skip

        assert first_to_last(found) == [2, 3, 1]

    def test_takes_turns_among_users_however_much_one_wants(self) -> None:
        greedy = [Row(user=1, instrument=n) for n in range(1, 101)]
        modest = [Row(user=2, instrument=n) for n in (901, 902)]

        assert first_to_last(demand(*greedy, *modest))[:5] == [1, 901, 2, 902, 3]

    def test_counts_a_user_once_however_often_they_want_it(self) -> None:
        twice = [Row(user=1, instrument=2), Row(user=1, instrument=2, mode=2)]

        found = demand(*twice, Row(user=1, instrument=1))

        assert first_to_last(found) == [1, 2]
        assert found.wanted_by.tolist() == [1, 2]
