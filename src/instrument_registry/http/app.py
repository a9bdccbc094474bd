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

from instrument_registry.events.streams.signals import Signals
from instrument_registry.http import (
    aliases,
    audit,
    brokers,
    chains,
    configuration,
    consumers,
    dead_letters,
    declarations,
    diff,
    docs,
    events,
    export,
    flags,
    health,
    ingestions,
    instruments,
    jobs,
    kinds,
    kite,
    metrics,
    overrides,
    problems,
    projections,
    retention,
    schedules,
    scrape,
    search,
    streams,
    suggest,
    summary,
    webhook_deliveries,
    webhooks,
)
from instrument_registry.http.auth import KeyRing, key_ring
from instrument_registry.http.bodies import BodyLimit
from instrument_registry.http.compression import Compression
from instrument_registry.http.correlation import CorrelationId
from instrument_registry.http.deadline import Deadline
from instrument_registry.http.flowing import Flows
from instrument_registry.http.openapi import document
from instrument_registry.http.paths import Paths
from instrument_registry.http.refusals import Refusals
from instrument_registry.http.routes import Dispatch
from instrument_registry.wiring import Registry

# Rooms whose requests are most frequent come first: paths with a name in them are tried in turn.
ROOMS: tuple[APIRouter, ...] = (
    search.router, suggest.router, instruments.router, chains.router, health.router, scrape.router, kinds.router,
    summary.router, aliases.router, overrides.router, declarations.router,
    brokers.router, schedules.router, ingestions.router, jobs.router, diff.router,
    export.router, kite.router, webhooks.router, webhook_deliveries.router, projections.router, retention.router,
    configuration.router, flags.router,
    streams.router,
    events.router, consumers.router, dead_letters.router, audit.router,
)  # fmt: skip

API_VERSION = "1.0"  # of the contract in schemas/openapi.json, not of the program
DESCRIPTION = "The one master catalogue of tradable instruments: find them, resolve broker tokens, see what changed."

log = structlog.get_logger("http")


def create_app(registry: Registry) -> FastAPI:
    """The application of one worker."""
    app = build(ROOMS, lifespan=_lifespan)
    app.state.registry = registry
    app.state.key_ring = key_ring(registry.database, registry.clock)
    app.state.refusals = Refusals(registry.clock)
    app.state.signals = Signals(registry.database)
    app.state.flows = Flows()
    return app


def build(rooms: Sequence[APIRouter], *, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The frame around some rooms; whoever serves it gives `app.state` a registry and a key ring."""
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
            Middleware(metrics.Requests),
            Middleware(Compression),
            Middleware(Deadline, longer={brokers.UPLOAD_PATH: brokers.UPLOAD_TIMEOUT_SECONDS}),
            problems.last_resort(),
            Middleware(BodyLimit, larger={brokers.UPLOAD_PATH: brokers.UPLOAD_LIMIT_BYTES}),
        ],
    )
    problems.install(app)
    docs.serve_assets(app)
    # Not include_router: it matches every request twice, route by route, and would cost a hundred microseconds.
    routes = [route for room in (*rooms, docs.router) for route in room.routes]
    app.router.routes[:0] = [Dispatch(routes), *routes]
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
    yield
    for task in (catalogue, telling, following):
        task.cancel()
    await asyncio.gather(catalogue, telling, following, return_exceptions=True)
    await app.state.refusals.tell(registry.database)
    ring: KeyRing = app.state.key_ring
    await ring.close()


def _ended(catalogue: asyncio.Task[None]) -> None:
    """A worker that cannot follow the facts any more must not go on answering: whoever started it starts another."""
    if not catalogue.cancelled() and (error := catalogue.exception()) is not None:
        log.critical("catalogue.ended", exc_info=error)
        signal.raise_signal(signal.SIGTERM)
