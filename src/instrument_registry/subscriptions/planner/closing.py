"""Fewer open connections, where that moves nobody and fills none more than is comfortable."""

from collections.abc import Iterator

import numpy as np

from instrument_registry.subscriptions.planner.classes import Classes
from instrument_registry.subscriptions.planner.linear import Unsolved
from instrument_registry.subscriptions.planner.model import Ints, Problem
from instrument_registry.subscriptions.planner.placing import COMFORT, STEPS, Placed, placed
from instrument_registry.subscriptions.planner.serving import Served


def fewer(
    problem: Problem, classes: Classes, wanted: Served, living: Ints, counts: Placed, *, uses: tuple[int, ...]
) -> Iterator[Placed]:
    """Ever fewer: each connection where nobody stays is tried without, the emptiest first."""
    best, none = counts, np.zeros(len(uses), dtype=np.bool_)
    largest_first = placed(problem, classes, wanted, living, uses=uses, but=none)
    if _cost(problem, largest_first, uses) < _cost(problem, best, uses):
        best = largest_first
        yield best
    carried = (best.stay + best.come).sum(axis=0)
    closed = carried == 0
    for at in np.lexsort((np.arange(len(uses)), carried)).tolist():
        if closed[at] or best.stay[:, at].any():
            continue
        tried = closed.copy()
        tried[at] = True
        try:
            found = placed(problem, classes, wanted, living, uses=uses, but=tried)
        except Unsolved:  # the others cannot hold them
            continue
        if _cost(problem, found, uses) < _cost(problem, best, uses):
            best, closed = found, tried
            yield best


def _cost(problem: Problem, counts: Placed, uses: tuple[int, ...]) -> tuple[int, int, float, int]:
    """Who has no place, who moves, how unevenly it fills above the comfort, how many are open: less is better."""
    total = counts.stay + counts.come
    carried = total.sum(axis=0)
    room = np.array([one.uses[use].total for one, use in zip(problem.connections, uses, strict=True)])
    step = np.maximum(1, np.ceil(room * (1 - COMFORT) / STEPS))
    over = np.maximum(0, carried - np.floor(room * COMFORT))
    whole, part = np.divmod(over, step)
    uneven = step * whole * (whole + 1) / 2 + part * (whole + 1)
    return -int(total.sum()), -int(counts.stay.sum()), round(float(uneven.sum()), 6), int((carried > 0).sum())
