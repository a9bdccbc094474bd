"""Is a plan allowed, and is nobody served in a better one's place? Code of its own, run before any is applied.

Who could be served instead is asked of the plan itself: whoever is dropped looks for a way, place by place and
displacing others who look on, to a free place or to somebody who matters less.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from instrument_registry.subscriptions.planner.model import NOWHERE, Mode, Plan, Problem
from instrument_registry.subscriptions.planner.ways import FREE, Ways, used_by_mode, without_chains

SHOWN_MAX = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in a plan that must not be."""

    rule: str
    detail: str


def faults(problem: Problem, plan: Plan, *, in_order: bool = True, limits_only: bool = False) -> list[Fault]:
    """What is wrong with a plan, nothing for a good one.

    `in_order`: the first of a tier go first, too. `limits_only`: whether it may be applied, not how good it is.
    """
    found = [*_places(problem, plan), *_bounds(problem, plan), *_accounting(problem, plan)]
    if not found and not limits_only:
        found = list(_lower(problem, plan) if problem.bounded else _better(problem, plan, in_order=in_order))
    return found[:SHOWN_MAX]


def _places(problem: Problem, plan: Plan) -> Iterator[Fault]:
    owner = problem.account_of
    for places in (plan.at, plan.second):
        there = np.flatnonzero(places != NOWHERE)
        for one in there[~problem.alive[places[there]]]:
            yield Fault("alive", f"{problem.ids[one]} is on {problem.connections[places[one]].id}, which is lost")
        for one in there[~problem.groups[problem.group[there], owner[places[there]]]]:
            yield Fault("eligible", f"{problem.ids[one]} is in {problem.accounts[owner[places[one]]].id}, which cannot")
        guests = there[problem.emptied[places[there]] & (places[there] != problem.live[there])]
        for one in guests[places[guests] != problem.second[guests]]:
            yield Fault("draining", f"{problem.ids[one]} has come to {problem.connections[places[one]].id}")
    both = np.flatnonzero((plan.second != NOWHERE) & (plan.at != NOWHERE))
    for one in both[owner[plan.at[both]] == owner[plan.second[both]]] if len(both) else both:
        yield Fault("apart", f"both copies of {problem.ids[one]} are in one account")
    for one in np.flatnonzero((plan.second != NOWHERE) & ((plan.at == NOWHERE) | (problem.copies < 2))):
        yield Fault("copies", f"{problem.ids[one]} has a second copy that it must not have")
    for one in np.flatnonzero(problem.pinned & problem.lives & (plan.at != NOWHERE) & (plan.at != problem.live)):
        yield Fault("pinned", f"{problem.ids[one]} is pinned and has moved")


def _bounds(problem: Problem, plan: Plan) -> Iterator[Fault]:
    used, load = used_by_mode(problem, plan), np.zeros(len(problem.connections))
    for places in (plan.at, plan.second):
        there = places != NOWHERE
        load += np.bincount(places[there], weights=problem.counted_load[there], minlength=len(load))
    for number, (connection, chosen) in enumerate(zip(problem.connections, plan.uses, strict=True)):
        use = connection.uses[chosen]
        for mode in Mode:
            if used[number, mode] > use.modes[mode]:
                yield Fault("mode", f"{connection.id} carries {used[number, mode]} of {use.modes[mode]} {mode.name}")
        if used[number].sum() > use.total:
            yield Fault("connection", f"{connection.id} carries more than {use.total}")
        if connection.load_max is not None and load[number] > connection.load_max * (1 + 1e-9):
            yield Fault(
                "load", f"{connection.id} carries {load[number]:g} messages a second of {connection.load_max:g}"
            )
    for number, account in enumerate(problem.accounts):
        mine = used[problem.account_of == number].sum(axis=0)
        for mode, bound in zip(Mode, account.modes, strict=True):
            if bound is not None and mine[mode] > bound:
                yield Fault("account", f"{account.id} carries more than {bound} {mode.name}")
        if account.total is not None and mine.sum() > max(0, account.total - account.reserve):
            yield Fault("account", f"{account.id} carries {mine.sum()} of {account.total - account.reserve}")


def _accounting(problem: Problem, plan: Plan) -> Iterator[Fault]:
    told = np.zeros(len(problem), dtype=np.int64)
    for drop in plan.drops:
        told[drop.members] += 1
    for one in np.flatnonzero(told != (plan.at == NOWHERE)):
        yield Fault("accounting", f"{problem.ids[one]} is dropped and said to be so {told[one]} times")


def _lower(problem: Problem, plan: Plan) -> Iterator[Fault]:
    """Dropped instruments for whom there is room where messages are bounded, or one of a lower tier in their place."""
    for dropped, instead in without_chains(problem, plan):
        if instead == NOWHERE:
            yield Fault("room", f"{problem.ids[dropped]} is dropped, and there is room")
        else:
            yield Fault("order", f"{problem.ids[dropped]} is dropped for {problem.ids[instead]} of a lower tier")


def _better(problem: Problem, plan: Plan, *, in_order: bool) -> Iterator[Fault]:
    """Dropped instruments for whom somebody who matters less could make room."""
    ways = Ways(problem, plan)
    for kind in np.flatnonzero(ways.first_dropped != NOWHERE).tolist():
        dropped = int(ways.first_dropped[kind])
        for reached in ways.from_kind(kind):
            if reached == FREE:
                yield Fault("room", f"{problem.ids[dropped]} is dropped, and there is room")
                break
            last = int(ways.last_served[reached])
            tiers = problem.tier[last] - problem.tier[dropped]
            later = (problem.order[last], problem.ids[last]) > (problem.order[dropped], problem.ids[dropped])
            if tiers > 0 or (in_order and tiers == 0 and later):
                what = "of a lower tier" if tiers else "of a later place"
                yield Fault("order", f"{problem.ids[dropped]} is dropped for {problem.ids[last]} {what}")
                break
