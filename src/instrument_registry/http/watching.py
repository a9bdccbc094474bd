"""Configuration as it comes into force: a stream of versions, as lines of JSON or Server-Sent Events."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope as AsgiScope

from instrument_registry.access.model import KeyRejected, Scope
from instrument_registry.configuration import service
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import NoSuchVersion, Version
from instrument_registry.errors import Forbidden, Unavailable
from instrument_registry.http.auth import authorize
from instrument_registry.http.encoding import json_bytes
from instrument_registry.http.flowing import Flowing, Flows, TooManyFlows
from instrument_registry.http.openapi import describe
from instrument_registry.http.queries import read_query
from instrument_registry.http.resuming import LAST_EVENT_ID, last_seen, line
from instrument_registry.http.routes import needs, room
from instrument_registry.http.streams import KEY_CHECKED_SECONDS, NDJSON, SSE
from instrument_registry.wiring import Registry

HEARTBEAT_SECONDS = 10.0
PAGE = 100
AGAIN_SECONDS = 0.1
STOPPING, REFUSED = "stopping", "refused"

Kind = Literal["snapshot", "change", "heartbeat", "end"]


class WatchQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """After which version to go on; without it, after the one in force."""

    start: Annotated[int, msgspec.Meta(ge=0, le=2**62, description="The last version that is known.")] | None = None


class Watched(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line: the version to begin with (`snapshot`), a change, a sign of life, or why it ends (`reason`)."""

    kind: Kind
    version: int | None = None
    changes: dict[str, dict[str, str | None]] | None = None
    actor: str | None = None
    reason: str | None = None
    at: datetime | None = None
    reverts_to: int | None = None


router = room(tag="configuration")


@router.get(
    "/configuration/watch",
    **describe(
        query=WatchQuery,
        headers={LAST_EVENT_ID: "The version of the last event that came: go on after it."},
        media={
            NDJSON: {"schema": {"type": "string", "description": "One snapshot, change or heartbeat a line"}},
            SSE: {"schema": {"type": "string"}},
        },
        means="Versions as they come into force; Server-Sent Events where Accept asks for text/event-stream",
        problems=(NoSuchVersion, TooManyFlows),
    ),
)
@needs(Scope.OPERATOR)
async def watch_configuration(request: Request) -> Response:
    """Every version of the configuration as this worker begins to obey it."""
    registry: Registry = request.app.state.registry
    flows: Flows = request.app.state.flows
    after = _after(request)
    if after is None:
        after = registry.configuration.now.version
    elif after > registry.configuration.now.version:
        newest = (await registry.configuration.refresh()).version
        if after > newest:
            raise NoSuchVersion(f"There is no version {after}; the newest is {newest}", version=after, newest=newest)
    server_sent = SSE in request.headers.get("accept", "")
    pieces = _pieces(registry, request.scope, after, server_sent=server_sent)
    farewell = _written(Watched(kind="end", reason=STOPPING), server_sent=server_sent)
    media = (SSE if server_sent else NDJSON).encode()
    return Flowing(pieces, flows=flows, media_type=media, farewell=farewell, headers={})


async def _pieces(
    registry: Registry, scope: AsgiScope, after: int, *, server_sent: bool
) -> AsyncGenerator[bytes, None]:
    now = asyncio.get_running_loop().time
    said_at = now()
    yield _written(Watched(kind="snapshot", version=after), server_sent=server_sent)
    while True:
        reason = await _refusal(scope)
        if reason is not None:
            yield _written(Watched(kind="end", version=after, reason=f"{REFUSED}: {reason}"), server_sent=server_sent)
            return
        for version in await _since(registry, after):
            after, said_at = version.version, now()
            yield _written(_change(version), server_sent=server_sent)
        if now() >= said_at + HEARTBEAT_SECONDS:
            said_at = now()
            yield _written(Watched(kind="heartbeat", version=after), server_sent=server_sent)
        await _changed(registry.configuration, after)


async def _since(registry: Registry, after: int) -> list[Version]:
    """Changes this worker obeys and has not told yet; without a database they are told when it is back."""
    newest = registry.configuration.now.version
    if newest <= after:
        return []
    try:
        async with registry.database.transaction(read_only=True) as tx:
            found = await service.versions_after(tx, after, limit=PAGE)
    except Unavailable:
        return []
    return [one for one in found if one.version <= newest]


async def _changed(configuration: LiveConfiguration, after: int) -> None:
    """Wait for a version, at most until the caller's key is to be looked at again."""
    if configuration.now.version > after:  # there are more, or they cannot be read
        await asyncio.sleep(AGAIN_SECONDS)
        return
    try:
        async with asyncio.timeout(KEY_CHECKED_SECONDS):
            await configuration.changed()
    except TimeoutError:
        return


def _change(version: Version) -> Watched:
    return Watched(
        kind="change", version=version.version, changes=version.changes, actor=version.actor, reason=version.reason,
        at=version.at, reverts_to=version.reverts_to,
    )  # fmt: skip


def _written(one: Watched, *, server_sent: bool) -> bytes:
    number = None if one.kind == "heartbeat" else one.version
    return line(json_bytes(one), one.kind, number=number, server_sent=server_sent)


def _after(request: Request) -> int | None:
    last = last_seen(request, what="event", counts="version")
    return read_query(request.scope, WatchQuery).start if last is None else last


async def _refusal(scope: AsgiScope) -> str | None:
    """Why the caller may not go on, if so; while that cannot be told, nothing new is told either."""
    try:
        await authorize(scope, Scope.OPERATOR)
    except (KeyRejected, Forbidden) as error:
        return str(error)
    except Unavailable:
        return None
    return None
