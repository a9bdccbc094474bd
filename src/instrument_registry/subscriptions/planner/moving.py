"""Why each of those who move must: what was lost, or who needs their place."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from instrument_registry.subscriptions.planner.model import NOWHERE, TIERS, Bools, Ints, Mode, Plan, Problem

LOST, CANNOT, DRAINED = "connection_lost", "not_eligible", "draining"
LIMIT, USE, DISPLACED, ACCOUNT, EVENED = "limit", "use_changed", "displaced", "account_displaced", "balance"
FORCED = (LOST, CANNOT, DRAINED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Some who leave a connection, all for the same reason; `target` is NOWHERE for those nothing carries any more."""

    reason: str
    detail: str
    forced: bool
    copy: int  # 1 the first, 2 the second
    source: int  # places in the problem's connections
    target: int
    members: Ints = field(repr=False)  # places in the problem


def moves(problem: Problem, plan: Plan) -> tuple[Move, ...]:
    """Everybody who lived somewhere and does not live there any more, but for those who are dropped for others."""
    found: list[Move] = []
    for copy, (was, now, other) in enumerate(
        ((problem.live, plan.at, plan.second), (problem.second, plan.second, plan.at)), 1
    ):
        away = (was != NOWHERE) & (was != now) & (was != other)
        if copy == 2:  # a second copy that is not wanted any more has not moved
            away &= (problem.copies > 1) & (plan.at != NOWHERE)
        found += _of_copy(problem, plan, copy, was, now, away)
    return tuple(found)


def _of_copy(problem: Problem, plan: Plan, copy: int, was: Ints, now: Ints, away: Bools) -> Iterator[Move]:
    members = np.flatnonzero(away)
    if not len(members):
        return
    owner = problem.account_of
    lost = ~problem.alive[was[members]]
    cannot = ~lost & ~problem.groups[problem.group[members], owner[was[members]]]
    kind = np.where(lost, 0, np.where(cannot, 1, 2))
    # Who could have stayed and is served nowhere gave way: that is a drop, and told there.
    kept = (kind < 2) | (now[members] != NOWHERE)
    members, kind = members[kept], kind[kept]
    key = (kind * (len(owner) + 1) + was[members]) * (len(owner) + 1) + now[members] + 1
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.diff(key[order], prepend=-1))
    for part in np.split(order, begins[1:]):
        mine = members[part]
        if not len(mine):
            continue
        source, target, which = int(was[mine[0]]), int(now[mine[0]]), int(kind[part[0]])
        reason, detail = _reason(problem, plan, source, which)
        yield Move(
            reason=reason, detail=detail, forced=reason in FORCED, copy=copy, source=source, target=target, members=mine
        )


def _reason(problem: Problem, plan: Plan, source: int, kind: int) -> tuple[str, str]:
    connection, account = problem.connections[source], problem.accounts[int(problem.account_of[source])]
    if kind == 0:
        return LOST, f"{connection.id} is lost"
    if kind == 1:
        return CANNOT, f"{account.id} carries it no more"
    if connection.draining:
        return DRAINED, f"{connection.id} is to be emptied"
    if connection.used_as is not None and plan.uses[source] != connection.used_as:
        before, after = connection.uses[connection.used_as].name, connection.uses[plan.uses[source]].name
        return USE, f"{connection.id} was used as {before} and is now used as {after}"
    if (over := _over(problem, plan, source)) is not None:
        return LIMIT, over
    came = _came(problem, plan, plan.at == source)
    if came.any():
        return DISPLACED, f"{connection.id} takes {_told(came)} instead"
    mine = problem.account_of == problem.account_of[source]
    came = _came(problem, plan, (plan.at != NOWHERE) & mine[np.where(plan.at == NOWHERE, 0, plan.at)])
    if came.any():
        return ACCOUNT, f"{account.id} takes {_told(came)} instead"
    return EVENED, f"{connection.id} was fuller than others"


def _over(problem: Problem, plan: Plan, source: int) -> str | None:
    """Which bound of a connection what lives there breaks by now."""
    there = (problem.lives & (problem.live == source)) | (problem.second == source)
    use, connection = problem.connections[source].uses[plan.uses[source]], problem.connections[source]
    if there.sum() > use.total:
        return f"{connection.id} carries {use.total} and {int(there.sum())} live there"
    for mode, most in zip(Mode, use.modes, strict=True):
        if (living := int((there & (problem.mode == mode)).sum())) > most:
            return f"{connection.id} carries {most} {mode.name.lower()} and {living} live there"
    return None


def _came(problem: Problem, plan: Plan, here: Bools) -> Ints:
    """Of each tier, how many are in some places that did not live there."""
    newly = here & (problem.live != plan.at) & (problem.second != plan.at)
    return np.bincount(problem.tier[newly], minlength=TIERS)


def _told(by_tier: Ints) -> str:
    return ", ".join(f"{count} of tier {tier}" for tier, count in enumerate(by_tier.tolist()) if count)
