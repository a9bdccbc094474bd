"""What the registry needs and whether it answers; a breaker that is reset lets calls pass again in every process."""

import math
from datetime import UTC, datetime

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.breakers import Breaker, BreakerBusy, State
from instrument_registry.database import DatabaseUnavailable
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paths import named
from instrument_registry.http.routes import needs, room
from instrument_registry.operations.breakers import service
from instrument_registry.operations.breakers.service import UnknownBreaker
from instrument_registry.wiring import Registry


class BreakerShown(msgspec.Struct, frozen=True, kw_only=True):
    """One dependency: whether calls pass, since when and why not, and how it is judged."""

    dependency: str
    state: State
    since: datetime | None  # null: it has always been closed
    reason: str | None
    openings: int  # in a row
    rests_seconds: float  # until somebody tries again
    minimum_calls: int
    failing_share: float
    slow_seconds: float | None  # null: whoever asks tells what is slow
    longest_rest_seconds: float
    probes: int


class BreakerList(msgspec.Struct, frozen=True, kw_only=True):
    """The breakers of this instance; all its processes share them."""

    breakers: list[BreakerShown]


class BreakerResetBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why."""

    reason: Reason


class BreakerWasReset(msgspec.Struct, frozen=True, kw_only=True):
    """What it was; `recorded` is false when the database could not be told, so that only the log knows who did it."""

    dependency: str
    was: State
    recorded: bool


router = room(tag="actuators")
log = structlog.get_logger("breakers")


@router.get("/actuator/breakers", **describe(answer=BreakerList, means="The breakers"))
@needs(Scope.OPERATOR)
async def list_breakers(request: Request) -> Response:
    """Every dependency that is guarded, and whether calls to it pass."""
    registry: Registry = request.app.state.registry
    shown = [_breaker(one) for one in registry.breakers.all().values()]
    return json_response(BreakerList(breakers=shown), headers={"cache-control": "no-store"})


@router.post(
    "/actuator/breakers/{name}/reset",
    **describe(
        body=BreakerResetBody, answer=BreakerWasReset, means="Calls pass again", problems=(UnknownBreaker, BreakerBusy)
    ),
)
@needs(Scope.OPERATOR)
async def reset_breaker(request: Request) -> Response:
    """Let calls pass again, in every process; those that fail open it anew."""
    registry: Registry = request.app.state.registry
    breaker = service.find(registry.breakers.all(), named(request.scope, "name"))
    asked, metadata, at = await read_json(request, BreakerResetBody), metadata_of(request.scope), registry.clock()
    was = breaker.reset()  # before it is told: it may be the database's
    log.warning("breaker.reset", dependency=breaker.name, was=was.value, actor=metadata.actor, reason=asked.reason)
    recorded = True
    try:
        async with registry.database.transaction() as tx:
            await service.record_reset(tx, breaker.name, was=was, reason=asked.reason, metadata=metadata, at=at)
        await events.wake(registry.database)
    except DatabaseUnavailable as error:
        recorded = False
        log.error("breaker.reset_not_recorded", dependency=breaker.name, actor=metadata.actor, reason=str(error))
    return json_response(BreakerWasReset(dependency=breaker.name, was=was, recorded=recorded))


def _breaker(breaker: Breaker) -> BreakerShown:
    standing, terms = breaker.standing, breaker.terms
    return BreakerShown(
        dependency=breaker.name, state=standing.state, reason=standing.reason or None, openings=standing.openings,
        since=datetime.fromtimestamp(standing.since_ms / 1000, UTC) if standing.since_ms else None,
        rests_seconds=round(breaker.rests_seconds, 3), minimum_calls=terms.minimum_calls,
        failing_share=terms.failing_share,
        slow_seconds=terms.slow_seconds if math.isfinite(terms.slow_seconds) else None,
        longest_rest_seconds=terms.longest_rest_seconds, probes=terms.probes,
    )  # fmt: skip
