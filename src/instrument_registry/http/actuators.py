"""What a worker is and holds: its versions and whereabouts, its caches, from which level on its parts log."""

from datetime import datetime, timedelta
from typing import Annotated

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.catalog.live import NotSearchable
from instrument_registry.configuration import service
from instrument_registry.configuration.model import OtherVersion, Pinned
from instrument_registry.configuration.parameters import LOG_LEVELS
from instrument_registry.database import DatabaseUnavailable, migrations
from instrument_registry.errors import Invalid
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paths import named
from instrument_registry.http.problems import nearest
from instrument_registry.http.routes import needs, room
from instrument_registry.operations import about, caches, orders
from instrument_registry.operations.caches import Cache, UnknownCache
from instrument_registry.operations.events import STREAM, CachesEvicted
from instrument_registry.telemetry import levels
from instrument_registry.wiring import Registry

WITHIN_SECONDS = 2.0


class UnknownLogger(Invalid):
    """Choose the name it says is nearest, or list them."""

    title = "There is no such logger"


class CatalogueInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The index of today as this worker has it."""

    position: int
    as_of: str
    instruments: int
    age_seconds: float


class ActuatorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What runs here: `migration` is null while the database does not answer, `catalogue` until it has been read."""

    version: str
    commit: str | None
    python: str
    dependencies: dict[str, str]
    pid: int
    started_at: datetime
    uptime_seconds: float
    workers: int
    data_dir: str
    configuration_version: int
    migration: str | None
    migrations_pending: list[str] | None
    catalogue: CatalogueInfo | None


class CacheShown(msgspec.Struct, frozen=True, kw_only=True):
    """One cache of this worker since it started; bytes where they are counted."""

    name: str
    holds: str
    entries: int
    bytes: int | None
    hits: int
    misses: int


class CacheList(msgspec.Struct, frozen=True, kw_only=True):
    """The caches of the worker that answered: every worker has its own."""

    pid: int
    caches: list[CacheShown]


class ReasonBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why."""

    reason: Reason


class CachesForgotten(msgspec.Struct, frozen=True, kw_only=True):
    """What this worker has forgotten already, and all others within some seconds."""

    evicted: list[str]
    entries: int
    all_workers_within_seconds: float


class LoggerShown(msgspec.Struct, frozen=True, kw_only=True):
    """From which level on a part of the program logs, and whether somebody has set it for that part."""

    name: str
    level: str
    set: bool


class LoggerList(msgspec.Struct, frozen=True, kw_only=True):
    """Every part; `*` is what is no part of its own."""

    loggers: list[LoggerShown]
    version: int


class LoggerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From which level on, and why; null brings the usual one back."""

    level: Annotated[str, msgspec.Meta(min_length=1, max_length=20)] | None
    reason: Reason


router = room(tag="actuators")
log = structlog.get_logger("operations")


@router.get("/actuator/info", **describe(answer=ActuatorInfo, means="What runs here"))
@needs(Scope.OPERATOR)
async def show_info(request: Request) -> Response:
    """Versions, whereabouts and state of the worker that answers."""
    registry: Registry = request.app.state.registry
    migration, pending = await _migration(registry)
    uptime = about.uptime_seconds()
    return json_response(
        ActuatorInfo(
            version=about.version(), commit=about.commit(), python=about.python(), dependencies=about.dependencies(),
            pid=about.pid(), started_at=registry.clock() - timedelta(seconds=uptime), uptime_seconds=round(uptime, 1),
            workers=registry.settings.workers, data_dir=str(registry.settings.data_dir),
            configuration_version=registry.configuration.now.version, migration=migration,
            migrations_pending=pending, catalogue=_catalogue(registry),
        ),
        headers={"cache-control": "no-store"},
    )  # fmt: skip


@router.get("/actuator/caches", **describe(answer=CacheList, means="The caches"))
@needs(Scope.OPERATOR)
async def list_caches(request: Request) -> Response:
    """What this worker remembers, and how often that helped."""
    own: dict[str, Cache] = request.app.state.caches
    return json_response(CacheList(pid=about.pid(), caches=[_cache(one) for one in own.values()]))


@router.post("/actuator/caches/evict", **describe(body=ReasonBody, answer=CachesForgotten, means="They are evicted"))
@needs(Scope.OPERATOR)
async def evict_caches(request: Request) -> Response:
    """Let every worker forget all its caches."""
    return await _evict(request, None)


@router.post(
    "/actuator/caches/{name}/evict",
    **describe(body=ReasonBody, answer=CachesForgotten, means="It is evicted", problems=(UnknownCache,)),
)
@needs(Scope.OPERATOR)
async def evict_cache(request: Request) -> Response:
    """Let every worker forget one of its caches."""
    return await _evict(request, named(request.scope, "name"))


@router.get("/actuator/loggers", **describe(answer=LoggerList, means="The loggers"))
@needs(Scope.OPERATOR)
async def list_loggers(request: Request) -> Response:
    """From which level on each part of the program logs."""
    return json_response(_loggers(request.app.state.registry))


@router.post(
    "/actuator/loggers/{name}",
    **describe(
        body=LoggerBody, answer=LoggerList, means="The loggers as they are now",
        problems=(UnknownLogger, Pinned, OtherVersion),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def set_logger(request: Request) -> Response:
    """Let a part log from another level on, in every process; it is the parameter LOG_LEVELS, with its history."""
    registry: Registry = request.app.state.registry
    name, asked = named(request.scope, "name").lower(), await read_json(request, LoggerBody)
    _check(name, asked.level)
    metadata, at, sources = metadata_of(request.scope), registry.clock(), registry.configuration.sources
    async with registry.database.transaction() as tx:
        await service.expect(tx, None)  # two who set different loggers must not take each other's back
        before = (await service.read(tx, sources))[LOG_LEVELS]
        wanted = {one: level for one, level in levels.read_levels(before).items() if one != name}
        if asked.level is not None:
            wanted[name] = asked.level.lower()
        after = levels.written_levels(wanted)
        if after != before:
            changes = {LOG_LEVELS.name: after or None}
            await service.change(tx, changes, sources, reason=asked.reason, metadata=metadata, at=at)
    await events.wake(registry.database)
    await registry.configuration.refresh()
    return json_response(_loggers(registry))


async def _migration(registry: Registry) -> tuple[str | None, list[str] | None]:
    try:
        async with registry.database.transaction(read_only=True) as tx:
            row = await (await tx.execute("select max(version_num) from alembic_version")).fetchone()
    except DatabaseUnavailable as error:
        log.warning("info.database_away", reason=str(error))
        return None, None
    head = row[0] if row else None
    return head, [revision.number for revision in migrations.pending(head)]


def _catalogue(registry: Registry) -> CatalogueInfo | None:
    try:
        view = registry.catalogue.index.view
    except NotSearchable:
        return None
    return CatalogueInfo(
        position=view.position, as_of=view.as_of.isoformat(), instruments=int(view.present.sum()),
        age_seconds=registry.catalogue.age_seconds,
    )  # fmt: skip


def _cache(cache: Cache) -> CacheShown:
    held = cache.held()
    return CacheShown(
        name=cache.name, holds=cache.holds, entries=held.entries, bytes=held.bytes, hits=held.hits, misses=held.misses
    )


async def _evict(request: Request, name: str | None) -> Response:
    registry: Registry = request.app.state.registry
    own: dict[str, Cache] = request.app.state.caches
    wanted, asked = caches.chosen(own, name), await read_json(request, ReasonBody)
    metadata, at = metadata_of(request.scope), registry.clock()
    entries = sum(own[one].held().entries for one in wanted)
    async with registry.database.transaction() as tx:
        await orders.give(tx, [orders.EVICT + one for one in wanted], actor=metadata.actor, at=at)
        told = CachesEvicted(caches=wanted, reason=asked.reason, occurred_at=at)
        await events.append(tx, told, stream=STREAM, metadata=metadata)
    await events.wake(registry.database)
    await registry.configuration.refresh()  # where this worker's own are evicted
    return json_response(CachesForgotten(evicted=wanted, entries=entries, all_workers_within_seconds=WITHIN_SECONDS))


def _loggers(registry: Registry) -> LoggerList:
    found = [
        LoggerShown(name=name, level=level, set=levels.parts.is_set(name))
        for name, level in levels.parts.shown().items()
    ]
    return LoggerList(loggers=found, version=registry.configuration.now.version)


def _check(name: str, level: str | None) -> None:
    known = (*levels.PARTS, levels.OTHERS)
    if name not in known:
        near = nearest(name, known)
        remedy = f"Did you mean {near}?" if near else f"There are {', '.join(known)}"
        raise UnknownLogger(f"There is no logger {name[:100]!r}. {remedy}", field="name", value=name, remedy=remedy)
    if level is not None and level.lower() not in levels.LEVELS:
        near = nearest(level, list(levels.LEVELS))
        remedy = f"Did you mean {near}?" if near else f"There are {', '.join(levels.LEVELS)}"
        raise UnknownLogger(f"There is no level {level!r}. {remedy}", field="level", value=level, remedy=remedy)
