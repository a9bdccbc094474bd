"""Events: read, published, and whether all is well with them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.configuration.parameters import (
    CONSUMER_SILENT_DAYS,
    DLQ_RETENTION_HOURS,
    EVENT_BATCH_SIZE,
    EVENT_RETRY_ATTEMPTS,
    EVENT_RETRY_SECONDS,
)
from instrument_registry.configuration.toggles import EVENT_STREAMING
from instrument_registry.database import Transaction
from instrument_registry.events import Event, EventNotFound, wire
from instrument_registry.events.model import Archived
from instrument_registry.events.streams import consumers, dead_letters, positions, runs
from instrument_registry.events.streams.browsing import Question, browse
from instrument_registry.events.streams.following import POLL_SECONDS
from instrument_registry.events.streams.model import LATER_TIMES, Letters
from instrument_registry.events.streams.publishing import (
    AT_ONCE_MAX,
    DATA_BYTES_MAX,
    InternalType,
    PublishedOtherwise,
    Said,
    publish,
)
from instrument_registry.http.auth import caller_of, metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_bytes, json_response
from instrument_registry.http.event_shapes import EventShown, EventTypes, event_json
from instrument_registry.http.features import use
from instrument_registry.http.jobs import JOB_HEADERS, idempotency_key
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import LARGEST_ID, named
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.http.streams import HEARTBEAT_SECONDS
from instrument_registry.wiring import Registry

WAITING_SECONDS_MAX = 30.0
UNKEPT = {"cache-control": "no-store"}

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Place = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class EventsQuery(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"since": "from", "until": "to"},
):
    """Which events to list; `from` and `to` are instants at which they were recorded."""

    after: Place | None = None  # a position
    event_types: EventTypes | None = None
    stream: Name | None = None
    subject: Name | None = None
    since: Instant | None = None
    until: Instant | None = None
    bulk: bool = True
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events in order; a page may be short and still have one after it, when few of many were asked for."""

    events: list[EventShown]
    pagination: Pagination
    position: int | None = None  # up to which this list is complete: send it as `after` to go on later


class PublishedEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happened elsewhere; its type begins with `external.`."""

    event_type: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    data: dict[str, Any]
    subject: Name | None = None
    occurred_at: Instant | None = None


class PublishBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events that are told together, in order, or not at all."""

    events: Annotated[list[PublishedEvent], msgspec.Meta(min_length=1, max_length=AT_ONCE_MAX)]
    stream: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._:-]{1,100}$")] | None = None


class PublishedAs(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is known by; its position it gets in a moment."""

    event_id: UUID
    event_type: str
    stream: str
    stream_version: int


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What was told."""

    events: list[PublishedAs]
    correlation_id: str
    recorded_at: datetime


class EventsHealth(msgspec.Struct, frozen=True, kw_only=True):
    """`degraded`: `problems` says what somebody should look at."""

    status: str
    problems: list[str]
    position: int
    waiting: int
    waiting_seconds: float
    months_ahead: int
    consumers: int
    silent_consumers: list[str]
    held: int
    waiting_for_retry: int
    dead_letters: int


class EventsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How events reach consumers here."""

    retry_attempts: int
    retry_first_wait_seconds: float
    retry_later_times: float
    batch_size: int
    dead_letters_kept_hours: int
    consumer_silent_days: float
    heartbeat_seconds: float
    poll_seconds: float
    publish_at_once_max: int
    publish_data_bytes_max: int
    bulk_run_facts: int
    ordering_guarantee: str
    broker: bool


router = room(tag="events")


@router.get("/events", **describe(query=EventsQuery, answer=EventPage, means="The events", problems=(Archived,)))
async def list_events(request: Request) -> Response:
    """Events from a position on, of a stream, or about a subject; by type and time."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, EventsQuery)
    filters = consumers.distinct(asked.event_types or [wire.EVERYTHING])
    wire.check_filters(filters, field="event_types")
    question = Question(
        filters=filters, stream=asked.stream, subject=asked.subject, since=asked.since, until=asked.until,
        bulk=asked.bulk,
    )  # fmt: skip
    bound = ("events", *filters, asked.stream, asked.subject, asked.since, asked.until, asked.bulk)
    place = decode_cursor(asked.cursor, int, question=bound) if asked.cursor else asked.after
    async with registry.database.transaction(read_only=True) as tx:
        if place is None:
            place = await positions.before(tx, "earliest")
        found = await browse(tx, question, after=place, limit=asked.limit)
        ranges = await runs.ranges(tx, (event for event, _ in found.events))
    shown = [event_json(event, name=name, run=ranges.get(event.position or 0)) for event, name in found.events]
    following = encode_cursor(found.place, question=bound) if found.more else None
    pagination = Pagination(limit=asked.limit, count=len(shown), next_cursor=following)
    along = asked.stream is not None or asked.subject is not None
    body = {"events": shown, "pagination": pagination, "position": None if along else found.place}
    return json_response(body, headers=UNKEPT)


@router.post(
    "/events/publish",
    **describe(
        body=PublishBody,
        headers=JOB_HEADERS,
        answer=Published,
        status=201,
        means="They are told",
        problems=(InternalType, PublishedOtherwise),
    ),
)
@needs(Scope.OPERATOR)
async def publish_events(request: Request) -> Response:
    """Tell 1 to 100 events of types that begin with `external.`; the same request again tells nothing twice."""
    registry: Registry = request.app.state.registry
    use(request.scope, EVENT_STREAMING)
    asked = await read_json(request, PublishBody)
    key, at = idempotency_key(request), registry.clock()
    said = [
        Said(event_type=one.event_type, data=json_bytes(one.data).decode(), subject=one.subject,
             occurred_at=one.occurred_at)
        for one in asked.events
    ]  # fmt: skip
    stream = asked.stream or caller_of(request.scope).id
    async with registry.database.transaction() as tx:
        told = await publish(tx, said, stream=stream, key=key, metadata=metadata_of(request.scope), at=at)
    await events.wake(registry.database)
    named_as = [
        PublishedAs(
            event_id=events.nth_id(told.event_id, place), event_type=one.event_type, stream=told.stream,
            stream_version=told.first_version + place,
        )
        for place, one in enumerate(said)
    ]  # fmt: skip
    body = Published(events=named_as, correlation_id=told.metadata.correlation_id, recorded_at=told.recorded_at)
    return json_response(body, 201)


@router.get("/events/health", **describe(answer=EventsHealth, means="How events are doing"))
async def events_health(request: Request) -> Response:
    """Whether facts get their order, and whether consumers take them."""
    registry: Registry = request.app.state.registry
    days = registry.configuration.now[CONSUMER_SILENT_DAYS]
    async with registry.database.transaction(read_only=True) as tx:
        waiting, waiting_seconds = await events.waiting(tx)
        position, ahead = await events.head_position(tx), await events.months_ahead(tx)
        standings, silent = await consumers.listed(tx), await consumers.silent(tx, days=days)
        letters = await dead_letters.count(tx, Letters())
    problems = []
    if waiting_seconds > WAITING_SECONDS_MAX:
        problems.append(f"facts have waited for {waiting_seconds:.0f} s for their order: is a worker running?")
    if ahead < 1:
        problems.append("there is no room for next month's facts")
    if silent:
        problems.append(f"silent for {days:g} days: {', '.join(silent[:10])}")
    if letters:
        problems.append(f"{letters} dead letters: see events/dlq")
    body = EventsHealth(
        status="degraded" if problems else "ready", problems=problems, position=position, waiting=waiting,
        waiting_seconds=round(waiting_seconds, 3), months_ahead=ahead, consumers=len(standings),
        silent_consumers=silent, held=sum(one.held for one in standings),
        waiting_for_retry=sum(one.waiting for one in standings), dead_letters=letters,
    )  # fmt: skip
    return json_response(body, headers=UNKEPT)


@router.get("/events/config", **describe(answer=EventsConfig, means="How events reach consumers here"))
async def events_config(request: Request) -> Response:
    """Retries, batches, bounds and how long things are kept."""
    registry: Registry = request.app.state.registry
    settings, now = registry.settings, registry.configuration.now
    body = EventsConfig(
        retry_attempts=now[EVENT_RETRY_ATTEMPTS], retry_first_wait_seconds=now[EVENT_RETRY_SECONDS],
        retry_later_times=LATER_TIMES, batch_size=now[EVENT_BATCH_SIZE],
        dead_letters_kept_hours=now[DLQ_RETENTION_HOURS], consumer_silent_days=now[CONSUMER_SILENT_DAYS],
        heartbeat_seconds=HEARTBEAT_SECONDS, poll_seconds=POLL_SECONDS, publish_at_once_max=AT_ONCE_MAX,
        publish_data_bytes_max=DATA_BYTES_MAX, bulk_run_facts=events.BULK_FACTS,
        ordering_guarantee=settings.event_ordering_guarantee, broker=settings.event_broker_url is not None,
    )  # fmt: skip
    return json_response(body)


@router.get("/events/{event}", **describe(answer=EventShown, means="The event", problems=(EventNotFound, Archived)))
async def one_event(request: Request) -> Response:
    """One event by its id, or by its position."""
    registry: Registry = request.app.state.registry
    text = named(request.scope, "event")
    async with registry.database.transaction(read_only=True) as tx:
        event = await _by(tx, text)
        ranges = await runs.ranges(tx, [event])
    return json_response(event_json(event, run=ranges.get(event.position or 0)))


async def _by(tx: Transaction, text: str) -> Event:
    if text.isascii() and text.isdecimal():
        position = min(int(text), LARGEST_ID)
        await positions.ensure_readable(tx, position)
        page = await events.read(tx, after=position - 1, limit=1) if position else None
        for event in page.events if page else []:
            return event
        raise EventNotFound(f"No event has the position {position}", position=position)
    try:
        event_id = UUID(text)
    except ValueError as error:
        raise EventNotFound(f"{text[:40]} is neither an id nor a position") from error
    return await events.find(tx, event_id)
