"""Schedules: when a broker's dump is fetched by itself."""

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.catalog.ingestion import publishers, schedule
from instrument_registry.catalog.ingestion.publishers import NoSuchBroker
from instrument_registry.catalog.ingestion.schedule import NoSchedule, ScheduleState
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.paths import named
from instrument_registry.http.routes import needs, room
from instrument_registry.wiring import Registry


class ScheduleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to fetch: five cron fields in the market's time zone, on sessions of a venue (null: on every day)."""

    cron: Annotated[
        str,
        msgspec.Meta(min_length=9, max_length=schedule.CRON_CHARACTERS, description="minute hour day month weekday"),
    ]
    venue: str | msgspec.UnsetType | None = msgspec.UNSET  # left out: the one this broker's dump follows
    grace_minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)] = (
        schedule.GRACE_MINUTES
    )  # until a morning counts as missed
    paused: bool = False


router = room(tag="brokers")


@router.get(
    "/brokers/{broker}/schedule",
    **describe(answer=ScheduleState, means="The schedule", problems=(NoSuchBroker, NoSchedule)),
)
async def broker_schedule(request: Request) -> Response:
    """When a broker's dump is fetched by itself, and how the last time went."""
    registry: Registry = request.app.state.registry
    broker = publishers.known(named(request.scope, "broker"))
    async with registry.database.transaction(read_only=True) as tx:
        found = await schedule.state(tx, await schedule.find(tx, broker.id), now=registry.clock())
    return json_response(found)


@router.put(
    "/brokers/{broker}/schedule",
    **describe(body=ScheduleBody, answer=ScheduleState, means="The schedule as it is now", problems=(NoSuchBroker,)),
)
@needs(Scope.OPERATOR)
async def set_schedule(request: Request) -> Response:
    """Set when a broker's dump is fetched by itself, in place of what was set before."""
    registry: Registry = request.app.state.registry
    broker = publishers.known(named(request.scope, "broker"))
    asked, at = await read_json(request, ScheduleBody), registry.clock()
    venue = schedule.usual_venue(broker.id) if asked.venue is msgspec.UNSET else asked.venue
    async with registry.database.transaction() as tx:
        saved = await schedule.save(
            tx, broker.id, asked.cron, venue=venue, grace_minutes=asked.grace_minutes, paused=asked.paused,
            metadata=metadata_of(request.scope), at=at,
        )  # fmt: skip
        found = await schedule.state(tx, saved, now=at)
    await events.wake(registry.database)
    return json_response(found)


@router.delete(
    "/brokers/{broker}/schedule",
    **describe(status=204, means="It is fetched by itself no longer", problems=(NoSuchBroker, NoSchedule)),
)
@needs(Scope.OPERATOR)
async def remove_schedule(request: Request) -> Response:
    """Let a broker's dump be fetched by itself no longer."""
    registry: Registry = request.app.state.registry
    broker = publishers.known(named(request.scope, "broker"))
    async with registry.database.transaction() as tx:
        await schedule.remove(tx, broker.id, metadata=metadata_of(request.scope), at=registry.clock())
    await events.wake(registry.database)
    return Response(status_code=204)
