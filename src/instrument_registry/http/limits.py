"""How often callers may ask: what is in force, who remembers, and keys with limits of their own."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.limits import service
from instrument_registry.access.limits.limiter import By
from instrument_registry.access.limits.model import (
    MOST_PER_MINUTE,
    BadLimits,
    KeyLimits,
    Limits,
    NoLimitsOfItsOwn,
    RouteClass,
)
from instrument_registry.access.model import KeyNotFound, Scope
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_response
from instrument_registry.http.limiting import PARAMETERS, Limiting
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paths import named
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.wiring import Registry

Number = Annotated[int, msgspec.Meta(ge=1, le=MOST_PER_MINUTE)]


class LimitsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a key may ask in one class; what is left out is as for every key."""

    per_minute: Number | None = None
    per_second: Number | None = None


class KeyLimitsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a key by class (expensive, write, read), and why; a class left out is as for every key."""

    limits: dict[str, LimitsBody]
    reason: Reason


class ClassLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How often every key, or every address without one, may ask in a class, and which parameters say so."""

    per_minute: int
    per_second: int
    parameters: list[str]


class KeyLimitsShown(msgspec.Struct, frozen=True, kw_only=True):
    """A key with limits of its own."""

    key_id: str
    limits: dict[str, LimitsBody]
    reason: str
    set_by: str
    set_at: datetime


class LimitsShown(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in force, as this worker has it.

    `remembered_by` says how exact it is: memory (all workers of this instance together), redis (all instances
    together), share (Redis does not answer: each instance its share), worker (each worker its share).
    """

    classes: dict[str, ClassLimits]
    keys: list[KeyLimitsShown]
    remembered_by: By
    instances: int


class LimitsRemovalQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the key is to be limited as every other."""

    reason: Reason


router = room(tag="limits")


@router.get("/actuator/limits", **describe(answer=LimitsShown, means="The limits"))
@needs(Scope.OPERATOR)
async def show_limits(request: Request) -> Response:
    """How often callers may ask, and the keys that have limits of their own."""
    registry: Registry = request.app.state.registry
    limiting: Limiting = request.app.state.limiting
    classes = {}
    for kind, parameters in PARAMETERS.items():
        minute, burst = limiting.windows(kind)
        names = [parameter.name for parameter in parameters]
        classes[kind.value] = ClassLimits(per_minute=minute.limit, per_second=burst.limit, parameters=names)
    async with registry.database.transaction(read_only=True) as tx:
        own = await service.list_limits(tx)
    body = LimitsShown(
        classes=classes, keys=[_shown(one) for one in own.values()], remembered_by=limiting.limiter.by,
        instances=registry.settings.limits_instances,
    )  # fmt: skip
    return json_response(body)


@router.put(
    "/actuator/limits/{key_id}",
    **describe(body=KeyLimitsBody, answer=KeyLimitsShown, means="They are in force", problems=(KeyNotFound, BadLimits)),
)
@needs(Scope.OPERATOR)
async def set_key_limits(request: Request) -> Response:
    """Let a key have exactly these limits; every worker has them within two seconds."""
    registry: Registry = request.app.state.registry
    asked, key_id = await read_json(request, KeyLimitsBody), named(request.scope, "key_id")
    limits = {name: Limits(one.per_minute, one.per_second) for name, one in asked.limits.items()}
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        made = await service.set_limits(tx, key_id, limits, reason=asked.reason, metadata=metadata, at=at)
    await _as_they_are_now(request)
    return json_response(_shown(made))


@router.delete(
    "/actuator/limits/{key_id}",
    **describe(
        query=LimitsRemovalQuery, status=204, means="The key is limited as every other",
        problems=(KeyNotFound, NoLimitsOfItsOwn),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def remove_key_limits(request: Request) -> Response:
    """Let a key be limited as every other."""
    registry: Registry = request.app.state.registry
    asked, key_id = read_query(request.scope, LimitsRemovalQuery), named(request.scope, "key_id")
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        await service.remove_limits(tx, key_id, reason=asked.reason, metadata=metadata, at=at)
    await _as_they_are_now(request)
    return Response(status_code=204)


async def _as_they_are_now(request: Request) -> None:
    """This worker has a change at once, the others when they look next."""
    registry: Registry = request.app.state.registry
    limiting: Limiting = request.app.state.limiting
    await events.wake(registry.database)
    await limiting.live.refresh()


def _shown(own: KeyLimits) -> KeyLimitsShown:
    return KeyLimitsShown(
        key_id=own.key_id, limits=_bodies(own.limits), reason=own.reason, set_by=own.set_by, set_at=own.set_at
    )


def _bodies(limits: Mapping[RouteClass, Limits]) -> dict[str, LimitsBody]:
    return {
        kind.value: LimitsBody(per_minute=one.per_minute, per_second=one.per_second) for kind, one in limits.items()
    }
