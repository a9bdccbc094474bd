"""Read-only mode, and the way back to how it was started."""

from datetime import datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.catalog.ingestion import jobs
from instrument_registry.configuration import service
from instrument_registry.configuration.model import NeedsRestart, OtherVersion, Pinned, Source
from instrument_registry.configuration.parameters import MAINTENANCE
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.preconditions import MATCHED, expected_version
from instrument_registry.http.routes import needs, room
from instrument_registry.operations import maintenance, orders, reset
from instrument_registry.operations.caches import Cache
from instrument_registry.operations.reset import NotConfirmed
from instrument_registry.wiring import Registry

LISTED = 100


class MaintenanceShown(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the registry is read-only, whose change that was, and jobs that had begun and are still under way."""

    enabled: bool
    source: Source
    by: str | None
    reason: str | None
    since: datetime | None
    jobs_running: int
    version: int


class MaintenanceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether it is to be read-only, and why: whoever is refused is told."""

    enabled: bool
    reason: Reason


class ResetShown(msgspec.Struct, frozen=True, kw_only=True):
    """What is set live and would be taken back, and what to send as `confirm`."""

    confirm: str
    version: int
    live: dict[str, str]
    orders: list[str]


class ResetBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the GET of this path said, and why."""

    confirm: Annotated[str, msgspec.Meta(max_length=200)]
    reason: Reason


class ResetDone(msgspec.Struct, frozen=True, kw_only=True):
    """The version that was made, none when nothing was set live; going back to `before` undoes it."""

    version: int | None
    before: int
    taken_back: list[str]
    orders: list[str]
    breakers: list[str]


router = room(tag="actuators")


@router.get("/actuator/maintenance", **describe(answer=MaintenanceShown, means="Whether it is read-only"))
@needs(Scope.OPERATOR)
async def show_maintenance(request: Request) -> Response:
    """Whether the registry is read-only, since when, by whom and why."""
    return await _answer(request.app.state.registry)


@router.post(
    "/actuator/maintenance",
    **describe(
        body=MaintenanceBody, headers=MATCHED, answer=MaintenanceShown, means="As it is now",
        problems=(Pinned, OtherVersion, NeedsRestart),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def set_maintenance(request: Request) -> Response:
    """Make the registry read-only, or end that; what is so already is no new version."""
    registry: Registry = request.app.state.registry
    asked, expected = await read_json(request, MaintenanceBody), expected_version(request)
    metadata, at, sources = metadata_of(request.scope), registry.clock(), registry.configuration.sources
    async with registry.database.transaction() as tx:
        await service.expect(tx, expected)
        if (await service.read(tx, sources))[MAINTENANCE] != asked.enabled:
            changes = {MAINTENANCE.name: MAINTENANCE.text(asked.enabled)}
            await service.change(tx, changes, sources, reason=asked.reason, metadata=metadata, at=at)
    await events.wake(registry.database)
    await registry.configuration.refresh()
    return await _answer(registry)


@router.get("/actuator/emergency/reset", **describe(answer=ResetShown, means="What would be reset"))
@needs(Scope.OPERATOR)
async def show_reset(request: Request) -> Response:
    """What a reset would take back, and the phrase that confirms it."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        version, live = await reset.would_change(tx)
    return json_response(
        ResetShown(confirm=reset.phrase(version), version=version, live=live, orders=_orders(request)),
        headers={"cache-control": "no-store"},
    )


@router.post(
    "/actuator/emergency/reset",
    **describe(body=ResetBody, answer=ResetDone, means="It is reset", problems=(NotConfirmed,)),
)
@needs(Scope.OPERATOR)
async def reset_everything(request: Request) -> Response:
    """Take back everything that is set live, end maintenance, evict caches, close breakers; one version, to revert."""
    registry: Registry = request.app.state.registry
    asked, ordered = await read_json(request, ResetBody), _orders(request)
    metadata, at = metadata_of(request.scope), registry.clock()
    resting = sorted(name for name, one in registry.breakers.all().items() if not one.closed)
    async with registry.database.transaction() as tx:
        made = await reset.reset(
            tx, asked.confirm, ordered=ordered, breakers=resting, reason=asked.reason, metadata=metadata, at=at
        )
    for name in resting:
        registry.breakers.all()[name].reset()
    await events.wake(registry.database)
    there = await registry.configuration.refresh()
    return json_response(
        ResetDone(
            version=made.version if made else None, before=made.version - 1 if made else there.version,
            taken_back=list(made.changes) if made else [], orders=ordered,
            breakers=resting,
        )
    )  # fmt: skip


def _orders(request: Request) -> list[str]:
    caches: dict[str, Cache] = request.app.state.caches
    return sorted(orders.EVICT + name for name in caches)


async def _answer(registry: Registry) -> Response:
    async with registry.database.transaction(read_only=True) as tx:
        there = await maintenance.state(tx, registry.configuration.now)
        running = await jobs.listed(tx, status=jobs.JobStatus.RUNNING, limit=LISTED)
    return json_response(
        MaintenanceShown(
            enabled=there.on, source=there.source, by=there.by, reason=there.reason, since=there.since,
            jobs_running=len(running), version=there.version,
        ),
        headers={"cache-control": "no-store"},
    )  # fmt: skip
