"""What brokers carry is data: every number says where it comes from, and where nobody says one we are cautious."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from feeds import counts
from instrument_registry.subscriptions.capacity import VENUES, Certainty, Figure, venue
from instrument_registry.subscriptions.capacity.model import CAUTIOUS_INSTRUMENTS, UnknownVenue
from instrument_registry.subscriptions.planner import Mode, plan, problem


def figures(told: object) -> Iterator[Figure]:
    """Every number somewhere in a profile."""
    if isinstance(told, Figure):
        yield told
    elif isinstance(told, tuple):
        for one in told:
            yield from figures(one)
    elif isinstance(told, dict):
        yield from figures(tuple(told.values()))
    elif is_dataclass(told):
        yield from figures(tuple(getattr(told, one.name) for one in fields(told)))


class TestEveryProfile:
    @pytest.mark.parametrize("broker", sorted(VENUES))
    def test_says_where_its_numbers_come_from_and_which_nobody_says(self, broker: str) -> None:
        told = list(figures(VENUES[broker]))

        assert told
        assert all(one.source for one in told)
        assert all((one.value is None) == (one.certainty is Certainty.UNKNOWN) for one in told)

    @pytest.mark.parametrize("broker", sorted(VENUES))
    def test_carries_something(self, broker: str) -> None:
        asked = problem([venue(broker).account("one")], ids=range(10), mode=Mode.FULL, tier=0)

        assert sum(counts(plan(asked), asked)) == 10


class TestAnAccount:
    def test_of_kite_has_three_connections_of_three_thousand(self) -> None:
        asked = problem([venue("kite").account("K")], ids=range(9001), mode=Mode.LTP, tier=0)

        assert counts(plan(asked), asked) == [3000, 3000, 3000]

    def test_with_a_connection_to_be_emptied_moves_everybody_off_it(self) -> None:
        emptied = venue("kite").account("K", draining=frozenset({1}))
        asked = problem([emptied], ids=range(4000), mode=Mode.LTP, tier=0, live=np.repeat([0, 1], 2000))

        assert counts(plan(asked), asked)[1] == 0

    def test_of_upstox_uses_its_sockets_so_that_most_is_carried(self) -> None:
        mode = np.repeat([Mode.LTP, Mode.FULL], [5000, 2000])
        asked = problem([venue("upstox").account("U")], ids=range(7000), mode=mode, tier=0)

        assert sorted(counts(plan(asked), asked)) == [2000, 5000]

    def test_of_a_broker_that_says_nothing_is_used_with_caution(self) -> None:
        asked = problem([venue("shoonya").account("S")], ids=range(100), mode=Mode.LTP, tier=0)

        assert counts(plan(asked), asked) == [CAUTIOUS_INSTRUMENTS]

    def test_keeps_lines_back_for_its_owner(self) -> None:
        asked = problem([venue("ibkr").account("I", reserve=10)], ids=range(120), mode=Mode.QUOTE, tier=1)

        assert counts(plan(asked), asked) == [90]

    def test_of_a_broker_nobody_knows_is_refused_with_the_nearest(self) -> None:
        with pytest.raises(UnknownVenue, match="kite"):
            venue("kites")
