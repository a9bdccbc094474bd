"""The plan: who is served, where they go, why others are not; the same for every order of the input."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from instrument_registry.subscriptions.planner.classes import Classes, class_of, classified, counted
from instrument_registry.subscriptions.planner.closing import fewer
from instrument_registry.subscriptions.planner.completing import completed, filled
from instrument_registry.subscriptions.planner.expanding import chosen, expanded
from instrument_registry.subscriptions.planner.keeping import Draft, better, moved, present, ranks
from instrument_registry.subscriptions.planner.model import NOWHERE, TIERS, Bools, Ints, Level, Plan, Problem, Quality
from instrument_registry.subscriptions.planner.placing import Placed, placed
from instrument_registry.subscriptions.planner.reasons import degraded, drops
from instrument_registry.subscriptions.planner.serving import Room, Served, served
from instrument_registry.subscriptions.planner.sticky import stuck
from instrument_registry.subscriptions.planner.uses import chosen_uses

SETTLES_MAX = 6  # times a plan is planned anew as if it lived, until that is no better


def plan(problem: Problem, *, level: Level = Level.MODERATE) -> Plan:
    """Plan everybody, to the end; Raises: Unsolved."""
    *_, best = plans(problem, level=level)
    return best


def plans(problem: Problem, *, level: Level = Level.MODERATE) -> Iterator[Plan]:
    """Ever better plans, the last is the best; Raises: Unsolved."""
    if level is not Level.AGGRESSIVE:
        yield told(problem, settled(problem, level), level=level)
        return
    best = settled(problem, Level.MODERATE)
    yield told(problem, best, level=level)
    for draft in _harder(problem, best):
        yield told(problem, draft, level=level)


def _harder(problem: Problem, best: Draft) -> Iterator[Draft]:
    """Other uses of live sockets where more can be served, then fewer connections; nothing that costs a move more."""
    other = settled(problem, Level.AGGRESSIVE)
    if better(problem, other, best):
        best = other
        yield best
    now = present(problem, best)
    if problem.bounded or (now is not None and not better(problem, best, now)):
        return  # as it lives, and so it stays: closing a connection would move whoever is there
    classes, second = best.classes, best.second != NOWHERE
    number = class_of(classes)
    first, twice = (np.bincount(number[one], minlength=len(classes)) for one in (best.first != NOWHERE, second))
    wanted = Served(first, twice, best.bound)
    living = _living(problem, classes, chosen(classes, first))
    count = len(problem.connections)
    flat = sum(counted(classes, at, at != NOWHERE, count=count) for at in (best.first, best.second))
    stay = np.minimum(living, flat)
    for counts in fewer(problem, classes, wanted, living, Placed(stay, flat - stay), uses=best.uses):
        at = expanded(problem, classes, wanted, counts)
        draft = replace(best, first=at[0], second=at[1])
        if not better(problem, best, draft):
            yield draft


def settled(problem: Problem, level: Level) -> Draft:
    """A draft that planning it anew would not better, and what lives now when that is as good."""
    none = np.full(len(problem), NOWHERE)
    draft = drafted(problem, level)
    if problem.bounded and not _whole(problem, draft):
        draft = _or_stuck(problem, level, draft, none)
        for _ in range(SETTLES_MAX):
            lived = replace(problem, live=draft.first, second=draft.second)
            out = bound_to(problem, level) & (draft.first == NOWHERE)  # what is out of its place stays bound to it
            also = np.where(out, problem.live, NOWHERE)
            again = _or_stuck(lived, level, drafted(lived, level, uses=draft.uses, also=also), also)
            if not better(problem, again, draft):
                break
            draft = again
    now = present(problem, draft)
    return now if now is not None and not better(problem, draft, now) else draft


def _whole(problem: Problem, draft: Draft) -> bool:
    """Whether nothing was lost by rounding: as many of each tier are served as could be, and so it is every time."""
    served = np.bincount(problem.tier[draft.first != NOWHERE], minlength=TIERS)
    return bool(np.allclose(served, draft.bound, rtol=0, atol=1e-6)) and not (problem.copies > 1).any()


def _or_stuck(problem: Problem, level: Level, draft: Draft, also: Ints) -> Draft:
    """Where messages are bounded counts were rounded: who stays and what is left may be more than that."""
    served = np.bincount(problem.tier[draft.first != NOWHERE], minlength=TIERS)
    if (served >= np.floor(np.array(draft.bound) + 1e-6)).all() and not (problem.copies > 1).any():
        return draft  # rounding has cost nobody
    fixed = np.where(bound_to(problem, level), problem.live, also)
    other = replace(stuck(problem, fixed, uses=draft.uses), order=draft.order, classes=draft.classes, bound=draft.bound)
    return other if better(problem, other, draft) else draft


def drafted(problem: Problem, level: Level, *, uses: tuple[int, ...] | None = None, also: Ints | None = None) -> Draft:
    """Who is served and where; with `uses` the connections are used so, `also` some are bound to one connection."""
    fixed = np.where(bound_to(problem, level), problem.live, NOWHERE if also is None else also)
    order = ranks(problem)
    if level is Level.LOW:  # whoever is served goes on being served, but for a higher tier
        order = order + np.where(problem.lives, 0, len(problem))
    classes = classified(problem, order, fixed)
    if uses is None:
        uses = chosen_uses(problem, classes, keep=level is not Level.AGGRESSIVE)
    wanted = served(problem, classes, Room(problem, classes, uses), order)
    living = _living(problem, classes, chosen(classes, wanted.first))
    counts = placed(problem, classes, wanted, living, uses=uses)
    total = counts.stay + counts.come
    if problem.bounded or total.sum() < wanted.first.sum() + wanted.second.sum():
        wanted, counts = completed(problem, classes, wanted, counts, uses=uses)
        total = counts.stay + counts.come
        stay = np.minimum(total, _living(problem, classes, chosen(classes, wanted.first)))
        counts = Placed(stay, total - stay)
    first, second = expanded(problem, classes, wanted, counts)
    if problem.bounded and (problem.copies > 1).any():
        first = filled(problem, classes, first, second, uses=uses)
    return Draft(first=first, second=second, uses=uses, order=order, classes=classes, bound=wanted.bound)


def told(problem: Problem, draft: Draft, *, level: Level) -> Plan:
    """A plan with its reasons."""
    first, second = draft.first, draft.second
    return Plan(
        at=first,
        second=second,
        uses=draft.uses,
        drops=drops(problem, draft.classes, first, draft.order, second=draft.second, uses=draft.uses),
        degraded=degraded(problem, first, second),
        quality=Quality.BOUNDED if problem.bounded else Quality.OPTIMAL,
        served_bound=draft.bound,
        moved=moved(problem, first, second),
        forced=(problem.live != NOWHERE) & ~problem.lives,
        level=level,
    )


def bound_to(problem: Problem, level: Level) -> Bools:
    """Who may be nowhere but where they live."""
    return problem.lives & (~problem.leaving | problem.pinned) if level is Level.LOW else problem.lives & problem.pinned


def _living(problem: Problem, classes: Classes, mine: Bools) -> Ints:
    count = len(problem.connections)
    living = counted(classes, np.where(problem.lives, problem.live, NOWHERE), mine, count=count)
    return living + counted(classes, problem.second, mine & (problem.copies > 1), count=count)
