"""Every way to serve a dozen instruments on three connections, tried: none is better than the plan's."""

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds import varied_problem
from instrument_registry.subscriptions.planner import NOWHERE, Level, Plan, Problem, plan
from instrument_registry.subscriptions.planner.checker import faults
from instrument_registry.subscriptions.planner.sticky import sticky

SMALL = st.builds(
    lambda seed, count, connections, full: varied_problem(
        np.random.default_rng(seed), count=count, connections=connections, full=full
    ),
    st.integers(0, 2**32),
    st.integers(1, 12),
    st.integers(1, 3),
    st.floats(0.6, 2.0),
)


@settings(max_examples=150, deadline=None)
@given(SMALL)
def test_nobody_is_out_who_could_be_in_by_tier_and_turn_and_as_few_move_as_can_be(asked: Problem) -> None:
    found = plan(asked)

    assert [*served_in_turn(asked, found), -int(found.moved.sum())] == best(asked)
    assert faults(asked, found) == []


@settings(max_examples=100, deadline=None)
@given(SMALL)
def test_a_plan_without_a_solver_breaks_no_limit_and_serves_no_fewer_than_live(asked: Problem) -> None:
    found = sticky(asked)

    assert faults(asked, found, limits_only=True) == []
    assert by_tier(asked, found.at) >= by_tier(asked, lives_within_limits(asked))


@settings(max_examples=100, deadline=None)
@given(SMALL, st.sampled_from(Level))
def test_nobody_who_is_pinned_moves_and_the_low_level_moves_nobody(asked: Problem, level: Level) -> None:
    found = plan(asked, level=level)

    assert not (found.moved & asked.pinned).any()
    assert level is not Level.LOW or not found.moved.any()


def served_in_turn(asked: Problem, found: Plan) -> list[int]:
    return [int(found.at[one] != NOWHERE) for one in turns(asked)]


def turns(asked: Problem) -> list[int]:
    return np.lexsort((asked.ids, asked.order, asked.tier)).tolist()


def by_tier(asked: Problem, at: np.ndarray) -> list[int]:
    return np.bincount(asked.tier[at != NOWHERE], minlength=4).tolist()


def lives_within_limits(asked: Problem) -> np.ndarray:
    """Who could go on living where they live, the first first."""
    at, used = np.full(len(asked), NOWHERE), start(asked)
    for one in turns(asked):
        if asked.lives[one]:
            after = taken(asked, used, one, int(asked.live[one]))
            if after is not None:
                used, at[one] = after, asked.live[one]
    return at


Used = tuple[tuple[int, ...], ...]


def start(asked: Problem) -> Used:
    return tuple((0, 0, 0) for _ in asked.connections)


def taken(asked: Problem, used: Used, one: int, at: int) -> Used | None:
    """What is used when one more is in a place, None when that breaks a limit or may not be."""
    connection, owner, mode = asked.connections[at], int(asked.account_of[at]), int(asked.mode[one])
    account, use = asked.accounts[owner], asked.connections[at].uses[0]
    mine = asked.lives[one] and asked.live[one] == at
    if not connection.alive or not asked.groups[asked.group[one], owner] or (connection.draining and not mine):
        return None
    if asked.pinned[one] and asked.lives[one] and not mine:
        return None
    after = tuple(tuple(count + (n == at and m == mode) for m, count in enumerate(row)) for n, row in enumerate(used))
    together = [sum(after[n][m] for n in range(len(used)) if asked.account_of[n] == owner) for m in range(3)]
    whole = sum(together) <= (max(0, account.total - account.reserve) if account.total is not None else len(asked))
    modes = all(bound is None or together[m] <= bound for m, bound in enumerate(account.modes))
    fits = sum(after[at]) <= use.total and after[at][mode] <= use.modes[mode]
    return after if whole and modes and fits else None


def best(asked: Problem) -> list[int]:
    """Who is served, turn by turn, and how few move: all ways are tried, those that come to the same once."""
    order = turns(asked)

    @cache
    def onward(turn: int, used: Used) -> tuple[int, ...]:
        if turn == len(order):
            return (0,)
        one = order[turn]
        found = [(0, *onward(turn + 1, used))]
        for at in range(len(asked.connections)):
            after = taken(asked, used, one, at)
            if after is not None:
                *served, moves = onward(turn + 1, after)
                moved = asked.lives[one] and not asked.leaving[one] and asked.live[one] != at
                found.append((1, *served, moves - int(moved)))
        return max(found)

    return list(onward(0, start(asked)))
