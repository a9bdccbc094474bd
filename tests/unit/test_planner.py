"""The planner on named cases: who is served, where, why others are not, and who moves."""

from dataclasses import replace

import numpy as np
import pytest

from feeds import account, anything, counts, dropped, upstox
from instrument_registry.subscriptions.planner import (
    NOWHERE,
    Account,
    Connection,
    Level,
    Mode,
    Problem,
    Use,
    plan,
    problem,
)
from instrument_registry.subscriptions.planner.solving import plans


class TestOneAccount:
    def test_of_9001_carries_9000_and_says_who_is_out_and_why(self) -> None:
        asked = problem([account("Kite", 3000, 3000, 3000)], ids=range(9001), mode=Mode.FULL, tier=0)
        found = plan(asked)

        assert counts(found, asked) == [3000, 3000, 3000]
        assert dropped(found, asked) == [9000]
        assert found.drops[0].reason == "capacity.account"
        assert "3 x 3000" in found.drops[0].detail

    def test_leaves_out_whoever_comes_last(self) -> None:
        order = np.arange(9001)
        order[9000] = -1
        asked = problem([account("Kite", 3000, 3000, 3000)], ids=range(9001), mode=Mode.FULL, tier=0, order=order)

        assert dropped(plan(asked), asked) == [8999]

    def test_keeps_back_what_is_reserved(self) -> None:
        asked = problem([account("IBKR", 100, total=100, reserve=10)], ids=range(120), mode=Mode.QUOTE, tier=1)
        found = plan(asked)

        assert sum(counts(found, asked)) == 90
        assert [(one.reason, len(one.members)) for one in found.drops] == [
            ("capacity.reserve", 10), ("capacity.account", 20),
        ]  # fmt: skip

    def test_whose_modes_do_not_mix_carries_more_in_sockets_of_one_mode(self) -> None:
        asked = problem([upstox()], ids=range(7000), mode=np.repeat([Mode.LTP, Mode.FULL], [5000, 2000]), tier=1)
        found = plan(asked)

        assert sorted(counts(found, asked)) == [2000, 5000]
        assert found.drops == ()

    def test_opens_no_more_connections_than_a_comfortable_filling_needs(self) -> None:
        asked = problem([account("Dhan", 5000, 5000, 5000, 5000, 5000)], ids=range(5001), mode=Mode.QUOTE, tier=1)

        assert counts(plan(asked), asked) == [4000, 1001, 0, 0, 0]


class TestALostConnection:
    @pytest.mark.parametrize(("each", "served", "left"), [(2500, 6000, [3000, 3000, 0]), (1900, 5700, [2850, 2850, 0])])
    def test_gives_its_instruments_to_the_others_as_far_as_they_go(
        self, each: int, served: int, left: list[int]
    ) -> None:
        asked = problem(
            [account("Kite", 3000, 3000, 3000, lost=(2,))],
            ids=range(3 * each), mode=Mode.FULL, tier=0, live=np.repeat([0, 1, 2], each),
        )  # fmt: skip
        found = plan(asked)

        assert counts(found, asked) == left
        assert (found.forced.sum(), found.moved.sum()) == (each, 0)
        assert dropped(found, asked) == list(range(served, 3 * each))

    def test_that_was_a_whole_account_costs_the_lowest_of_all(self) -> None:
        tier = np.arange(12_000) % 4
        whole = [account("A", 3000, 3000, 3000), account("B", 3000, 3000, 3000)]
        before = plan(problem(whole, ids=range(12_000), mode=Mode.FULL, tier=tier))
        asked = problem(
            [whole[0], account("B", 3000, 3000, 3000, lost=(0, 1, 2))],
            ids=range(12_000), mode=Mode.FULL, tier=tier, live=before.at,
        )  # fmt: skip
        found = plan(asked)

        assert dropped(found, asked) == np.flatnonzero(tier == 3).tolist()
        assert found.forced.sum() == (before.at >= 3).sum()
        assert found.moved.sum() == 0


class TestMoves:
    def test_a_chain_of_two_makes_room_where_no_single_one_would(self) -> None:
        accounts = [account("A", 3), account("B", 3), account("C", 1)]
        groups = [[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 1, 0]]
        asked = problem(
            accounts, groups=groups, ids=range(7), mode=Mode.QUOTE, tier=[0, 3, 3, 3, 3, 3, 3],
            group=[0, 1, 0, 0, 2, 3, 3], live=[NOWHERE, 0, 0, 0, 1, 1, 1],
        )  # fmt: skip
        found = plan(asked)

        assert found.drops == ()
        assert found.at[0] == 0
        assert found.moved.sum() == 2

    def test_are_not_made_at_the_low_level_and_a_lower_tier_goes_instead(self) -> None:
        accounts = [account("A", 3), account("B", 3)]
        groups = [[1, 0], [1, 1]]
        asked = problem(
            accounts, groups=groups, ids=range(4), mode=Mode.QUOTE, tier=[0, 3, 3, 3], group=[0, 1, 1, 1],
            live=[NOWHERE, 0, 0, 0],
        )  # fmt: skip
        low, usual = plan(asked, level=Level.LOW), plan(asked)

        assert (low.moved.sum(), dropped(low, asked)) == (0, [3])
        assert (usual.moved.sum(), dropped(usual, asked)) == (1, [])

    def test_pinned_ones_stay_and_others_go_round_them(self) -> None:
        asked = problem(
            [account("A", 2), account("B", 2)], groups=[[1, 0], [1, 1]], ids=range(3), mode=Mode.QUOTE, tier=1,
            group=[0, 1, 1], live=[NOWHERE, 0, 0], pinned=[False, True, False],
        )  # fmt: skip

        assert plan(asked).at.tolist() == [0, 0, 1]


class TestTwoCopies:
    def test_are_in_two_accounts_and_survive_the_loss_of_one(self) -> None:
        kite, dhan = account("Kite", 3000, 3000, 3000), account("Dhan", 5000, 5000)
        before = plan(problem([kite, dhan], ids=range(100), mode=Mode.FULL, tier=1, copies=2))
        lost = account("Kite", 3000, 3000, 3000, lost=(0, 1, 2))
        asked = problem(
            [lost, dhan, account("Third", 3000)], ids=range(100), mode=Mode.FULL, tier=1, copies=2, live=before.at,
            second=before.second,
        )  # fmt: skip
        found = plan(asked)
        alone = plan(replace(asked, accounts=(lost, dhan), groups=np.ones((1, 2), dtype=bool)))

        assert (found.drops, found.moved.sum()) == ((), 0)
        assert (found.second != NOWHERE).all()
        assert set(zip(asked.account_of[found.at], asked.account_of[found.second], strict=True)) <= {(1, 2), (2, 1)}
        assert (alone.drops, (alone.second != NOWHERE).sum()) == ((), 0)


class TestMessagesASecond:
    def test_are_a_bound_and_the_first_tier_goes_first(self) -> None:
        busy = Account(
            id="A", broker="a", connections=(Connection(id="a", uses=(anything(100),), load_max=40.0),)
        )  # fmt: skip
        asked = problem([busy], ids=range(10), mode=Mode.QUOTE, tier=[3] * 5 + [0] * 5, load=8.0)
        found = plan(asked)

        assert dropped(found, asked) == [0, 1, 2, 3, 4]
        assert found.drops[0].reason == "capacity.load"


class TestTheAggressiveLevel:
    def test_uses_live_sockets_otherwise_when_that_serves_more(self) -> None:
        mixed = upstox()
        live = replace(mixed, connections=tuple(replace(one, used_as=2) for one in mixed.connections))
        asked = problem(
            [live], ids=range(7000), mode=np.repeat([Mode.LTP, Mode.FULL], [5000, 2000]), tier=1,
            live=[*[0] * 2000, *[NOWHERE] * 3000, *[1] * 1500, *[NOWHERE] * 500],
        )  # fmt: skip
        usual, hard = plan(asked), plan(asked, level=Level.AGGRESSIVE)

        assert sum(counts(usual, asked)) < sum(counts(hard, asked)) == 7000
        assert sorted(hard.uses) == [0, 1]

    def test_opens_fewer_connections_where_larger_ones_do(self) -> None:
        asked = problem([account("A", 100, 100, 100, 400)], ids=range(240), mode=Mode.LTP, tier=1)
        usual, hard = plan(asked), plan(asked, level=Level.AGGRESSIVE)

        assert np.count_nonzero(counts(usual, asked)) > np.count_nonzero(counts(hard, asked)) == 1
        assert hard.drops == ()

    def test_closes_none_where_somebody_lives(self) -> None:
        asked = problem([account("A", 100, 400)], ids=range(50), mode=Mode.LTP, tier=1, live=np.arange(50) % 2)
        hard = plan(asked, level=Level.AGGRESSIVE)

        assert hard.at.tolist() == asked.live.tolist()

    def test_gives_every_better_plan_as_it_finds_it(self) -> None:
        asked = problem([account("A", 100, 100, 100, 400)], ids=range(240), mode=Mode.LTP, tier=1)
        found = [np.count_nonzero(counts(one, asked)) for one in plans(asked, level=Level.AGGRESSIVE)]

        assert len(found) > 1
        assert found == sorted(found, reverse=True)


class TestReasons:
    def test_name_the_pin_that_cannot_be_held(self) -> None:
        asked = problem(
            [account("A", 2), account("B", 9)], groups=[[1, 0], [1, 1]], ids=range(4), mode=Mode.LTP,
            tier=[0, 0, 1, 1], group=[0, 0, 1, 1], live=[NOWHERE, NOWHERE, 0, 0], pinned=[False, False, True, False],
        )  # fmt: skip
        found = plan(asked)

        assert [(one.reason, asked.ids[one.members].tolist()) for one in found.drops] == [("pin_conflict", [2])]
        assert "A-0" in found.drops[0].detail

    def test_say_when_a_lower_mode_would_be_served(self) -> None:
        use = Use("any", 10, (10, 5, 3))
        one = Account(id="A", broker="a", connections=(Connection(id="a", uses=(use,)),))
        asked = problem([one], ids=range(8), mode=Mode.FULL, tier=1)
        found = plan(asked)

        assert (found.drops[0].reason, len(found.drops[0].members)) == ("capacity.mode", 5)
        assert "5 of them were asked for as quote" in (found.drops[0].would_fit_if or "")
        mode = np.where(found.at == NOWHERE, Mode.QUOTE, Mode.FULL)
        assert plan(replace(asked, mode=mode)).drops == ()

    def test_tell_lost_second_copies_apart_from_drops(self) -> None:
        accounts = [account("Kite", 100, lost=(0,)), account("Dhan", 200)]
        asked = problem(accounts, ids=range(100), mode=Mode.FULL, tier=1, copies=2, live=1, second=0)
        found = plan(asked)

        assert (found.drops, found.moved.sum()) == ((), 0)
        assert [(one.reason, len(one.members)) for one in found.degraded] == [("degraded.redundancy", 100)]

    @pytest.mark.parametrize(
        ("asked", "reason"),
        [
            (problem([account("A", 5)], ids=[1], mode=Mode.LTP, tier=0, groups=[[0]]), "no_eligible_pool"),
            (problem([account("A", 5, lost=(0,))], ids=[1], mode=Mode.LTP, tier=0), "capacity.conn"),
            (problem([upstox(1)], ids=range(6000), mode=Mode.LTP, tier=0), "capacity.account"),
        ],
    )
    def test_are_of_a_closed_list(self, asked: Problem, reason: str) -> None:
        assert {one.reason for one in plan(asked).drops} == {reason}
