"""A plan without a solver: everybody stays who can, and tier by tier whoever waits takes what is left.

It is what is applied when the solver has nothing in time. Nobody of a lower tier is where somebody of a higher one
could be, and of no tier fewer are served than live now, but for what a higher tier takes. Nobody moves but whoever
gives way to a higher tier.
"""

import numpy as np

from instrument_registry.subscriptions.planner.bounds import possible
from instrument_registry.subscriptions.planner.classes import Classes, classified, counted
from instrument_registry.subscriptions.planner.expanding import expanded
from instrument_registry.subscriptions.planner.keeping import Draft, moved, ranks
from instrument_registry.subscriptions.planner.left import ENDLESS, Left
from instrument_registry.subscriptions.planner.model import (
    NOWHERE,
    TIERS,
    Bools,
    Ints,
    Level,
    Plan,
    Problem,
    Quality,
)
from instrument_registry.subscriptions.planner.placing import Placed
from instrument_registry.subscriptions.planner.reasons import degraded, drops
from instrument_registry.subscriptions.planner.serving import Served


def sticky(problem: Problem, *, level: Level = Level.MODERATE) -> Plan:
    """Who can stay stays; whoever waits takes what is free, or a lower tier's place."""
    uses = tuple(one.used_as or 0 for one in problem.connections)
    draft = stuck(problem, np.where(problem.lives & problem.pinned, problem.live, NOWHERE), uses=uses)
    return Plan(
        at=draft.first,
        second=draft.second,
        uses=uses,
        drops=drops(problem, draft.classes, draft.first, draft.order, second=draft.second, uses=uses, solve=False),
        degraded=degraded(problem, draft.first, draft.second),
        quality=Quality.HEURISTIC,
        served_bound=draft.bound,
        moved=moved(problem, draft.first, draft.second),
        forced=(problem.live != NOWHERE) & ~problem.lives,
        level=level,
    )


def stuck(problem: Problem, fixed: Ints, *, uses: tuple[int, ...]) -> Draft:
    """The same before anything is told of it; `fixed`: the one connection where somebody may be."""
    order = ranks(problem) + np.where(problem.lives, 0, len(problem))
    classes = classified(problem, order, fixed)
    left = Left(problem, uses)
    counts = _counted(problem, classes, left, uses)
    everybody = Served(classes.sizes, np.zeros_like(classes.sizes), ())
    first, _ = expanded(problem, classes, everybody, counts, single=np.ones(len(classes), dtype=np.bool_))
    bound = tuple(float((problem.tier == tier).sum()) for tier in range(TIERS))
    return Draft(
        first=first, second=_seconds(problem, first, left), uses=uses, order=order, classes=classes, bound=bound
    )


def _counted(problem: Problem, classes: Classes, left: Left, uses: tuple[int, ...]) -> Placed:
    """By class and connection: the higher tiers first, in each those who live there, then those who wait."""
    count = len(problem.connections)
    living = counted(classes, problem.live, problem.lives, count=count)
    may = possible(problem, classes, uses)
    stay, come = np.zeros((len(classes), count), np.int64), np.zeros((len(classes), count), np.int64)
    for tier in range(TIERS):
        mine = np.flatnonzero(classes.tier == tier)
        for k in mine.tolist():
            wanted = np.where(may[k], living[k], 0)
            stay[k] = left.taken(wanted, ENDLESS, int(classes.mode[k]), float(classes.load[k]))
        below = np.flatnonzero(classes.tier > tier)
        for gently in (True, False):  # first where nobody of a lower tier lives
            _hold(left, classes, living, below, gently, +1)
            for k in mine.tolist():
                waiting = int(classes.sizes[k] - stay[k].sum() - come[k].sum())
                if waiting:
                    mode, load = int(classes.mode[k]), float(classes.load[k])
                    come[k] += left.taken(np.where(may[k], ENDLESS, 0), waiting, mode, load)
            _hold(left, classes, living, below, gently, -1)
    return Placed(stay, come)


def _hold(left: Left, classes: Classes, living: Ints, below: Ints, gently: bool, sign: int) -> None:
    for k in below.tolist() if gently else ():
        left.use(sign * living[k], int(classes.mode[k]), float(classes.load[k]))


def _seconds(problem: Problem, first: Ints, left: Left) -> Ints:
    """Second copies that live and for which there is still room."""
    second = np.full(len(problem), NOWHERE, dtype=np.int64)
    for one in np.flatnonzero(_could_stay(problem, first)).tolist():
        place = int(problem.second[one])
        wanted = np.zeros_like(left.total)
        wanted[place] = 1
        if left.taken(wanted, 1, int(problem.mode[one]), float(problem.load[one])).any():
            second[one] = place
    return second


def _could_stay(problem: Problem, first: Ints) -> Bools:
    there = (problem.copies > 1) & (problem.second != NOWHERE) & (first != NOWHERE)
    at, owner = np.where(there, problem.second, 0), problem.account_of
    if len(owner):
        there &= problem.alive[at] & problem.groups[problem.group, owner[at]] & (owner[at] != owner[first])
    return np.asarray(there, dtype=np.bool_)
