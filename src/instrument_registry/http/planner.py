"""What the planner would do, why it does what it does, and what an outsider needs to prove it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import Scope
from instrument_registry.catalog.aside import aside
from instrument_registry.configuration.toggles import SUBSCRIPTION_PLANNING
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_response
from instrument_registry.http.features import use
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.paths import named
from instrument_registry.http.routes import needs, room
from instrument_registry.http.wanted_instruments import instruments_named
from instrument_registry.subscriptions.demand import service as demand
from instrument_registry.subscriptions.demand.wants import tier_of
from instrument_registry.subscriptions.planner import (
    UnknownAccount,
    certificate,
    instance,
    with_connections,
    with_limit,
    with_more,
    without_account,
    without_connection,
)
from instrument_registry.subscriptions.planner.model import Level, Mode, Problem
from instrument_registry.subscriptions.plans import supposing, telling, terms
from instrument_registry.subscriptions.plans.content import Content
from instrument_registry.subscriptions.plans.model import NoAccounts, NoSuchPlan, no_such
from instrument_registry.subscriptions.solver import PlannerTimedOut
from instrument_registry.wiring import Registry

AT = "/subscriptions"
MODES = {mode.name.lower(): mode for mode in Mode}
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class More(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many more instruments, the last of their tier, of the kind that most accounts can carry."""

    count: Count
    mode: Annotated[str, msgspec.Meta(pattern="^(ltp|quote|full)$")] = "quote"
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] = 50


class WhatIfBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What would be otherwise, all of it at once; nothing named: what would be planned now."""

    lose_accounts: Annotated[list[Name], msgspec.Meta(max_length=100)] = []
    lose_connections: Annotated[list[Name], msgspec.Meta(max_length=1000)] = []
    limits: dict[Name, Count] = {}  # what every connection of an account would carry
    connections: dict[Name, Annotated[int, msgspec.Meta(ge=1, le=100)]] = {}  # how many more an account would have
    add: Annotated[list[More], msgspec.Meta(max_length=20)] = []
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    level: Level | None = None


class WhatIfAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What would be planned, and what would become of what is live; nothing was changed.

    `digest` is that of the assignments: a plan that is really made so has the same.
    """

    live_plan: str | None
    digest: str
    summary: dict[str, Any]
    steps: dict[str, dict[str, int]]
    dropped: list[dict[str, Any]]
    dropped_count: int


class ExplainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants an instrument, and what the live plan does for it, and why."""

    instrument_id: str
    key: str
    wanted_by: int  # references; the first of them are listed
    users: int
    mode: str | None
    tier: int | None
    references: list[dict[str, Any]]
    live_plan: str | None
    state: str
    reason: dict[str, Any] | None
    assignments: list[dict[str, Any]]


router = room(tag="subscriptions")


@router.post(
    f"{AT}/what-if",
    **describe(
        body=WhatIfBody, answer=WhatIfAnswer, means="What would be planned",
        problems=(NoAccounts, UnknownAccount, PlannerTimedOut),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
@costs(RouteClass.WRITE)
async def what_if(request: Request) -> Response:
    """Plan as if: an account or connection lost, a limit another, more wanted, a later time. Nothing is changed."""
    registry: Registry = request.app.state.registry
    use(request.scope, SUBSCRIPTION_PLANNING)
    asked = await read_json(request, WhatIfBody)
    chosen = terms.of(registry.configuration.now, level=asked.level)
    found = await registry.planning.suppose(
        chosen, lambda problem: _changed(problem, asked), at=asked.at or registry.clock()
    )
    told = supposing.told(found)
    return json_response(
        WhatIfAnswer(
            live_plan=found.live, digest=found.content.digest, summary=told.summary, steps=told.steps,
            dropped=told.dropped, dropped_count=told.dropped_count,
        )
    )  # fmt: skip


@router.get(
    f"{AT}/explain/{{instrument}}",
    **describe(answer=ExplainAnswer, means="Who wants it, where it is, and why"),
)
async def explain(request: Request) -> Response:
    """Everything about one instrument: who wants it, where the live plan carries it or why it does not."""
    registry: Registry = request.app.state.registry
    text = named(request.scope, "instrument")
    async with registry.database.transaction(read_only=True) as tx:
        (one,) = await instruments_named(tx, registry, [text], field="path.instrument")
        wants = await demand.wanted(tx, one.id, at=registry.clock())
        live, content = await registry.planning.memory.live(tx)
    state, reason = telling.state_of(content, one.id, wanted=wants.references > 0)
    place = None if content is None else content.places.get(one.id)
    answer = ExplainAnswer(
        instrument_id=one.ulid, key=one.key, wanted_by=wants.references, users=wants.users,
        mode=None if wants.mode is None else wants.mode.name.lower(), tier=wants.tier,
        references=[
            {
                "source": each.source.value, "owner": each.owner, "rule": each.rule, "user_id": each.user_id,
                "mode": each.want.mode.name.lower(), "priority": each.want.priority,
            }
            for each in wants.by
        ],
        live_plan=live.plan_id, state=state, reason=reason,
        assignments=[] if content is None or place is None else telling.assignments(content, [place]),
    )  # fmt: skip
    return json_response(answer)


@router.get(
    f"{AT}/plans/{{plan}}/instance",
    **describe(answer=dict[str, Any], means="All that the planner was told", problems=(NoSuchPlan,)),
)
async def plan_instance(request: Request) -> Response:
    """The problem a plan answers, so that anybody can solve it anew."""
    content = await _content(request)
    return json_response(await aside(lambda: instance(content.problem, level=content.plan.level)))


@router.get(
    f"{AT}/plans/{{plan}}/certificate",
    **describe(answer=dict[str, Any], means="What proves the plan", problems=(NoSuchPlan,)),
)
async def plan_certificate(request: Request) -> Response:
    """Who goes where, bounds with the prices that prove them, drops and moves; all can be worked out anew."""
    content = await _content(request)
    return json_response(await aside(lambda: certificate(content.problem, content.plan)))


async def _content(request: Request) -> Content:
    registry: Registry = request.app.state.registry
    plan = named(request.scope, "plan")
    async with registry.database.transaction(read_only=True) as tx:
        content = await registry.planning.memory.content(tx, plan)
    if content is None:
        raise no_such(plan)
    return content


def _changed(problem: Problem, asked: WhatIfBody) -> Problem:
    for account, total in asked.limits.items():
        problem = with_limit(problem, account, total)
    for account, more in asked.connections.items():
        problem = with_connections(problem, account, more)
    for account in asked.lose_accounts:
        problem = without_account(problem, account)
    for connection in asked.lose_connections:
        problem = without_connection(problem, connection)
    return _with_all(problem, asked.add)


def _with_all(problem: Problem, more: Sequence[More]) -> Problem:
    for one in more:
        problem = with_more(problem, one.count, mode=MODES[one.mode], tier=tier_of(one.priority))
    return problem
