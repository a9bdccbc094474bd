"""What if: other problems, and the plan of each is the one that is made when it really happens."""

from dataclasses import replace

import numpy as np
import pytest

from feeds import account, counts, dropped
from instrument_registry.subscriptions.planner import (
    NOWHERE,
    Mode,
    Problem,
    UnknownAccount,
    moves,
    plan,
    problem,
    with_connections,
    with_limit,
    with_more,
    without,
    without_account,
    without_connection,
)


@pytest.fixture
def living() -> Problem:
    """12,000 on two accounts of 9,000."""
    whole = [account("A", 3000, 3000, 3000), account("B", 3000, 3000, 3000)]
    asked = problem(whole, ids=range(12_000), mode=Mode.FULL, tier=np.arange(12_000) % 4)
    return replace(asked, live=plan(asked).at)


class TestWithoutAnAccount:
    def test_the_lowest_are_out_and_only_those_who_lived_there_move(self, living: Problem) -> None:
        asked = without_account(living, "B")
        found = plan(asked)

        assert (found.at != NOWHERE).sum() == 9000
        assert dropped(found, asked) == np.flatnonzero(living.tier == 3).tolist()
        assert found.forced.tolist() == (living.live >= 3).tolist()
        assert found.moved.sum() == 0
        assert {one.reason for one in moves(asked, found)} == {"connection_lost"}
        assert sum(len(one.members) for one in moves(asked, found)) == (living.live >= 3).sum()

    def test_it_is_the_plan_of_the_day_it_happens(self, living: Problem) -> None:
        really = problem(
            [living.accounts[0], account("B", 3000, 3000, 3000, lost=(0, 1, 2))],
            ids=living.ids, mode=living.mode, tier=living.tier, live=living.live,
        )  # fmt: skip
        supposed, happened = plan(without_account(living, "B")), plan(really)

        assert supposed.at.tolist() == happened.at.tolist()
        assert living.accounts[1].connections[0].alive  # nothing was changed by asking

    def test_that_does_not_exist_names_the_nearest(self, living: Problem) -> None:
        kite = replace(living, accounts=(account("Kite", 1), living.accounts[1]))

        with pytest.raises(UnknownAccount, match="Did you mean Kite"):
            without_account(kite, "Kit")


class TestOtherLimits:
    def test_raised_let_more_in(self) -> None:
        asked = problem([account("Kite", 3000, 3000, 3000, total=9000)], ids=range(12_000), mode=Mode.FULL, tier=0)

        assert len(dropped(plan(asked), asked)) == 3000
        assert dropped(plan(with_limit(asked, "Kite", 5000)), asked) == []

    def test_of_the_account_itself_stay_when_they_are_lower(self) -> None:
        asked = problem([account("Kite", 3000, 3000, total=4000)], ids=range(7000), mode=Mode.FULL, tier=0)

        assert sum(counts(plan(with_limit(asked, "Kite", 5000)), asked)) == 4000

    def test_lowered_say_so_to_everybody_who_must_go(self) -> None:
        asked = problem([account("A", 10), account("B", 10)], ids=range(10), mode=Mode.FULL, tier=0, live=0)
        found = plan(lower := with_limit(asked, "A", 3))

        assert counts(found, lower) == [3, 7]
        assert [(one.reason, one.forced, len(one.members)) for one in moves(lower, found)] == [("limit", False, 7)]

    def test_one_more_connection_is_another_place_and_nobody_is_taken_for_somebody_else(self, living: Problem) -> None:
        asked = with_connections(without_connection(living, "A-0"), "A", 1)
        found = plan(asked)

        assert [one.id for one in asked.connections] == ["A-0", "A-1", "A-2", "A-2+1", "B-0", "B-1", "B-2"]
        assert np.bincount(asked.live, minlength=7).tolist() == [
            *counts(plan(living), living)[:3],
            0,
            *counts(plan(living), living)[3:],
        ]
        assert (found.moved.sum(), found.forced.sum(), found.drops) == (0, (living.live == 0).sum(), ())


class TestOtherDemand:
    def test_of_more_comes_last_in_its_tier(self) -> None:
        asked = problem([account("Kite", 10)], ids=range(8), mode=Mode.LTP, tier=1)
        found = plan(more := with_more(asked, 5, mode=Mode.FULL, tier=1))

        assert dropped(found, more) == [10, 11, 12]

    def test_of_a_higher_tier_takes_a_lower_ones_place(self) -> None:
        asked = problem([account("Kite", 10)], ids=range(10), mode=Mode.LTP, tier=1, live=0)
        found = plan(more := with_more(asked, 1, mode=Mode.FULL, tier=0))

        assert dropped(found, more) == [9]
        assert moves(more, found) == ()

    def test_without_those_that_expire_moves_nobody(self, living: Problem) -> None:
        asked = without(living, range(0, 12_000, 3))
        found = plan(asked)

        assert len(asked) == 8000
        assert (found.moved.sum(), found.drops) == (0, ())


class TestMovesSay:
    def test_who_takes_the_place(self) -> None:
        asked = problem(
            [account("A", 2), account("B", 2)], groups=[[1, 0], [1, 1]], ids=range(3), mode=Mode.QUOTE, tier=[0, 3, 3],
            group=[0, 1, 1], live=[NOWHERE, 0, 0],
        )  # fmt: skip
        (move,) = moves(asked, plan(asked))

        assert (move.reason, move.forced) == ("displaced", False)
        assert "1 of tier 0" in move.detail

    def test_that_a_connection_is_to_be_emptied(self) -> None:
        a, b = account("A", 5), account("B", 3)
        emptied = replace(a, connections=(replace(a.connections[0], draining=True),))
        asked = problem([emptied, b], ids=range(5), mode=Mode.LTP, tier=0, live=[0, 0, 0, 0, NOWHERE])
        found = plan(asked)

        assert (counts(found, asked), found.drops) == ([2, 3], ())  # nobody new, and as few as can be
        assert [(one.reason, one.forced) for one in moves(asked, found)] == [("draining", True)]
        assert found.moved.sum() == 0
        assert plan(replace(asked, live=found.at)).at.tolist() == found.at.tolist()
