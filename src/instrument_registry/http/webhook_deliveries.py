"""What was sent to webhook endpoints: look it up, try an endpoint, send something once more."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.database import Transaction
from instrument_registry.events.model import Archived
from instrument_registry.events.webhooks import queue, resending, service, storage
from instrument_registry.events.webhooks.model import (
    Attempt,
    Delivery,
    DeliveryStatus,
    DeliveryWaits,
    EndpointRefused,
    NoSuchDelivery,
    NoSuchEndpoint,
    NoSuchReplay,
    Replay,
    ReplayEnded,
    ReplayStatus,
)
from instrument_registry.events.webhooks.resending import Range
from instrument_registry.events.wire import EVERYTHING
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import LARGEST_ID, numbered
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import PREFIX, needs, room
from instrument_registry.http.webhooks import Instruments, Types, WebhookReason, Why
from instrument_registry.wiring import Registry

Position = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_ID)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class DeliveryShown(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to one endpoint; a failed one has used up its schedule."""

    id: int
    event_id: UUID  # the webhook-id of every attempt
    position: int | None
    type: str
    subject: str | None
    status: DeliveryStatus
    attempts: int
    due_at: datetime
    created_at: datetime
    finished_at: datetime | None
    answer: int | None
    problem: str | None
    replay_id: int | None


class AttemptShown(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it went out; what the receiver said beside its status is not kept."""

    number: int
    at: datetime
    url: str
    body_bytes: int
    answer: int | None
    problem: str | None
    duration_ms: int


class DeliveryTold(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery with every request of it, the first one first."""

    delivery: DeliveryShown
    attempts: list[AttemptShown]


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries, the newest first."""

    deliveries: list[DeliveryShown]
    pagination: Pagination


class DeliveriesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries to list."""

    status: DeliveryStatus | None = None
    event_id: UUID | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class ReplayBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events to send once more: from a position or an instant, to another or to now. A dry run only counts."""

    reason: Why
    first_position: Position | None = None
    last_position: Position | None = None
    since: Instant | None = None
    until: Instant | None = None
    event_types: Types = msgspec.field(default_factory=lambda: [EVERYTHING])
    instruments: Instruments = []
    dry_run: bool = False


class ReplayShown(msgspec.Struct, frozen=True, kw_only=True):
    """A replay and how far it has come: `made` have been made due, `waiting` of them are still to be taken."""

    id: int
    webhook: int
    first_position: int
    last_position: int
    event_types: list[str]
    instruments: list[str]
    status: ReplayStatus
    position: int
    made: int
    waiting: int
    reason: str
    actor: str
    created_at: datetime
    finished_at: datetime | None


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay would send, or the replay that has begun."""

    events: int | None  # of a dry run
    replay: ReplayShown | None


class ReplayPage(msgspec.Struct, frozen=True, kw_only=True):
    """Replays, the newest first."""

    replays: list[ReplayShown]
    pagination: Pagination


class ReplaysQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many replays to list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


router = room(tag="webhooks")


@router.post(
    "/webhooks/{webhook}/ping",
    **describe(answer=DeliveryShown, status=202, means="It is being tried", problems=(NoSuchEndpoint,)),
)
@needs(Scope.OPERATOR)
async def ping_webhook(request: Request) -> Response:
    """Try an endpoint with a message of type webhook.ping; ask for the delivery to see what came of it."""
    registry: Registry = request.app.state.registry
    endpoint, metadata = numbered(request.scope, "webhook"), metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        made = await resending.ping(tx, endpoint, metadata=metadata, at=registry.clock())
    return await _accepted(registry, made)


@router.get(
    "/webhooks/{webhook}/deliveries",
    **describe(query=DeliveriesQuery, answer=DeliveryPage, means="The deliveries", problems=(NoSuchEndpoint,)),
)
@needs(Scope.OPERATOR)
async def list_deliveries(request: Request) -> Response:
    """What was sent to an endpoint, or waits to be."""
    registry: Registry = request.app.state.registry
    asked, endpoint = read_query(request.scope, DeliveriesQuery), numbered(request.scope, "webhook")
    question = ("deliveries", endpoint, asked.status, asked.event_id)
    before = decode_cursor(asked.cursor, int, question=question) if asked.cursor else LARGEST_ID
    async with registry.database.transaction(read_only=True) as tx:
        await storage.find(tx, endpoint)
        found = await queue.listed(
            tx, endpoint, before=before, limit=asked.limit + 1, status=asked.status, event_id=asked.event_id
        )
    page = found[: asked.limit]
    following = encode_cursor(page[-1].id, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(DeliveryPage(deliveries=[_delivery(one) for one in page], pagination=pagination))


@router.get(
    "/webhooks/{webhook}/deliveries/{delivery}",
    **describe(answer=DeliveryTold, means="The delivery", problems=(NoSuchDelivery,)),
)
@needs(Scope.OPERATOR)
async def one_delivery(request: Request) -> Response:
    """One delivery with every request of it."""
    registry: Registry = request.app.state.registry
    endpoint, delivery = numbered(request.scope, "webhook"), numbered(request.scope, "delivery")
    async with registry.database.transaction(read_only=True) as tx:
        found = await queue.find(tx, endpoint, delivery)
        tried = await queue.attempts_of(tx, delivery)
    answer = DeliveryTold(delivery=_delivery(found), attempts=[_attempt(one) for one in tried])
    return json_response(answer, headers={"cache-control": "no-store"})


@router.post(
    "/webhooks/{webhook}/deliveries/{delivery}/rerun",
    **describe(
        answer=DeliveryShown, status=202, means="It is due once more",
        problems=(NoSuchEndpoint, NoSuchDelivery, DeliveryWaits),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def rerun_delivery(request: Request) -> Response:
    """Send one event once more, under the same id, whatever came of it before."""
    registry: Registry = request.app.state.registry
    endpoint, delivery = numbered(request.scope, "webhook"), numbered(request.scope, "delivery")
    metadata = metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        again = await resending.rerun(tx, endpoint, delivery, metadata=metadata, at=registry.clock())
    return await _accepted(registry, again)


@router.post(
    "/webhooks/{webhook}/replays",
    **describe(
        body=ReplayBody, answer=ReplayAnswer, means="The replay has begun, or what it would send",
        problems=(NoSuchEndpoint, EndpointRefused, Archived),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def replay_webhook(request: Request) -> Response:
    """Send many events once more, in the background and never before what is new."""
    registry: Registry = request.app.state.registry
    asked, endpoint = await read_json(request, ReplayBody), numbered(request.scope, "webhook")
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        wanted = await _range(tx, asked)
        if asked.dry_run:
            count = await resending.count(tx, endpoint, wanted)
            return json_response(ReplayAnswer(events=count, replay=None))
        begun = await resending.replay(tx, endpoint, wanted, reason=asked.reason, metadata=metadata, at=at)
    await _wake(registry)
    headers = {"location": f"{PREFIX}/webhooks/{endpoint}/replays/{begun.id}"}
    return json_response(ReplayAnswer(events=None, replay=_replay(begun, 0)), 200, headers)


@router.get(
    "/webhooks/{webhook}/replays",
    **describe(query=ReplaysQuery, answer=ReplayPage, means="The replays", problems=(NoSuchEndpoint,)),
)
@needs(Scope.OPERATOR)
async def list_replays(request: Request) -> Response:
    """The replays of an endpoint and how far they have come."""
    registry: Registry = request.app.state.registry
    asked, endpoint = read_query(request.scope, ReplaysQuery), numbered(request.scope, "webhook")
    question = ("replays", endpoint)
    before = decode_cursor(asked.cursor, int, question=question) if asked.cursor else LARGEST_ID
    async with registry.database.transaction(read_only=True) as tx:
        await storage.find(tx, endpoint)
        found = await queue.replays(tx, endpoint, before=before, limit=asked.limit + 1)
        page = [_replay(one, await queue.waiting_of_replay(tx, one)) for one in found[: asked.limit]]
    following = encode_cursor(page[-1].id, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(ReplayPage(replays=page, pagination=pagination))


@router.get(
    "/webhooks/{webhook}/replays/{replay}",
    **describe(answer=ReplayShown, means="The replay", problems=(NoSuchReplay,)),
)
@needs(Scope.OPERATOR)
async def one_replay(request: Request) -> Response:
    """How far a replay has come."""
    registry: Registry = request.app.state.registry
    endpoint, replay = numbered(request.scope, "webhook"), numbered(request.scope, "replay")
    async with registry.database.transaction(read_only=True) as tx:
        found = await queue.find_replay(tx, endpoint, replay)
        waiting = await queue.waiting_of_replay(tx, found)
    return json_response(_replay(found, waiting), headers={"cache-control": "no-store"})


@router.post(
    "/webhooks/{webhook}/replays/{replay}/cancel",
    **describe(
        body=WebhookReason, answer=ReplayShown, means="It is stopped",
        problems=(NoSuchEndpoint, NoSuchReplay, ReplayEnded),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def cancel_replay(request: Request) -> Response:
    """Stop a replay: what of it still waits is not sent."""
    registry: Registry = request.app.state.registry
    asked, endpoint = await read_json(request, WebhookReason), numbered(request.scope, "webhook")
    replay, metadata = numbered(request.scope, "replay"), metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        after = await resending.cancel(
            tx, endpoint, replay, reason=asked.reason, metadata=metadata, at=registry.clock()
        )
    await _wake(registry)
    return json_response(_replay(after, 0))


async def _range(tx: Transaction, asked: ReplayBody) -> Range:
    types, instruments = tuple(asked.event_types), tuple(asked.instruments)
    if asked.since is not None:
        return await resending.range_between(
            tx, since=asked.since, until=asked.until, event_types=types, instruments=instruments
        )
    if asked.first_position is None:
        raise EndpointRefused("Say from where: first_position, or since", field="body.first_position")
    last = asked.last_position or await events.head_position(tx)
    return Range(first=asked.first_position, last=last, event_types=types, instruments=instruments)


async def _accepted(registry: Registry, delivery: Delivery) -> Response:
    await _wake(registry)
    path = f"{PREFIX}/webhooks/{delivery.endpoint_id}/deliveries/{delivery.id}"
    return json_response(_delivery(delivery), 202, {"location": path})


async def _wake(registry: Registry) -> None:
    await service.wake(registry.database)
    await events.wake(registry.database)


def _delivery(one: Delivery) -> DeliveryShown:
    return DeliveryShown(
        id=one.id, event_id=one.event_id, position=one.position, type=one.type, subject=one.subject, status=one.status,
        attempts=one.attempts, due_at=one.due_at, created_at=one.created_at, finished_at=one.finished_at,
        answer=one.answer, problem=one.problem, replay_id=one.replay_id,
    )  # fmt: skip


def _attempt(one: Attempt) -> AttemptShown:
    return AttemptShown(
        number=one.number, at=one.at, url=one.url, body_bytes=one.body_bytes, answer=one.answer, problem=one.problem,
        duration_ms=one.duration_ms,
    )  # fmt: skip


def _replay(one: Replay, waiting: int) -> ReplayShown:
    return ReplayShown(
        id=one.id, webhook=one.endpoint_id, first_position=one.first_position, last_position=one.last_position,
        event_types=list(one.event_types), instruments=list(one.instruments), status=one.status, position=one.position,
        made=one.made, waiting=waiting, reason=one.reason, actor=one.actor, created_at=one.created_at,
        finished_at=one.finished_at,
    )  # fmt: skip
