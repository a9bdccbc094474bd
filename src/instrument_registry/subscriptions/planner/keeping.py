"""What lives now is kept unless another plan is better: planning anew what was applied changes nothing."""

from dataclasses import dataclass

import numpy as np

from instrument_registry.subscriptions.planner.classes import Classes
from instrument_registry.subscriptions.planner.left import Left
from instrument_registry.subscriptions.planner.model import NOWHERE, TIERS, Bools, Ints, Mode, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan before anything is told of it."""

    first: Ints
    second: Ints
    uses: tuple[int, ...]
    order: Ints  # who is served first in a tier
    classes: Classes
    bound: tuple[float, ...]


def present(problem: Problem, draft: Draft) -> Draft | None:
    """What lives now as a plan of its own, None when it breaks a bound."""
    owner = problem.account_of
    if not len(owner) or not problem.lives.any():
        return None
    first = np.where(problem.lives, problem.live, NOWHERE)
    at = np.where(problem.second != NOWHERE, problem.second, 0)
    stays = (problem.second != NOWHERE) & problem.lives & (problem.copies > 1) & problem.alive[at]
    stays &= problem.groups[problem.group, owner[at]] & (owner[at] != owner[problem.live])
    second = np.where(stays, problem.second, NOWHERE)
    used = zip(problem.connections, draft.uses, strict=True)
    uses = tuple(chosen if one.used_as is None else one.used_as for one, chosen in used)
    left = Left(problem, uses)
    for places in (first, second):
        there = places != NOWHERE
        load = np.bincount(places[there], weights=problem.counted_load[there], minlength=len(owner))
        for mode in Mode:
            mine = there & (problem.mode == mode)
            left.use(np.bincount(places[mine], minlength=len(owner)), int(mode), 0.0)
        left.load -= load
    if any((one < 0).any() for one in (left.total, left.modes, left.accounts, left.account_modes)):
        return None
    if (left.load < -1e-9).any():
        return None
    return Draft(first=first, second=second, uses=uses, order=draft.order, classes=draft.classes, bound=draft.bound)


def better(problem: Problem, one: Draft, other: Draft) -> bool:
    """Whether a plan is better than another: by tiers, ranks, second copies, what is to be emptied; not by moves."""
    mine, theirs = one.first != NOWHERE, other.first != NOWHERE
    by_tier, their_tiers = (np.bincount(problem.tier[served], minlength=TIERS).tolist() for served in (mine, theirs))
    if by_tier != their_tiers:
        return bool(by_tier > their_tiers)
    differ = np.flatnonzero(mine != theirs)
    if len(differ):
        first = differ[np.lexsort((one.order[differ], problem.tier[differ]))[0]]
        return bool(mine[first])
    return _less(problem, one) < _less(problem, other)


def _less(problem: Problem, draft: Draft) -> tuple[int, int]:
    """How many second copies there are, and how many are where nobody should be: less is better."""
    there = draft.first != NOWHERE
    return -int((draft.second != NOWHERE).sum()), int(problem.emptied[draft.first[there]].sum())


def ranks(problem: Problem) -> Ints:
    """Everybody's place in the order, ties broken by id, so that numbers may be added."""
    found = np.empty(len(problem), dtype=np.int64)
    found[np.argsort(problem.order, kind="stable")] = np.arange(len(problem))  # they are by id already
    return found


def moved(problem: Problem, first: Ints, second: Ints) -> Bools:
    """Who could have stayed, is served, and no copy of it is where it lived."""
    elsewhere = (first != problem.live) & (second != problem.live)
    return np.asarray(problem.lives & ~problem.leaving & (first != NOWHERE) & elsewhere, dtype=np.bool_)
