"""Streams of events: lines of JSON or Server-Sent Events; for a consumer who acknowledges, or from a position on."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Literal, Protocol
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope as AsgiScope

from instrument_registry import events
from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import KeyRejected, Scope
from instrument_registry.configuration.model import Snapshot
from instrument_registry.configuration.parameters import EVENT_BATCH_SIZE, EVENT_RETRY_ATTEMPTS, EVENT_RETRY_SECONDS
from instrument_registry.configuration.toggles import EVENT_STREAMING, FeatureOff, require
from instrument_registry.errors import Forbidden, Unavailable
from instrument_registry.events.model import Archived
from instrument_registry.events.streams import consumers, positions, runs
from instrument_registry.events.streams.following import (
    Alive,
    Batch,
    Ended,
    Part,
    Terms,
    Why,
    follow_for,
    follow_from,
)
from instrument_registry.events.streams.model import BATCH_MAX, Asked, Handed, Retrying, TooManyConsumers, Wanted
from instrument_registry.events.streams.signals import Signals
from instrument_registry.http.auth import authorize, metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_bytes
from instrument_registry.http.event_shapes import ConsumerId, EventTypes, From, event_json, start_of
from instrument_registry.http.features import use
from instrument_registry.http.flowing import Flowing, Flows, TooManyFlows
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.problems import FieldProblem, refused, shown
from instrument_registry.http.queries import read_query
from instrument_registry.http.resuming import LAST_EVENT_ID
from instrument_registry.http.routes import room
from instrument_registry.wiring import Registry

NDJSON, SSE = "application/x-ndjson", "text/event-stream"
HEARTBEAT: Literal["heartbeat"] = "heartbeat"
HEARTBEAT_SECONDS = 10.0
KEY_CHECKED_SECONDS = 2.0

BatchSize = Annotated[
    int, msgspec.Meta(ge=1, le=BATCH_MAX, description="How many events may be unacknowledged at once.")
]
Process = Annotated[
    str,
    msgspec.Meta(
        pattern="^[!-~]{1,100}$",
        description="Which process of the consumer this is: one that comes again with its name takes its place back.",
    ),
]
Within = Annotated[
    int,
    msgspec.Meta(
        ge=1, le=3600, description="Seconds that may pass without an acknowledgement while something is in hand."
    ),
]


class StreamBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """What to send to whom; `from` counts when the consumer is made, later it goes on where it was."""

    consumer_id: ConsumerId | None = None
    event_types: EventTypes | None = None
    batch_size: BatchSize | None = None
    start: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)] | From | None = None
    bulk: bool | None = None  # single facts of runs with more than 5,000 of them
    shared: bool | None = None  # several processes at once, in no common order
    process: Process | None = None
    acknowledge_within_seconds: Within = 300
    follow: bool = True  # false: end when everything there is has been sent and settled


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """The same for a GET; `event_types` may be repeated."""

    consumer_id: ConsumerId | None = None
    event_types: EventTypes | None = None
    batch_size: BatchSize | None = None
    start: From | None = None
    bulk: bool | None = None
    shared: bool | None = None
    process: Process | None = None
    acknowledge_within_seconds: Within = 300
    follow: bool = True


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A sign of life between events; `standby` while another process is served, `ends` says why this is the last."""

    event_type: Literal["heartbeat"]
    position: int | None = None
    process: str | None = None
    standby: bool | None = None
    ends: Why | None = None
    detail: str | None = None


class Form(Protocol):
    """How events and signs of life are written."""

    media_type: bytes

    def event(self, content: bytes, handed: Handed) -> bytes: ...
    def heartbeat(self, content: bytes) -> bytes: ...


class Lines:
    """One JSON object a line."""

    media_type = NDJSON.encode()

    def event(self, content: bytes, handed: Handed) -> bytes:
        """An event."""
        return content + b"\n"

    def heartbeat(self, content: bytes) -> bytes:
        """A sign of life."""
        return content + b"\n"


class ServerSent:
    """Server-Sent Events: the id is the position, signs of life are events called heartbeat."""

    media_type = SSE.encode()

    def event(self, content: bytes, handed: Handed) -> bytes:
        """An event."""
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (handed.event.position or 0, handed.name.encode(), content)

    def heartbeat(self, content: bytes) -> bytes:
        """A sign of life."""
        return b"event: heartbeat\ndata: %s\n\n" % content


router = room(tag="events")
FAILURES = (Archived, TooManyConsumers, TooManyFlows)


@router.post(
    "/events/stream",
    **describe(
        body=StreamBody,
        media={NDJSON: {"schema": {"type": "string", "description": "One event or heartbeat a line"}}},
        means="Events as they come, one JSON object a line",
        problems=FAILURES,
    ),
)
@costs(RouteClass.READ)
async def stream_events(request: Request) -> Response:
    """Follow the facts: what is handed out is to be acknowledged, or comes again."""
    return await _answer(request, await read_json(request, StreamBody), Lines())


@router.get(
    "/events/stream",
    **describe(
        query=StreamQuery,
        headers={LAST_EVENT_ID: "The position of the last event that came: go on after it (without consumer_id)."},
        media={SSE: {"schema": {"type": "string"}}},
        means="Events as they come, as Server-Sent Events",
        problems=FAILURES,
    ),
)
async def stream_server_sent(request: Request) -> Response:
    """The same as Server-Sent Events; without a consumer_id the reader keeps count by Last-Event-ID."""
    return await _answer(request, read_query(request.scope, StreamQuery), ServerSent())


async def _answer(request: Request, asked: StreamBody | StreamQuery, form: Form) -> Response:
    registry: Registry = request.app.state.registry
    use(request.scope, EVENT_STREAMING)
    signals: Signals = request.app.state.signals
    flows: Flows = request.app.state.flows
    process = asked.process or secrets.token_hex(8)
    if asked.consumer_id is not None:
        await _ensure(registry, request.scope, asked.consumer_id, asked)
        terms = _terms(registry.configuration.now, asked, process=process)
        parts = follow_for(registry.database, signals, asked.consumer_id, terms=terms, new_id=uuid4)
    else:
        wanted = asked_of(asked).over(Wanted())
        consumers.check_wanted(wanted)
        after = await _after(registry, request, asked)
        size = asked.batch_size or BATCH_MAX
        parts = follow_from(registry.database, signals, after=after, wanted=wanted, limit=size, drain=not asked.follow)
    pieces = _pieces(registry, request.scope, parts, form=form, process=process)
    farewell = form.heartbeat(_end(Ended(Why.STOPPING, "this worker stops; come again"), process))
    return Flowing(
        pieces, flows=flows, media_type=form.media_type, farewell=farewell,
        headers={b"x-consumer-process": process.encode()},
    )  # fmt: skip


async def _ensure(registry: Registry, scope: AsgiScope, consumer_id: str, asked: StreamBody | StreamQuery) -> None:
    metadata, at = metadata_of(scope), registry.clock()
    start = start_of(str(asked.start), field="from") if asked.start is not None else "latest"
    async with registry.database.transaction() as tx:
        _, changed = await consumers.ensure(tx, consumer_id, asked_of(asked), start=start, metadata=metadata, at=at)
    if changed:
        await events.wake(registry.database)


def asked_of(asked: StreamBody | StreamQuery) -> Asked:
    """What a request says about which events."""
    types = None if asked.event_types is None else consumers.distinct(asked.event_types)
    return Asked(event_types=types, bulk=asked.bulk, shared=asked.shared)


def retrying_of(now: Snapshot) -> Retrying:
    """How often an event is tried."""
    return Retrying(attempts_max=now[EVENT_RETRY_ATTEMPTS], first_wait_seconds=now[EVENT_RETRY_SECONDS])


def _terms(now: Snapshot, asked: StreamBody | StreamQuery, *, process: str) -> Terms:
    return Terms(
        process=process, batch_size=asked.batch_size or now[EVENT_BATCH_SIZE], retrying=retrying_of(now),
        acknowledge_seconds=asked.acknowledge_within_seconds, drain=not asked.follow,
    )  # fmt: skip


async def _after(registry: Registry, request: Request, asked: StreamBody | StreamQuery) -> int:
    last = request.headers.get(LAST_EVENT_ID)
    async with registry.database.transaction(read_only=True) as tx:
        if last is None:
            return await positions.before(tx, start_of(str(asked.start or "latest"), field="from"))
        if not (last.isascii() and last.isdecimal() and int(last) < 2**63 - 1):
            remedy = "Send the id of the last event that came, or leave it out"
            raise refused(
                [
                    FieldProblem(
                        field=f"header.{LAST_EVENT_ID}", problem="is no position", remedy=remedy, value=shown(last)
                    )
                ]
            )
        return await positions.before(tx, int(last) + 1) if int(last) else await positions.before(tx, "earliest")


async def _pieces(
    registry: Registry, scope: AsgiScope, parts: AsyncGenerator[Part, None], *, form: Form, process: str
) -> AsyncGenerator[bytes, None]:
    """What is sent; closing it closes the parts."""
    now = asyncio.get_running_loop().time
    checked_at, said_at = now(), float("-inf")
    try:
        async for part in parts:
            if now() >= checked_at + KEY_CHECKED_SECONDS:
                checked_at = now()
                if (reason := await _refusal(registry, scope)) is not None:
                    part = Ended(Why.REFUSED, reason)
            match part:
                case Batch(handed, _) if handed:
                    said_at = now()
                    yield await _written(registry, handed, form=form)
                case Ended():
                    yield form.heartbeat(_end(part, process))
                    return
                case Alive(position, standby) if now() >= said_at + HEARTBEAT_SECONDS - 1:
                    said_at = now()
                    beat = Heartbeat(event_type=HEARTBEAT, position=position, process=process, standby=standby or None)
                    yield form.heartbeat(json_bytes(beat))
    except Archived as error:
        yield form.heartbeat(_end(Ended(Why.ARCHIVED, str(error)), process))
    except Unavailable as error:
        yield form.heartbeat(_end(Ended(Why.UNAVAILABLE, str(error)), process))
    finally:
        await parts.aclose()


def _end(part: Ended, process: str) -> bytes:
    return json_bytes(Heartbeat(event_type=HEARTBEAT, process=process, ends=part.why, detail=part.detail))


async def _written(registry: Registry, handed: Sequence[Handed], *, form: Form) -> bytes:
    ranges: dict[int, tuple[int, int]] = {}
    if any(one.event.type == runs.APPLIED for one in handed):
        async with registry.database.transaction(read_only=True) as tx:
            ranges = await runs.ranges(tx, (one.event for one in handed))
    return b"".join(
        form.event(
            bytes(event_json(one.event, name=one.name, attempt=one.attempt, run=ranges.get(one.event.position or 0))),
            one,
        )
        for one in handed
    )


async def _refusal(registry: Registry, scope: AsgiScope) -> str | None:
    """Why the caller may not go on, if so; without a database nothing is sent anyway."""
    try:
        caller = await authorize(scope, Scope.READER)
        require(EVENT_STREAMING, registry.configuration.now, caller.id)
    except (KeyRejected, Forbidden, FeatureOff) as error:
        return str(error)
    except Unavailable:
        return None
    return None
