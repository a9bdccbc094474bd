"""Make plans: ask the planner, have the answer checked, keep it."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from instrument_registry import events
from instrument_registry.catalog.ulid import ulids
from instrument_registry.clock import Clock
from instrument_registry.database import Database
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.planner.model import NOWHERE, Level, Plan, Problem
from instrument_registry.subscriptions.plans import measures, storage, summary
from instrument_registry.subscriptions.plans.content import Content, packed
from instrument_registry.subscriptions.plans.events import PlanDrafted, PlanFailed, PlanOptimized, PlanValidated
from instrument_registry.subscriptions.plans.model import NoAccounts, PlanRow, Status, no_such
from instrument_registry.subscriptions.plans.moments import Memory, Moment
from instrument_registry.subscriptions.plans.question import Question

STREAM = "plans"

Solve = Callable[[Problem, Level, float], Awaitable[Plan]]
Check = Callable[[Problem, Plan], Awaitable[Sequence[str]]]
Suppose = Callable[[Problem], Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How to plan: as the parameters say, unless somebody asks otherwise."""

    level: Level
    timeout_seconds: float
    cache_seconds: float
    linger_seconds: float = 0.0
    drops_max: float = 0.05  # shares of what is live, above which a plan waits for an operator
    moves_max: float = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A plan, whether it had been made before, and from when on its question is another one."""

    plan: PlanRow
    content: Content
    cache_hit: bool
    edge: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposed:
    """What would be planned; nothing of it is kept."""

    asked: Question
    plan: Plan
    content: Content
    before: Content | None
    live: str | None


class Planning:
    """Plans for one process: it remembers what it has read, and asks one solver."""

    def __init__(
        self, database: Database, clock: Clock, *, solve: Solve, check: Check, chance: Callable[[], bytes]
    ) -> None:
        self._database, self._clock, self._chance = database, clock, chance
        self._solve, self._check = solve, check
        self.memory = Memory()

    async def make(
        self,
        terms: Terms,
        *,
        metadata: Metadata,
        user_id: str | None = None,
        fresh: bool = False,
        only_changes: bool = False,
    ) -> Made:
        """Plan all demand; the same question has the same plan, unless a `fresh` one is asked for.

        `only_changes`: where the answer is what is live already, the live plan is the answer, and none is kept.

        Raises: NoAccounts, PlannerTimedOut, DatabaseUnavailable.
        """
        began, now = time.perf_counter(), self._clock()
        async with self._database.transaction(isolation="repeatable read") as tx:
            moment = await self.memory.moment(tx, at=now, linger_seconds=terms.linger_seconds)
            _see_accounts(moment)
            asked = moment.question(terms.level)
            found = None if fresh else await storage.cached(tx, asked.digest, at=now)
            content = None if found is None else await self.memory.content(tx, found.id)
        if found is not None and content is not None:
            measures.CACHE.labels(operation="hit").inc()
            return Made(plan=found, content=content, cache_hit=True, edge=asked.edge)
        measures.CACHE.labels(operation="miss").inc()
        read_seconds = time.perf_counter() - began
        asked, plan = await self._planned(moment, asked, terms)
        solve_seconds = time.perf_counter() - began - read_seconds
        content = content_of(asked, plan)
        if only_changes and moment.live.plan_id is not None and _alike(content, moment.content):
            async with self._database.transaction(read_only=True) as tx:
                found = await storage.plan(tx, moment.live.plan_id)
            if found is not None:
                return Made(plan=found, content=content, cache_hit=False, edge=asked.edge)
        faults = list(await self._check(asked.problem, plan))
        check_seconds = time.perf_counter() - began - read_seconds - solve_seconds
        times = {"read_ms": read_seconds, "solve_ms": solve_seconds, "check_ms": check_seconds}
        ends = now + timedelta(seconds=terms.cache_seconds)
        row = PlanRow(
            id=ulids(1, at=now, chance=self._chance())[0], status=Status.FAILED if faults else Status.VALIDATED,
            level=terms.level, quality=plan.quality, question=asked.digest, live_plan=moment.live.plan_id,
            based_on=None, user_id=user_id, faults=faults, held_because=_held_because(asked, plan, terms),
            summary=summary.summed(asked, plan) | {name: round(spent * 1000, 2) for name, spent in times.items()},
            actor=metadata.actor, correlation_id=metadata.correlation_id, made_at=now,
            expires_at=ends if asked.edge is None else min(ends, asked.edge),
        )  # fmt: skip
        await self._keep(row, asked, content, metadata=metadata)
        measures.made(row, solve_seconds=solve_seconds)
        return Made(plan=row, content=content, cache_hit=False, edge=asked.edge)

    async def suppose(self, terms: Terms, change: Suppose, *, at: datetime) -> Supposed:
        """What would be planned at a time if something were otherwise; nothing is written, remembered or cached.

        Raises: NoAccounts, PlannerTimedOut, DatabaseUnavailable, and whatever `change` raises.
        """
        memory = self.memory if at <= self._clock() else Memory()  # what a later day says is not to be remembered
        async with self._database.transaction(isolation="repeatable read", read_only=True) as tx:
            moment = await memory.moment(tx, at=at, linger_seconds=terms.linger_seconds, notes=False)
        _see_accounts(moment)
        asked = moment.question(terms.level)
        asked = replace(asked, problem=change(asked.problem))
        plan = await self._solve(asked.problem, terms.level, terms.timeout_seconds)
        more = len(asked.problem) - len(asked.rows)
        if more > 0:  # supposed instruments have no names
            asked = replace(asked, lingers=np.concatenate([asked.lingers, np.zeros(more, np.bool_)]))
        return Supposed(
            asked=asked, plan=plan, content=content_of(asked, plan), before=moment.content, live=moment.live.plan_id
        )

    async def validate(self, plan_id: str, *, metadata: Metadata, at: datetime) -> PlanRow:
        """Have a plan looked at once more; one that is not live and has a fault has failed. Raises: NoSuchPlan."""
        async with self._database.transaction(read_only=True) as tx:
            row, content = await storage.plan(tx, plan_id), await self.memory.content(tx, plan_id)
        if row is None or content is None:
            raise no_such(plan_id)
        faults = list(await self._check(content.problem, content.plan))
        if not faults or row.status not in (Status.OPTIMIZED, Status.VALIDATED):
            return replace(row, faults=faults)
        async with self._database.transaction() as tx:
            await storage.become(tx, plan_id, Status.FAILED, at=at, faults=faults)
            told = PlanFailed(plan_id=plan_id, why=faults, occurred_at=at)
            await events.append(tx, told, stream=STREAM, metadata=metadata)
        return replace(row, status=Status.FAILED, faults=faults)

    async def _planned(self, moment: Moment, asked: Question, terms: Terms) -> tuple[Question, Plan]:
        """The plan, and what it answers: what lingers never takes the place of what is wanted."""
        plan = await self._solve(asked.problem, terms.level, terms.timeout_seconds)
        if not asked.lingers.any() or all(asked.lingers[drop.members].all() for drop in plan.drops):
            return asked, plan
        without = replace(moment.question(terms.level, lingering=False), digest=asked.digest)
        return without, await self._solve(without.problem, terms.level, terms.timeout_seconds)

    async def _keep(self, row: PlanRow, asked: Question, content: Content, *, metadata: Metadata) -> None:
        plan, now = content.plan, row.made_at
        drafted = PlanDrafted(
            plan_id=row.id, level=row.level, demanded=len(asked.problem), live_plan=row.live_plan, user_id=row.user_id,
            occurred_at=now,
        )  # fmt: skip
        optimized = PlanOptimized(
            plan_id=row.id, quality=plan.quality, served=int((plan.at != NOWHERE).sum()),
            dropped=int((plan.at == NOWHERE).sum()), moved=int(plan.moved.sum()),
            forced=int(plan.forced.sum()) + asked.retired, occurred_at=now,
        )  # fmt: skip
        judged = (
            PlanFailed(plan_id=row.id, why=row.faults, occurred_at=now)
            if row.faults
            else PlanValidated(plan_id=row.id, held_because=row.held_because, occurred_at=now)
        )
        async with self._database.transaction() as tx:
            await storage.add_plan(tx, row, packed(content))
            await events.append(tx, drafted, optimized, judged, stream=STREAM, metadata=metadata)
        self.memory.remember(row.id, content)


def _see_accounts(moment: Moment) -> None:
    if not moment.standing.accounts:
        raise NoAccounts("No broker account is described: PUT subscriptions/capacity/{account} first")


def _alike(content: Content, other: Content | None) -> bool:
    """Whether two plans carry the same in the same places under the same names."""
    return (
        other is not None
        and np.array_equal(content.problem.ids, other.problem.ids)
        and np.array_equal(content.at, other.at)
        and np.array_equal(content.second, other.second)
        and np.array_equal(content.problem.mode, other.problem.mode)
        and content.names == other.names
        and content.second_names == other.second_names
        and content.sockets == other.sockets
        and content.plan.uses == other.plan.uses
    )


def content_of(asked: Question, plan: Plan) -> Content:
    """A plan and what sockets are told of it."""
    more = [""] * (len(asked.problem) - len(asked.rows))  # supposed ones have no names
    return Content(
        problem=asked.problem, plan=plan, ulids=[row.ulid for row in asked.rows] + more,
        keys=[row.key or "" for row in asked.rows] + more,
        names=[asked.name(place, at) for place, at in enumerate(plan.at.tolist())],
        second_names=[asked.name(place, at) for place, at in enumerate(plan.second.tolist())],
        lingers=asked.lingers, excluded=asked.excluded,
    )  # fmt: skip


def _held_because(asked: Question, plan: Plan, terms: Terms) -> str | None:
    """Why a plan takes so much away that a person should look at it first; None for others."""
    live = (asked.problem.live != NOWHERE) & ~asked.lingers
    count = int(live.sum()) + asked.retired
    if not count:
        return None
    gone = int((live & (plan.at == NOWHERE)).sum())
    moved = int((plan.moved & live).sum())
    if gone > terms.drops_max * count:
        return f"{gone} of {count} live instruments would be dropped: more than {terms.drops_max:.0%}"
    if moved > terms.moves_max * count:
        return f"{moved} of {count} live instruments would be moved without need: more than {terms.moves_max:.0%}"
    return None
