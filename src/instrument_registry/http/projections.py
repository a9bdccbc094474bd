"""What is derived from the facts: how many were told day by day, and how far each projection is."""

from datetime import date, datetime, timedelta
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.clock import MARKET_ZONE
from instrument_registry.errors import Invalid
from instrument_registry.events.projections import daily, service
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import room
from instrument_registry.wiring import Registry

DAYS_MAX = 366


class DailyCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many facts of a type a source told on a market date; facts without a source have an empty one."""

    day: date
    type: str
    source: str
    facts: int


class DailyCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Counts by day, type and source, the newest day first, of everything up to `position`."""

    counts: list[DailyCount]
    position: int
    head_position: int


class DailyQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which market dates, both counted; without them the last seven."""

    first: date | None = None
    last: date | None = None


class ProjectionState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a generation of a projection is; one that is not active is being built."""

    name: str
    generation: int
    position: int
    behind: Annotated[int, msgspec.Meta(ge=0)]
    active: bool
    moved_at: datetime


class ProjectionStates(msgspec.Struct, frozen=True, kw_only=True):
    """Every projection kept in tables."""

    projections: list[ProjectionState]
    head_position: int


router = room(tag="events")


@router.get("/events/daily", **describe(query=DailyQuery, answer=DailyCounts, means="The counts"))
async def daily_counts(request: Request) -> Response:
    """How many facts were told on each market date, by type and source: what a morning looked like."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, DailyQuery)
    last = asked.last or registry.clock().astimezone(MARKET_ZONE).date()
    first = asked.first or last - min(timedelta(days=6), last - date.min)
    if not first <= last or (last - first).days >= DAYS_MAX:
        raise Invalid(
            f"first {first} and last {last} must enclose 1 to {DAYS_MAX} days", first=str(first), last=str(last)
        )
    async with registry.database.transaction(read_only=True, isolation="repeatable read") as tx:
        counted = await daily.listed(tx, first=first, last=last)
        position = await service.position(tx, daily.DAILY_FACTS.name) or 0
        head = await events.head_position(tx)
    counts = [msgspec.convert(one, DailyCount, from_attributes=True) for one in counted]
    return json_response(DailyCounts(counts=counts, position=position, head_position=head))


@router.get("/events/projections", **describe(answer=ProjectionStates, means="The projections"))
async def list_projections(request: Request) -> Response:
    """How far what is derived from the facts is behind them."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True, isolation="repeatable read") as tx:
        known = await service.states(tx)
        head = await events.head_position(tx)
    shown = [
        ProjectionState(
            name=one.name, generation=one.generation, position=one.position, behind=max(0, head - one.position),
            active=one.active, moved_at=one.moved_at,
        )
        for one in known
    ]  # fmt: skip
    return json_response(ProjectionStates(projections=shown, head_position=head))
