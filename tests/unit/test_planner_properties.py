"""What holds for every plan, told by a checker that shares no code with the solver, and by networkx."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds import random_problem, varied_problem
from instrument_registry.subscriptions.planner import (
    NOWHERE,
    Account,
    Level,
    Plan,
    Problem,
    plan,
    problem,
    with_connections,
    with_limit,
    without,
)
from instrument_registry.subscriptions.planner.checker import faults
from instrument_registry.subscriptions.planner.model import Drop

PROBLEMS = st.builds(
    lambda seed, count, connections, full: random_problem(
        np.random.default_rng(seed), count=count, connections=connections, full=full
    ),
    st.integers(0, 2**32),
    st.integers(1, 120),
    st.integers(1, 8),
    st.floats(0.5, 1.6),
)


def lived(asked: Problem, at: np.ndarray) -> Problem:
    """The same demand where the plan has been applied."""
    return replace(asked, live=at)


def lost(asked: Problem, number: int) -> Problem:
    """The same, without one connection."""
    accounts, seen = [], 0
    for one in asked.accounts:
        connections = tuple(
            replace(connection, alive=connection.alive and seen + n != number)
            for n, connection in enumerate(one.connections)
        )
        seen += len(connections)
        accounts.append(replace(one, connections=connections))
    return Problem(
        accounts=tuple(accounts), groups=asked.groups, ids=asked.ids, mode=asked.mode, tier=asked.tier,
        order=asked.order, group=asked.group, live=asked.live, second=asked.second, copies=asked.copies,
        pinned=asked.pinned, load=asked.load,
    )  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(PROBLEMS)
def test_no_bound_is_exceeded_and_nobody_is_served_in_a_better_ones_place(asked: Problem) -> None:
    assert faults(asked, plan(asked)) == []


@settings(max_examples=20, deadline=None)
@given(PROBLEMS, st.sampled_from(Level))
def test_planning_anew_what_was_applied_changes_nothing(asked: Problem, level: Level) -> None:
    first = plan(asked)
    again = plan(lived(asked, first.at), level=level)

    assert (again.at == first.at).all()


@settings(max_examples=20, deadline=None)
@given(PROBLEMS, st.integers(0, 2**32))
def test_the_order_of_the_input_does_not_matter(asked: Problem, seed: int) -> None:
    mixed = np.random.default_rng(seed).permutation(len(asked))
    same = problem(
        asked.accounts, groups=asked.groups, ids=asked.ids[mixed], mode=asked.mode[mixed], tier=asked.tier[mixed],
        order=asked.order[mixed], group=asked.group[mixed],
    )  # fmt: skip

    assert (plan(same).at == plan(asked).at).all()


@settings(max_examples=20, deadline=None)
@given(PROBLEMS, st.integers(0, 7))
def test_a_lost_connection_forces_exactly_what_lived_there(asked: Problem, which: int) -> None:
    before = plan(asked)
    number = which % len(asked.connections)
    after = lost(lived(asked, before.at), number)
    found = plan(after)

    assert faults(after, found) == []
    assert (found.forced == (before.at == number)).all()


@settings(max_examples=20, deadline=None)
@given(PROBLEMS, st.integers(0, 7))
def test_the_low_level_moves_nobody(asked: Problem, which: int) -> None:
    after = lost(lived(asked, plan(asked).at), which % len(asked.connections))
    found = plan(after, level=Level.LOW)

    assert found.moved.sum() == 0
    assert {one.rule for one in faults(after, found)} <= {"room", "order"}


@settings(max_examples=15, deadline=None)
@given(PROBLEMS, st.integers(0, 7))
def test_as_few_move_as_networkx_says_must(asked: Problem, which: int) -> None:
    after = lost(lived(asked, plan(asked).at), which % len(asked.connections))
    found = plan(after)

    assert found.moved.sum() == fewest_moves(after, found)


def fewest_moves(asked: Problem, found: Plan) -> int:
    """Of all ways to carry the same instruments: a minimum cost flow, instrument by instrument."""
    network = nx.DiGraph()
    network.add_node("sink", demand=int((found.at != NOWHERE).sum()))
    for number, account in enumerate(asked.accounts):
        room = account.total - account.reserve if account.total is not None else len(asked)
        network.add_edge(("account", number), "sink", capacity=max(0, room), weight=0)
    for at, connection in enumerate(asked.connections):
        use, owner = connection.uses[0], ("account", int(asked.account_of[at]))
        network.add_edge(("connection", at), owner, capacity=use.total, weight=0)
        for mode, room in enumerate(use.modes):
            network.add_edge(("mode", at, mode), ("connection", at), capacity=room, weight=0)
    for one in np.flatnonzero(found.at != NOWHERE):
        network.add_node(("one", int(one)), demand=-1)
        for at, connection in enumerate(asked.connections):
            if connection.alive and asked.groups[asked.group[one], asked.account_of[at]]:
                cost = int(asked.lives[one] and asked.live[one] != at)
                network.add_edge(("one", int(one)), ("mode", at, int(asked.mode[one])), capacity=1, weight=cost)
    return int(nx.min_cost_flow_cost(network))


class TestTheChecker:
    @pytest.fixture
    def asked(self) -> Problem:
        return random_problem(np.random.default_rng(1), count=200, connections=6, full=1.3)

    def test_sees_a_lower_tier_served_in_a_higher_ones_place(self, asked: Problem) -> None:
        """Sort by name and cut off: what the predecessor did."""
        right = plan(asked)
        at, room = np.full(len(asked), NOWHERE), [one.uses[0].total // 2 for one in asked.connections]
        for one in range(len(asked)):
            places = [n for n in range(len(room)) if room[n] and asked.groups[asked.group[one], asked.account_of[n]]]
            if places:
                at[one] = places[0]
                room[places[0]] -= 1
        out = Drop(reason="cut", detail="", would_fit_if=None, members=np.flatnonzero(at == NOWHERE))
        found = faults(asked, replace(right, at=at, drops=(out,)))

        assert {one.rule for one in found} & {"room", "order", "mode", "account"}

    def test_sees_one_too_many(self, asked: Problem) -> None:
        right = plan(asked)
        at = right.at.copy()
        at[at != NOWHERE] = at[at != NOWHERE][0]

        assert "connection" in {one.rule for one in faults(asked, replace(right, at=at))}

    @pytest.mark.parametrize("loads", [False, True])
    def test_sees_somebody_of_the_first_tier_who_is_left_out(self, loads: bool) -> None:
        for seed in range(10):
            asked = varied_problem(np.random.default_rng(seed), count=40, connections=5, full=1.5, loads=loads)
            right = plan(asked)
            first = np.flatnonzero((right.at != NOWHERE) & (asked.tier == 0))[0]
            at = np.where(np.arange(40) == first, NOWHERE, right.at)
            out = Drop(reason="forgotten", detail="", would_fit_if=None, members=np.flatnonzero(at == NOWHERE))
            found = {one.rule for one in faults(asked, replace(right, at=at, drops=(out,)))}

            assert found & {"room", "order"}, seed

    def test_sees_a_drop_that_nobody_told(self, asked: Problem) -> None:
        right = plan(asked)

        assert "accounting" in {one.rule for one in faults(asked, replace(right, drops=right.drops[1:]))}


class TestAnyHistory:
    """Thirty events on one feed, each planned on what the last has left."""

    @settings(max_examples=5, deadline=None)
    @given(st.integers(0, 2**32), st.booleans(), st.booleans())
    def test_breaks_no_limit_serves_no_lower_tier_first_and_is_at_rest_when_applied(
        self, seed: int, loads: bool, copies: bool
    ) -> None:
        random = np.random.default_rng(seed)
        asked = varied_problem(random, count=40, connections=5, full=1.2, loads=loads, copies=copies)
        for _ in range(30):
            asked = event(random, asked)
            level = Level.LOW if random.random() < 0.2 else Level.MODERATE
            found = plan(asked, level=level)
            rules = {one.rule for one in faults(asked, found)}
            assert rules <= ({"room", "order"} if level is Level.LOW or crosses(asked) else set())
            assert (found.forced == ((asked.live != NOWHERE) & ~asked.lives)).all()
            assert level is not Level.LOW or not found.moved.any()
            applied = replace(asked, live=found.at, second=found.second, accounts=used(asked, found))
            bound = asked.lives & (asked.pinned | (level is Level.LOW))
            if not (bound & (found.at == NOWHERE)).any():  # who is out is bound to nothing any more
                again = plan(applied, level=level)
                assert (again.at.tolist(), again.second.tolist()) == (found.at.tolist(), found.second.tolist())
            asked = applied

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32))
    def test_a_higher_priority_never_costs_the_place_and_more_room_never_serves_fewer(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        asked = random_problem(random, count=60, connections=5, full=1.4)
        found = plan(asked)
        one = int(random.integers(0, len(asked)))
        raised = replace(
            asked, tier=np.where(np.arange(60) == one, max(0, asked.tier[one] - 1), asked.tier),
            order=np.where(np.arange(60) == one, -1, asked.order),
        )  # fmt: skip
        account = asked.accounts[int(random.integers(0, len(asked.accounts)))].id
        roomier = plan(with_connections(asked, account, 1))

        assert found.at[one] == NOWHERE or plan(raised).at[one] != NOWHERE
        assert by_tier(asked, roomier.at) >= by_tier(asked, found.at)
        fewer = without(asked, [int(asked.ids[one])])
        kept = np.isin(asked.ids, fewer.ids)
        assert not ((plan(fewer).at == NOWHERE) & (found.at[kept] != NOWHERE)).any()

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**32), st.booleans())
    def test_is_the_same_in_any_order_of_everything_that_is_known(self, seed: int, loads: bool) -> None:
        random = np.random.default_rng(seed)
        asked = varied_problem(random, count=60, connections=5, full=1.2, loads=loads, copies=True)
        mixed = random.permutation(60)
        columns = ("ids", "mode", "tier", "order", "group", "live", "second", "copies", "pinned", "load")
        same = problem(asked.accounts, groups=asked.groups, **{name: getattr(asked, name)[mixed] for name in columns})

        assert plan(same).at.tolist() == plan(asked).at.tolist()
        assert plan(same).second.tolist() == plan(asked).second.tolist()


def event(random: np.random.Generator, asked: Problem) -> Problem:
    """Something happens: a connection is lost or comes back, some are wanted more, or not any more, a limit changes."""
    what, number = random.integers(0, 5), int(random.integers(0, len(asked.connections)))
    if what == 0:
        return lost(asked, number)
    if what == 1:
        back = tuple(
            replace(one, connections=tuple(replace(c, alive=True, draining=False) for c in one.connections))
            for one in asked.accounts
        )
        return replace(asked, accounts=back)
    if what == 2:
        return replace(asked, tier=np.where(random.random(len(asked)) < 0.1, random.integers(0, 4), asked.tier))
    if what == 3:
        gone = random.random(len(asked)) < 0.1
        return replace(
            asked, ids=np.arange(len(asked)) + int(asked.ids.max()) if gone.all() else asked.ids,
            live=np.where(gone, NOWHERE, asked.live), second=np.where(gone, NOWHERE, asked.second),
            mode=np.where(gone, random.integers(0, 3, len(asked)), asked.mode),
        )  # fmt: skip
    return with_limit(
        asked, asked.accounts[int(random.integers(0, len(asked.accounts)))].id, int(random.integers(2, 20))
    )


def crosses(asked: Problem) -> bool:
    """Whether who may be at one connection alone shares a bounded mode of the account: no matroid then."""
    own = asked.lives & (asked.pinned | asked.leaving)
    accounts = {int(asked.account_of[at]) for at in asked.live[own]}
    return any(most is not None for one in accounts for most in asked.accounts[one].modes)


def used(asked: Problem, found: Plan) -> tuple[Account, ...]:
    """The accounts with every connection used as the plan says."""
    uses = iter(found.uses)
    return tuple(
        replace(one, connections=tuple(replace(c, used_as=next(uses)) for c in one.connections))
        for one in asked.accounts
    )


def by_tier(asked: Problem, at: np.ndarray) -> list[int]:
    return np.bincount(asked.tier[at != NOWHERE], minlength=4).tolist()
