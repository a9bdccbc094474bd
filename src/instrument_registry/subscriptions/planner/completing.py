"""Where messages a second are bounded counts are rounded down: who was left finds a place, or lower tiers' places."""

from dataclasses import dataclass

import numpy as np

from instrument_registry.subscriptions.planner.bounds import possible
from instrument_registry.subscriptions.planner.classes import Classes
from instrument_registry.subscriptions.planner.left import ENDLESS, Left
from instrument_registry.subscriptions.planner.model import NOWHERE, TIERS, Bools, Ints, Mode, Problem
from instrument_registry.subscriptions.planner.placing import Placed
from instrument_registry.subscriptions.planner.serving import Served

ROUNDS_MAX = 20


@dataclass(slots=True)
class _State:
    problem: Problem
    classes: Classes
    left: Left
    may: Bools
    have: Ints  # by class and connection
    single: Bools

    def change(self, k: int, at: int, by: int) -> None:
        """So many more, or fewer, of a class in one place."""
        got = np.zeros(self.have.shape[1], dtype=np.int64)
        got[at] = by
        self.left.use(got, int(self.classes.mode[k]), float(self.classes.load[k]))
        self.have[k, at] += by

    def waiting(self, k: int) -> int:
        return int(self.classes.sizes[k] - self.have[k].sum())


def completed(
    problem: Problem, classes: Classes, wanted: Served, counts: Placed, *, uses: tuple[int, ...]
) -> tuple[Served, Placed]:
    """Counts that leave nobody out who could be in the place of nobody, or of lower tiers."""
    state = _State(
        problem, classes, Left(problem, uses), possible(problem, classes, uses), counts.stay + counts.come,
        classes.copies == 1,
    )  # fmt: skip
    for k in np.flatnonzero(state.have.any(axis=1)).tolist():
        state.left.use(state.have[k], int(classes.mode[k]), float(classes.load[k]))
    for _ in range(ROUNDS_MAX):
        if not _round(state):
            break
    first = np.where(state.single, state.have.sum(axis=1), wanted.first)
    return Served(first, wanted.second, wanted.bound), Placed(np.minimum(counts.stay, state.have), _come(counts, state))


def filled(problem: Problem, classes: Classes, first: Ints, second: Ints, *, uses: tuple[int, ...]) -> Ints:
    """First copies in what second copies could not use after all."""
    left, may, at = Left(problem, uses), possible(problem, classes, uses), first.copy()
    for places in (first, second):
        there = places != NOWHERE
        for mode in Mode:
            mine = there & (problem.mode == mode)
            left.use(np.bincount(places[mine], minlength=len(uses)), int(mode), 0.0)
        left.load -= np.bincount(places[there], weights=problem.counted_load[there], minlength=len(uses))
    for k in np.argsort(classes.tier, kind="stable").tolist():
        members = classes.of(k)
        members = members[first[members] == NOWHERE]
        if len(members):
            wanted = np.where(may[k], ENDLESS, 0)
            got = left.taken(wanted, len(members), int(classes.mode[k]), float(classes.load[k]))
            at[members[: got.sum()]] = np.repeat(np.arange(len(uses)), got)
    return at


def _come(counts: Placed, state: _State) -> Ints:
    return np.asarray(state.have - np.minimum(counts.stay, state.have), dtype=np.int64)


def _round(state: _State) -> bool:
    changed = False
    for tier in range(TIERS):
        for k in np.flatnonzero((state.classes.tier == tier) & state.single).tolist():
            waiting = state.waiting(k)
            if waiting:
                mode, load = int(state.classes.mode[k]), float(state.classes.load[k])
                got = state.left.taken(np.where(state.may[k], ENDLESS, 0), waiting, mode, load)
                state.have[k] += got
                changed |= bool(got.any())
            while state.waiting(k) and tier < TIERS - 1 and _instead(state, k):
                changed = True
    return changed


def _instead(state: _State, k: int) -> bool:
    """One more of a class where that costs lower tiers least; whether there was such a place."""
    best: tuple[float, int, list[tuple[int, int, int]]] | None = None
    lower = np.flatnonzero((state.classes.tier > state.classes.tier[k]) & state.single)
    if not len(lower):
        return False
    lower = lower[np.lexsort((-state.classes.load[lower], -state.classes.tier[lower]))]
    for at in np.flatnonzero(state.may[k]).tolist():
        there = lower[state.have[lower, at] > 0]
        victims = _victims(state, k, at, there.tolist())
        if victims is None:
            continue
        cost = sum(count * state.problem.tier_ratio ** float(-state.classes.tier[v]) for v, _, count in victims)
        if best is None or cost < best[0]:
            best = (cost, at, victims)
    if best is None:
        return False
    for v, place, count in best[2]:
        state.change(v, place, -count)
    state.change(k, best[1], +1)
    return True


def _victims(state: _State, k: int, at: int, there: list[int]) -> list[tuple[int, int, int]] | None:
    """Who would have to go from a place for one of a class, the lowest first; None when that is not enough."""
    gone: list[tuple[int, int, int]] = []
    try:
        for v in there:
            while state.have[v, at] and not _fits(state, k, at):
                if _useless(state, k, at, v):
                    break
                state.change(v, at, -1)
                gone.append((v, at, 1))
            if _fits(state, k, at):
                return gone
        return gone if _fits(state, k, at) else None
    finally:
        for v, place, count in gone:
            state.change(v, place, count)


def _useless(state: _State, k: int, at: int, v: int) -> bool:
    """Whether one of another mode goes for nothing: only its own mode is short."""
    mode, left = int(state.classes.mode[k]), state.left
    account = int(left.account_of[at])
    other = int(state.classes.mode[v]) != mode
    return other and bool(left.modes[at, mode] <= 0 or left.account_modes[account, mode] <= 0)


def _fits(state: _State, k: int, at: int) -> bool:
    mode, left, account = int(state.classes.mode[k]), state.left, int(state.left.account_of[at])
    load = float(state.classes.load[k])
    return bool(
        left.total[at] > 0
        and left.modes[at, mode] > 0
        and left.accounts[account] > 0
        and left.account_modes[account, mode] > 0
        and left.load[at] + 1e-9 >= load
    )
