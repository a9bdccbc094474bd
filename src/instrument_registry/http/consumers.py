"""Consumers: who follows the facts, how far they are, and what they acknowledge."""

from datetime import datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import Scope
from instrument_registry.errors import NotFound
from instrument_registry.events.model import Archived
from instrument_registry.events.streams import consumers, delivering
from instrument_registry.events.streams.model import (
    BATCH_MAX,
    CONSUMER_ID,
    DETAIL_CHARACTERS,
    REASON_CHARACTERS,
    ConsumerExists,
    Failed,
    NoSuchConsumer,
    Standing,
    Wanted,
)
from instrument_registry.events.streams.signals import wake
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.event_shapes import ConsumerId, EventTypes, From, start_of
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named
from instrument_registry.http.problems import FieldProblem, refused
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.http.streams import Process, retrying_of
from instrument_registry.wiring import Registry

UNKEPT = {"cache-control": "no-store"}
LARGEST = 2**63 - 1

Place = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
Places = Annotated[list[Place], msgspec.Meta(max_length=BATCH_MAX)]


class ConsumerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """A consumer's name, which events it gets, and where it begins."""

    consumer_id: ConsumerId
    event_types: EventTypes = msgspec.field(default_factory=lambda: ["*"])
    start: Place | From = "latest"
    bulk: bool = False
    shared: bool = False


class SeekBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """Where a consumer is to go on, and why."""

    start: Place | From
    reason: Reason


class ConsumerRemovalQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a consumer is removed."""

    reason: Reason


class FailedEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event that could not be digested: the reason groups (the kind of failure), the detail tells."""

    position: Place
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_CHARACTERS)]
    detail: Annotated[str, msgspec.Meta(max_length=DETAIL_CHARACTERS)] | None = None


class AcknowledgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done (one by one, or everything in hand up to a position), what failed, what was not looked at."""

    positions: Places = []
    up_to: Place | None = None
    process: Process | None = None  # whose hands `up_to` and `leaving` mean
    failed: Annotated[list[FailedEvent], msgspec.Meta(max_length=BATCH_MAX)] = []
    unread: Places = []
    leaving: bool = False  # everything that is not among `begun` was not looked at
    begun: Places = []


class AcknowledgedShown(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; `unknown` were not in this consumer's hands, for example because they had come back already."""

    acknowledged: int
    retried: int
    dead: list[int]
    unread: int
    unknown: list[int]
    position: int


class ConsumerShown(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer; everything up to `position` is settled, `lag` counts what is not."""

    consumer_id: str
    event_types: list[str]
    bulk: bool
    shared: bool
    position: int
    reached: int
    lag: int
    held: int
    waiting: int
    dead_letters: int
    processes: list[str]
    created_at: datetime
    created_by: str
    seen_at: datetime


class ConsumerPage(msgspec.Struct, frozen=True, kw_only=True):
    """Consumers by name."""

    consumers: list[ConsumerShown]
    pagination: Pagination


class ConsumersQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which consumers to list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class NoSuchName(NotFound):
    """A consumer's name has letters, digits, dots, colons, dashes and underscores."""

    title = "No consumer can have this name"


router = room(tag="consumers")


@router.get("/consumers", **describe(query=ConsumersQuery, answer=ConsumerPage, means="The consumers"))
async def list_consumers(request: Request) -> Response:
    """Who follows the facts, and how far behind."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, ConsumersQuery)
    after = decode_cursor(asked.cursor, str, question="consumers") if asked.cursor else ""
    async with registry.database.transaction(read_only=True) as tx:
        found = await consumers.listed(tx, after=after, limit=asked.limit + 1)
    page = found[: asked.limit]
    last = page[-1].consumer.consumer_id if len(found) > asked.limit else None
    following = encode_cursor(last, question="consumers") if last else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(ConsumerPage(consumers=[_shown(one) for one in page], pagination=pagination), headers=UNKEPT)


@router.post(
    "/consumers",
    **describe(
        body=ConsumerBody, answer=ConsumerShown, status=201, means="It can follow", problems=(ConsumerExists, Archived)
    ),
)
async def create_consumer(request: Request) -> Response:
    """Make a consumer before it first asks, for example to begin at the earliest."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, ConsumerBody)
    wanted = Wanted(event_types=consumers.distinct(asked.event_types), bulk=asked.bulk, shared=asked.shared)
    start, metadata = start_of(str(asked.start), field="from"), metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        await consumers.create(tx, asked.consumer_id, wanted, start=start, metadata=metadata, at=registry.clock())
        standing = await consumers.find(tx, asked.consumer_id)
    await events.wake(registry.database)
    return json_response(_shown(standing), 201)


@router.get("/consumers/{consumer}", **describe(answer=ConsumerShown, means="The consumer", problems=(NoSuchConsumer,)))
async def one_consumer(request: Request) -> Response:
    """How a consumer is doing."""
    registry: Registry = request.app.state.registry
    name = _name(request)
    async with registry.database.transaction(read_only=True) as tx:
        standing = await consumers.find(tx, name)
    return json_response(_shown(standing), headers=UNKEPT)


@router.post(
    "/consumers/{consumer}/acknowledge",
    **describe(body=AcknowledgeBody, answer=AcknowledgedShown, means="It is settled", problems=(NoSuchConsumer,)),
)
@costs(RouteClass.READ)
async def acknowledge(request: Request) -> Response:
    """Say what is done, what failed (it comes again, and in the end is a dead letter), and what was not looked at."""
    registry: Registry = request.app.state.registry
    asked, name = await read_json(request, AcknowledgeBody), _name(request)
    failed = [Failed(one.position, one.reason, one.detail) for one in asked.failed]
    async with registry.database.transaction() as tx:
        if asked.leaving and asked.process is None:
            remedy = "Send the process that is leaving"
            raise refused([FieldProblem(field="body.process", problem="is missing", remedy=remedy)])
        if asked.up_to is not None and asked.process is None and (await consumers.find(tx, name)).consumer.shared:
            remedy = "Send the process, or positions one by one: others hold events too"
            raise refused([FieldProblem(field="body.process", problem="is missing", remedy=remedy)])
        done, awaited = await delivering.acknowledge(
            tx, name, positions=asked.positions, up_to=asked.up_to, process=asked.process, failed=failed,
            unread=asked.unread, leaving=asked.leaving, begun=asked.begun,
            retrying=retrying_of(registry.configuration.now), at=registry.clock(),
        )  # fmt: skip
    if awaited:
        await wake(registry.database, name)
    return json_response(
        AcknowledgedShown(
            acknowledged=done.acknowledged,
            retried=done.retried,
            dead=done.dead,
            unread=done.unread,
            unknown=done.unknown,
            position=done.position,
        )
    )


@router.post(
    "/consumers/{consumer}/seek",
    **describe(body=SeekBody, answer=ConsumerShown, means="It goes on there", problems=(NoSuchConsumer, Archived)),
)
@needs(Scope.OPERATOR)
async def seek_consumer(request: Request) -> Response:
    """Let a consumer go on from elsewhere; what it holds is forgotten."""
    registry: Registry = request.app.state.registry
    asked, name = await read_json(request, SeekBody), _name(request)
    start, metadata = start_of(str(asked.start), field="from"), metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        standing = await consumers.seek(tx, name, start, reason=asked.reason, metadata=metadata, at=registry.clock())
    await events.wake(registry.database)
    await wake(registry.database, name)
    return json_response(_shown(standing))


@router.delete(
    "/consumers/{consumer}",
    **describe(query=ConsumerRemovalQuery, answer=ConsumerShown, means="It is gone", problems=(NoSuchConsumer,)),
)
@needs(Scope.OPERATOR)
async def remove_consumer(request: Request) -> Response:
    """Remove a consumer; its dead letters stay as long as they are kept."""
    registry: Registry = request.app.state.registry
    asked, name = read_query(request.scope, ConsumerRemovalQuery), _name(request)
    metadata = metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        standing = await consumers.remove(tx, name, reason=asked.reason, metadata=metadata, at=registry.clock())
    await events.wake(registry.database)
    await wake(registry.database, name)
    return json_response(_shown(standing))


def _name(request: Request) -> str:
    name = named(request.scope, "consumer")
    if not CONSUMER_ID.fullmatch(name):
        raise NoSuchName(f"No consumer can be called {name[:100]}")
    return name


def _shown(standing: Standing) -> ConsumerShown:
    one = standing.consumer
    return ConsumerShown(
        consumer_id=one.consumer_id, event_types=one.event_types, bulk=one.bulk, shared=one.shared,
        position=standing.position, reached=one.reached, lag=standing.lag, held=standing.held,
        waiting=standing.waiting, dead_letters=standing.dead_letters, processes=standing.processes,
        created_at=one.created_at, created_by=one.created_by, seen_at=one.seen_at,
    )  # fmt: skip
