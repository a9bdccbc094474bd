"""The HTTP application: the frame around every request, and the rooms behind it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import structlog
from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.types import Lifespan

from instrument_registry.configuration.degradation_parameters import KEYS_TRUSTED_WITHOUT_DATABASE_SECONDS
from instrument_registry.errors import Unavailable
from instrument_registry.events.streams.signals import Signals
from instrument_registry.http import (
    actuators,
    aliases,
    audit,
    breakers,
    brokers,
    capacity,
    chains,
    configuration,
    consumers,
    dead_letters,
    declarations,
    demands,
    diff,
    docs,
    events,
    export,
    flags,
    health,
    ingestions,
    instruments,
    jobs,
    keys,
    kinds,
    kite,
    ladders,
    limits,
    maintenance,
    metrics,
    overrides,
    planner,
    plans,
    problems,
    profile_admin,
    profile_conflicts,
    profiles,
    projections,
    retention,
    schedules,
    scrape,
    search,
    secrets,
    streams,
    suggest,
    summary,
    tasks,
    tickers,
    toggles,
    watching,
    webhook_deliveries,
    webhooks,
)
from instrument_registry.http.auth import KeyRing, key_ring
from instrument_registry.http.bodies import BodyLimit
from instrument_registry.http.checking import keep_checking
from instrument_registry.http.compression import Compression
from instrument_registry.http.correlation import CorrelationId
from instrument_registry.http.cors import Cors
from instrument_registry.http.counts import counts_of
from instrument_registry.http.deadline import Deadline
from instrument_registry.http.flowing import Flows
from instrument_registry.http.limiting import Limiting, limiting_of
from instrument_registry.http.openapi import API_VERSION, document
from instrument_registry.http.paths import Paths
from instrument_registry.http.refusals import Refusals
from instrument_registry.http.routes import Dispatch
from instrument_registry.http.shedding import Gate
from instrument_registry.http.traces import Traces
from instrument_registry.operations.caches import actions_of, caches_of
from instrument_registry.operations.degradation.features import Features
from instrument_registry.operations.degradation.memory import ROOM, Memory
from instrument_registry.operations.degradation.objectives import PROMISED, Objectives
from instrument_registry.operations.maintenance import ReadOnlyGate
from instrument_registry.operations.measures import REMEMBERED
from instrument_registry.operations.orders import Orders
from instrument_registry.telemetry import tracing
from instrument_registry.wiring import Registry

# Rooms whose requests are most frequent come first: paths with a name in them are tried in turn.
ROOMS: tuple[APIRouter, ...] = (
    search.router, suggest.router, instruments.router, chains.router, health.router, scrape.router, kinds.router,
    health.actuators, summary.router, aliases.router, overrides.router, declarations.router,
    brokers.router, schedules.router, ingestions.router, jobs.router, diff.router,
    export.router, kite.router, webhooks.router, webhook_deliveries.router, projections.router, retention.router,
    configuration.router, watching.router, toggles.router, actuators.router, tasks.router, maintenance.router,
    limits.router, flags.router, keys.router, secrets.router, secrets.values,
    streams.router, breakers.router, capacity.router, plans.router, planner.router, tickers.router,
    events.router, consumers.router, dead_letters.router, audit.router,
    demands.router, ladders.router, profile_conflicts.router, profile_admin.router, profiles.router,
)  # fmt: skip


DESCRIPTION = "The one master catalogue of tradable instruments: find them, resolve broker tokens, see what changed."

KNOWN_WITHIN_SECONDS = 2.0
READ_WITHIN_SECONDS = 150.0  # longer than the supervisor waits: a restart then keeps the old one, which answers

log = structlog.get_logger("http")


def create_app(registry: Registry) -> FastAPI:
    """The application of one worker."""
    app = build(ROOMS, lifespan=_lifespan, origins=registry.settings.cors_origins)
    app.state.registry = registry
    app.state.key_ring = key_ring(
        registry.database, registry.clock,
        trusted_seconds=lambda: registry.configuration.now[KEYS_TRUSTED_WITHOUT_DATABASE_SECONDS],
    )  # fmt: skip
    app.state.refusals = Refusals(registry.clock)
    app.state.signals = Signals(registry.database)
    app.state.flows = Flows()
    app.state.stopping = app.state.beside = False
    app.state.read_only = ReadOnlyGate(registry.database, registry.configuration)
    app.state.caches = caches_of(registry.catalogue)
    registry.configuration.read_beside(Orders(actions_of(app.state.caches)).follow)
    app.state.limiting = limiting_of(registry.settings, registry.database, registry.configuration)
    app.state.gate = Gate(registry.configuration)
    REMEMBERED.watch(registry.catalogue)
    app.state.features = Features(registry.breakers, registry.configuration, clock=registry.clock)
    app.state.memory = Memory(app.state.caches, registry.configuration)
    app.state.objectives = Objectives(counts_of(registry.catalogue), registry.configuration)
    ROOM.watch(app.state.memory)
    PROMISED.watch(app.state.objectives)
    registry.catalogue.before_building = app.state.memory.require_room
    registry.conditions.update(
        features=app.state.features.condition, memory=app.state.memory.condition, sla=app.state.objectives.condition
    )
    return app


def build(
    rooms: Sequence[APIRouter], *, lifespan: Lifespan[FastAPI] | None = None, origins: Sequence[str] = ()
) -> FastAPI:
    """The frame around some rooms; whoever serves it gives `app.state` a registry and a key ring."""
    # Not include_router: it matches every request twice, route by route, and would cost a hundred microseconds.
    routes = [route for room in (*rooms, docs.router) for route in room.routes]
    dispatch = Dispatch(routes)
    app = FastAPI(
        title="Instrument Registry",
        version=API_VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        lifespan=lifespan,
        middleware=[
            Middleware(Paths),
            Middleware(CorrelationId),
            *([Middleware(Traces)] if tracing.recording() else []),
            Middleware(metrics.Requests),
            *([Middleware(Cors, origins=origins, methods=dispatch.methods)] if origins else []),
            Middleware(Compression),
            Middleware(Deadline, longer={brokers.UPLOAD_PATH: brokers.UPLOAD_TIMEOUT_SECONDS}),
            problems.last_resort(),
            Middleware(BodyLimit, larger={brokers.UPLOAD_PATH: brokers.UPLOAD_LIMIT_BYTES}),
        ],
    )
    problems.install(app)
    docs.serve_assets(app)
    app.router.routes[:0] = [dispatch, *routes]
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def published() -> bytes:
    """The OpenAPI document as it is committed: sorted, so that a change shows as one."""
    return msgspec.json.format(msgspec.json.encode(document(build(ROOMS)), order="deterministic"), indent=2) + b"\n"


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    registry: Registry = app.state.registry
    catalogue = asyncio.create_task(registry.catalogue.run())
    catalogue.add_done_callback(_ended)
    telling = asyncio.create_task(app.state.refusals.tell_every_minute(registry.database))
    following = asyncio.create_task(registry.configuration.follow())
    limiting: Limiting = app.state.limiting
    own_limits = asyncio.create_task(limiting.live.follow())
    checking = asyncio.create_task(keep_checking(registry))
    ring: KeyRing = app.state.key_ring
    keys = asyncio.create_task(ring.keep())
    watching = asyncio.gather(
        app.state.memory.watch(), app.state.objectives.watch(), app.state.features.keep_telling(registry.database)
    )
    await _ready_to_answer(registry, beside=app.state.beside)
    yield
    for task in (catalogue, telling, following, own_limits, checking, keys, watching):
        task.cancel()
    await asyncio.gather(catalogue, telling, following, own_limits, checking, keys, watching, return_exceptions=True)
    await app.state.features.tell(registry.database)
    await app.state.refusals.tell(registry.database)
    await ring.close()
    await limiting.limiter.close()


async def _ready_to_answer(registry: Registry, *, beside: bool) -> None:
    """Know the configuration before the first request; where others answer already, the catalogue too.

    Whoever comes beside them would take a share of the requests at once, and refuse it for as long as it reads.
    """
    try:
        async with asyncio.timeout(KNOWN_WITHIN_SECONDS):
            await registry.configuration.refresh()
    except (Unavailable, TimeoutError) as error:
        log.warning("configuration.not_known_yet", reason=str(error))
    if beside:
        loop = asyncio.get_running_loop()
        until = loop.time() + READ_WITHIN_SECONDS
        while not registry.catalogue.searchable and loop.time() < until:
            await asyncio.sleep(0.02)


def _ended(catalogue: asyncio.Task[None]) -> None:
    """A worker that cannot follow the facts any more must not go on answering: whoever started it starts another."""
    if not catalogue.cancelled() and (error := catalogue.exception()) is not None:
        log.critical("catalogue.ended", exc_info=error)
        signal.raise_signal(signal.SIGTERM)
