"""Subscription plans: made, looked at, compared, applied and put back."""

import os
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import Scope
from instrument_registry.configuration.parameters import (
    FILTERING_STRICTNESS,
    MAX_INSTRUMENTS_PER_PLAN,
    PLAN_CACHE_TTL,
    PLANNER_AUTO_APPLY,
    PLANNER_HOLD_DROPS_PERCENT,
    PLANNER_HOLD_MOVES_PERCENT,
    PLANNER_OPTIMIZATION_LEVEL,
    PLANNER_TIMEOUT,
    SUBSCRIPTION_LINGER,
)
from instrument_registry.configuration.toggles import SUBSCRIPTION_PLANNING
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.correlation import correlation_of
from instrument_registry.http.encoding import json_response, response_time_ms
from instrument_registry.http.features import use
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import API_VERSION, describe
from instrument_registry.http.paths import named
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.subscriptions.demand import service as demand
from instrument_registry.subscriptions.planner.model import Level
from instrument_registry.subscriptions.plans import applying, storage, telling, terms
from instrument_registry.subscriptions.plans.model import (
    NoAccounts,
    NoSuchPlan,
    NothingBefore,
    OtherPlanLive,
    PlanNotValid,
    PlanRow,
    Status,
    no_such,
)
from instrument_registry.subscriptions.plans.planning import Made
from instrument_registry.subscriptions.solver import PlannerTimedOut
from instrument_registry.wiring import Registry

AT = "/subscriptions"
USERS_WANTS_MAX = 100_000
User = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
PlanId = Annotated[str, msgspec.Meta(max_length=40)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class PlanQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose view of the plan is wanted; without it everybody's."""

    user_id: User | None = None


class PlanBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to plan all demand; what is left out is as the parameters say."""

    level: Level | None = None
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] | None = None
    fresh: bool = False  # make one even if the question has been answered already


class PlanShown(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as it is listed; `summary` holds what was counted and measured."""

    plan_id: str
    status: Status
    level: str
    quality: str | None
    live_plan: str | None
    based_on: str | None
    user_id: str | None
    summary: dict[str, Any]
    faults: list[str]
    held_because: str | None
    actor: str
    correlation_id: str
    made_at: datetime
    expires_at: datetime
    applied_at: datetime | None
    superseded_at: datetime | None


class PlanAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, whether it was remembered, and what it does: for one user, or in all."""

    plan_id: str
    status: Literal["created", "cached"]
    cache_hit: bool
    plan: PlanShown
    plan_data: dict[str, Any]
    duration_ms: float
    correlation_id: str | None
    response_time_ms: float
    config_driven: bool
    api_version: str


class PlansQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which plans to list, the newest first."""

    user_id: User | None = None
    status: Status | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    offset: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0


class PlanPage(msgspec.Struct, frozen=True, kw_only=True):
    """Plans, and how many there are in all."""

    plans: list[PlanShown]
    total: int
    limit: int
    offset: int


class DescribeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At what length."""

    detail: Literal["basic", "detailed", "comprehensive"] = "detailed"


class PlanDescribed(msgspec.Struct, frozen=True, kw_only=True):
    """A plan in numbers that were counted or measured."""

    plan_id: str
    status: Status
    detail: str
    description: dict[str, Any]


class ApplyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is live as far as you know (null: nothing), and why."""

    expected_live: PlanId | None
    reason: Reason


class RollbackBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why; and what is live as far as you know, if it matters."""

    reason: Reason
    expected_live: PlanId | None = None


class AppliedShown(msgspec.Struct, frozen=True, kw_only=True):
    """What is live now, and what tickers have to do: steps by account, up to positions."""

    plan_id: str
    previous: str | None
    steps: dict[str, int]
    positions: dict[str, int]
    added: int
    removed: int
    changed: int


class PlanDifference(msgspec.Struct, frozen=True, kw_only=True):
    """What leads from one plan to another: counts by account, and every step's instruments."""

    before: str
    after: str
    accounts: dict[str, dict[str, int]]
    steps: list[dict[str, Any]]


class PlannerConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What the planner obeys now; which plan is live, and why nothing is applied by itself, if so."""

    planning_enabled: bool
    optimization_level: str
    timeout_seconds: float
    max_instruments_per_plan: int
    filtering_strictness: str
    plan_cache_ttl_seconds: float
    auto_apply: bool
    hold_drops_percent: float
    hold_moves_percent: float
    linger_seconds: float
    live_plan: str | None
    previous_plan: str | None
    held_because: str | None
    plans: dict[str, int]


class CleanupAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Which plans waited too long, and which are forgotten."""

    expired: list[str]
    forgotten: list[str]


router = room(tag="subscriptions")


@router.post(
    f"{AT}/plan",
    **describe(
        query=PlanQuery, body=PlanBody, answer=PlanAnswer, means="The plan; it is applied apart",
        problems=(NoAccounts, PlannerTimedOut),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
@costs(RouteClass.WRITE)
async def make_plan(request: Request) -> Response:
    """Plan everybody's demand on all accounts; nothing live changes. With a user, show what it does for them."""
    registry: Registry = request.app.state.registry
    use(request.scope, SUBSCRIPTION_PLANNING)
    asked, body = read_query(request.scope, PlanQuery), await read_json(request, PlanBody)
    chosen = terms.of(registry.configuration.now, level=body.level, timeout_seconds=body.timeout_seconds)
    made = await registry.planning.make(
        chosen, metadata=metadata_of(request.scope), user_id=asked.user_id, fresh=body.fresh
    )
    await events.wake(registry.database)
    return json_response(await _answer(request, made, asked.user_id))


@router.get(f"{AT}/plans", **describe(query=PlansQuery, answer=PlanPage, means="Plans"))
async def list_plans(request: Request) -> Response:
    """Plans that are kept, the newest first."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, PlansQuery)
    async with registry.database.transaction(read_only=True) as tx:
        found, total = await storage.plans(
            tx, user_id=asked.user_id, status=asked.status, limit=asked.limit, offset=asked.offset
        )
    page = PlanPage(plans=[shown(one) for one in found], total=total, limit=asked.limit, offset=asked.offset)
    return json_response(page)


@router.get(f"{AT}/plans/{{plan}}", **describe(answer=PlanShown, means="The plan", problems=(NoSuchPlan,)))
async def one_plan(request: Request) -> Response:
    """One plan in numbers."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        found = await storage.plan(tx, named(request.scope, "plan"))
    if found is None:
        raise no_such(named(request.scope, "plan"))
    return json_response(shown(found))


@router.post(
    f"{AT}/plan/{{plan}}/describe",
    **describe(body=DescribeBody, answer=PlanDescribed, means="The plan, described", problems=(NoSuchPlan,)),
)
@costs(RouteClass.READ)
async def describe_plan(request: Request) -> Response:
    """A plan at one of three lengths."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, DescribeBody)
    async with registry.database.transaction(read_only=True) as tx:
        found = await storage.plan(tx, named(request.scope, "plan"))
        content = None if found is None else await registry.planning.memory.content(tx, found.id)
    if found is None or content is None:
        raise no_such(named(request.scope, "plan"))
    told = telling.described(found, content, asked.detail)
    return json_response(PlanDescribed(plan_id=found.id, status=found.status, detail=asked.detail, description=told))


@router.post(
    f"{AT}/plans/{{plan}}/validate",
    **describe(answer=PlanShown, means="The plan and what is wrong with it, if anything", problems=(NoSuchPlan,)),
)
@needs(Scope.OPERATOR)
async def validate_plan(request: Request) -> Response:
    """Have other code than the planner's look at a plan once more; what it finds is kept with it."""
    registry: Registry = request.app.state.registry
    found = await registry.planning.validate(
        named(request.scope, "plan"), metadata=metadata_of(request.scope), at=registry.clock()
    )
    await events.wake(registry.database)
    return json_response(shown(found))


@router.post(
    f"{AT}/plans/{{plan}}/apply",
    **describe(
        body=ApplyBody, answer=AppliedShown, means="It is live", problems=(NoSuchPlan, PlanNotValid, OtherPlanLive)
    ),
)
@needs(Scope.OPERATOR)
async def apply_plan(request: Request) -> Response:
    """Make a plan live, if what is live is what you expect; tickers are told every step in the same moment."""
    registry: Registry = request.app.state.registry
    use(request.scope, SUBSCRIPTION_PLANNING)
    asked, metadata = await read_json(request, ApplyBody), metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        applied = await applying.apply(
            tx, registry.planning.memory, named(request.scope, "plan"), expected_live=asked.expected_live,
            metadata=metadata, at=registry.clock(), reason=asked.reason,
        )  # fmt: skip
    await events.wake(registry.database)
    return json_response(_applied(applied))


@router.post(
    f"{AT}/plans/rollback",
    **describe(
        body=RollbackBody, answer=AppliedShown, means="The plan before is live again",
        problems=(NothingBefore, OtherPlanLive),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def roll_back(request: Request) -> Response:
    """Put the plan before the live one back; until an operator applies one, nothing is applied by itself."""
    return await _rolled_back(request)


@router.post(
    f"{AT}/plans/{{plan}}/rollback",
    **describe(
        body=RollbackBody, answer=AppliedShown, means="The plan before is live again",
        problems=(NothingBefore, OtherPlanLive),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def roll_back_plan(request: Request) -> Response:
    """Take a live plan back: the one before it is live again, as far as it still can be."""
    return await _rolled_back(request, plan=named(request.scope, "plan"))


@router.get(
    f"{AT}/plans/{{plan}}/diff/{{other}}",
    **describe(answer=PlanDifference, means="What leads from one to the other", problems=(NoSuchPlan,)),
)
async def diff_plans(request: Request) -> Response:
    """Every step from one plan to another."""
    registry: Registry = request.app.state.registry
    names = named(request.scope, "plan"), named(request.scope, "other")
    async with registry.database.transaction(read_only=True) as tx:
        contents = [await registry.planning.memory.content(tx, one) for one in names]
    before, after = contents
    if before is None or after is None:
        raise no_such(names[0] if before is None else names[1])
    told = telling.difference(before, after)
    return json_response(
        PlanDifference(before=names[0], after=names[1], accounts=told["accounts"], steps=told["steps"])
    )


@router.get(f"{AT}/planner/config", **describe(answer=PlannerConfiguration, means="What the planner obeys"))
async def planner_configuration(request: Request) -> Response:
    """The parameters in force, and which plan is live."""
    registry: Registry = request.app.state.registry
    now = registry.configuration.now
    async with registry.database.transaction(read_only=True) as tx:
        live, counts = await storage.live(tx), await storage.counts(tx)
    answer = PlannerConfiguration(
        planning_enabled=now[SUBSCRIPTION_PLANNING.enabled], optimization_level=now[PLANNER_OPTIMIZATION_LEVEL],
        timeout_seconds=now[PLANNER_TIMEOUT], max_instruments_per_plan=now[MAX_INSTRUMENTS_PER_PLAN],
        filtering_strictness=now[FILTERING_STRICTNESS], plan_cache_ttl_seconds=now[PLAN_CACHE_TTL],
        auto_apply=now[PLANNER_AUTO_APPLY], hold_drops_percent=now[PLANNER_HOLD_DROPS_PERCENT],
        hold_moves_percent=now[PLANNER_HOLD_MOVES_PERCENT], linger_seconds=now[SUBSCRIPTION_LINGER],
        live_plan=live.plan_id, previous_plan=live.previous_id, held_because=live.held_because, plans=counts,
    )  # fmt: skip
    return json_response(answer)


@router.post(f"{AT}/planner/cleanup", **describe(answer=CleanupAnswer, means="What is gone"))
@needs(Scope.OPERATOR)
async def clean_up_plans(request: Request) -> Response:
    """Let plans that waited too long expire, and forget old ones; the live one and the one before it stay."""
    registry: Registry = request.app.state.registry
    metadata = metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        expired, forgotten = await applying.clean_up(tx, metadata=metadata, at=registry.clock())
    await events.wake(registry.database)
    return json_response(CleanupAnswer(expired=expired, forgotten=forgotten))


async def _rolled_back(request: Request, *, plan: str | None = None) -> Response:
    registry: Registry = request.app.state.registry
    use(request.scope, SUBSCRIPTION_PLANNING)
    asked, metadata = await read_json(request, RollbackBody), metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        applied = await applying.roll_back(
            tx, registry.planning.memory, expected_live=plan or asked.expected_live, metadata=metadata,
            at=registry.clock(), reason=asked.reason, chance=os.urandom(10),
        )  # fmt: skip
    await events.wake(registry.database)
    return json_response(_applied(applied))


async def _answer(request: Request, made: Made, user: str | None) -> PlanAnswer:
    registry: Registry = request.app.state.registry
    data: dict[str, Any] = dict(made.plan.summary)
    if user is not None:
        async with registry.database.transaction(read_only=True) as tx:
            wants = await demand.listed(tx, limit=USERS_WANTS_MAX, user_id=user)
        numbers = sorted({one.want.instrument_id for one in wants})
        data = telling.view_of(made.content, numbers)
    summary = made.plan.summary
    spent = sum(float(str(summary.get(name, 0))) for name in ("read_ms", "solve_ms", "check_ms"))
    return PlanAnswer(
        plan_id=made.plan.id, status="cached" if made.cache_hit else "created", cache_hit=made.cache_hit,
        plan=shown(made.plan), plan_data=data, duration_ms=0.0 if made.cache_hit else round(spent, 2),
        correlation_id=correlation_of(request.scope), response_time_ms=response_time_ms(request.scope),
        config_driven=True, api_version=API_VERSION,
    )  # fmt: skip


def shown(plan: PlanRow) -> PlanShown:
    """A plan as it is listed."""
    return PlanShown(
        plan_id=plan.id, status=plan.status, level=plan.level, quality=plan.quality, live_plan=plan.live_plan,
        based_on=plan.based_on, user_id=plan.user_id, summary=dict(plan.summary),
        faults=plan.faults, held_because=plan.held_because, actor=plan.actor, correlation_id=plan.correlation_id,
        made_at=plan.made_at, expires_at=plan.expires_at, applied_at=plan.applied_at,
        superseded_at=plan.superseded_at,
    )  # fmt: skip


def _applied(applied: applying.Applied) -> AppliedShown:
    return AppliedShown(
        plan_id=applied.plan.id, previous=applied.previous, steps=dict(applied.steps),
        positions=dict(applied.positions), added=applied.added, removed=applied.removed, changed=applied.changed,
    )  # fmt: skip
