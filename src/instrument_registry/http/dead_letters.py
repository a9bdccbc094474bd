"""Dead letters: what consumers could not digest, grouped by reason; another try for one or many, or none any more."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.configuration.parameters import DLQ_RETENTION_HOURS
from instrument_registry.database import Transaction
from instrument_registry.events import EventNotFound
from instrument_registry.events.model import Archived
from instrument_registry.events.streams import dead_letters
from instrument_registry.events.streams.model import (
    REASON_CHARACTERS,
    DeadLetter,
    Letters,
    NoSuchConsumer,
    NoSuchDeadLetter,
    OtherCount,
)
from instrument_registry.events.streams.signals import wake
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.event_shapes import ConsumerId, EventShown, event_json
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named, numbered
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.wiring import Registry

UNKEPT = {"cache-control": "no-store"}

Why = Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_CHARACTERS)]
Type = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class DeadLetterGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of one type that died for one reason."""

    event_type: str
    reason: str
    count: int
    first_died_at: datetime
    last_died_at: datetime
    consumers: list[str]


class DeadLetterGroups(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters by type and reason, the most frequent first."""

    groups: list[DeadLetterGroup]
    total: int
    kept_hours: int


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One failure of an event: what the consumer said, or that it never said anything."""

    reason: str
    at: str | None = None
    detail: str | None = None
    attempt: int | None = None


class DeadLetterShown(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a consumer gave up, with its failures; `event` is there when one is shown alone."""

    id: int
    consumer_id: str
    position: int
    event_id: UUID
    event_type: str
    reason: str
    attempts: int
    failures: list[Failure]
    died_at: datetime
    event: EventShown | None = None


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of one type, the oldest first."""

    dead_letters: list[DeadLetterShown]
    pagination: Pagination


class GroupsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose dead letters."""

    consumer_id: ConsumerId | None = None


class LettersQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters of a type to list."""

    consumer_id: ConsumerId | None = None
    reason: Why | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class AgainBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why there is another try."""

    reason: Reason


class ManyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters, and why. First a dry run, which counts; then the same with `expected` as it counted."""

    reason: Reason
    event_type: Type | None = None
    consumer_id: ConsumerId | None = None
    failure: Why | None = None  # the reason they died for
    ids: Annotated[list[Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]], msgspec.Meta(max_length=1000)] | None = None
    died_before: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    dry_run: bool = True
    expected: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None


class ManyDone(msgspec.Struct, frozen=True, kw_only=True):
    """How many were meant, which were done (at most a thousand at once: ask again for the rest)."""

    count: int
    dry_run: bool
    done: list[int]


router = room(tag="dead letters")


@router.get("/events/dlq", **describe(query=GroupsQuery, answer=DeadLetterGroups, means="The dead letters by reason"))
async def list_groups(request: Request) -> Response:
    """What consumers could not digest, by type and reason."""
    registry: Registry = request.app.state.registry
    meant = Letters(consumer_id=read_query(request.scope, GroupsQuery).consumer_id)
    async with registry.database.transaction(read_only=True) as tx:
        groups, total = await dead_letters.groups(tx, meant), await dead_letters.count(tx, meant)
    shown = [
        DeadLetterGroup(
            event_type=one.event_type, reason=one.reason, count=one.count, first_died_at=one.first_died_at,
            last_died_at=one.last_died_at, consumers=one.consumers,
        )
        for one in groups
    ]  # fmt: skip
    body = DeadLetterGroups(groups=shown, total=total, kept_hours=registry.configuration.now[DLQ_RETENTION_HOURS])
    return json_response(body, headers=UNKEPT)


@router.post(
    "/events/dlq/replay",
    **describe(body=ManyBody, answer=ManyDone, means="They are tried again", problems=(NoSuchConsumer, OtherCount)),
)
@needs(Scope.OPERATOR)
async def replay_letters(request: Request) -> Response:
    """Give many dead letters another try: their count first, then, if it is still the same, the try."""
    return await _many(request, again=True)


@router.post(
    "/events/dlq/discard",
    **describe(body=ManyBody, answer=ManyDone, means="They are given up", problems=(OtherCount,)),
)
@needs(Scope.OPERATOR)
async def discard_letters(request: Request) -> Response:
    """Give dead letters up for good: their count first, then, if it is still the same, the end."""
    return await _many(request, again=False)


@router.get(
    "/events/dlq/{type}", **describe(query=LettersQuery, answer=DeadLetterPage, means="The dead letters of a type")
)
async def list_letters(request: Request) -> Response:
    """The dead letters of one event type, with every failure that led to them."""
    registry: Registry = request.app.state.registry
    asked, type_ = read_query(request.scope, LettersQuery), named(request.scope, "type")
    question = ("dead letters", type_, asked.consumer_id, asked.reason)
    after = decode_cursor(asked.cursor, int, question=question) if asked.cursor else 0
    meant = Letters(event_type=type_, consumer_id=asked.consumer_id, reason=asked.reason)
    async with registry.database.transaction(read_only=True) as tx:
        found = await dead_letters.listed(tx, meant, after=after, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].id, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    body = DeadLetterPage(dead_letters=[_shown(one) for one in page], pagination=pagination)
    return json_response(body, headers=UNKEPT)


@router.get(
    "/events/dlq/{type}/{id}",
    **describe(answer=DeadLetterShown, means="The dead letter", problems=(NoSuchDeadLetter,)),
)
async def one_letter(request: Request) -> Response:
    """A dead letter with its failures and the event itself."""
    registry: Registry = request.app.state.registry
    type_, letter = named(request.scope, "type"), numbered(request.scope, "id")
    async with registry.database.transaction(read_only=True) as tx:
        found = await dead_letters.find(tx, type_, letter)
        event = await _event(tx, found)
    body = {field: getattr(_shown(found), field) for field in DeadLetterShown.__struct_fields__}
    return json_response(body | {"event": event}, headers=UNKEPT)


@router.post(
    "/events/dlq/{type}/reprocess/{id}",
    **describe(
        body=AgainBody, answer=DeadLetterShown, means="It is tried again", problems=(NoSuchDeadLetter, NoSuchConsumer)
    ),
)
@needs(Scope.OPERATOR)
async def reprocess_letter(request: Request) -> Response:
    """Give exactly this event another try, at the consumer that gave it up."""
    registry: Registry = request.app.state.registry
    type_, letter = named(request.scope, "type"), numbered(request.scope, "id")
    asked, metadata = await read_json(request, AgainBody), metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        found = await dead_letters.replay(
            tx, type_, letter, reason=asked.reason, metadata=metadata, at=registry.clock()
        )
    await _tell(registry, [found])
    return json_response(_shown(found))


async def _many(request: Request, *, again: bool) -> Response:
    registry: Registry = request.app.state.registry
    asked, metadata = await read_json(request, ManyBody), metadata_of(request.scope)
    meant = Letters(
        event_type=asked.event_type, consumer_id=asked.consumer_id, reason=asked.failure, ids=asked.ids,
        before=asked.died_before,
    )  # fmt: skip
    if asked.dry_run or asked.expected is None:
        async with registry.database.transaction(read_only=True) as tx:
            count = await dead_letters.count(tx, meant)
        if not asked.dry_run:
            raise OtherCount(f"Say that {count} are expected", count=count)
        return json_response(ManyDone(count=count, dry_run=True, done=[]))
    work = dead_letters.replay_many if again else dead_letters.discard
    async with registry.database.transaction() as tx:
        done = await work(
            tx, meant, expected=asked.expected, reason=asked.reason, metadata=metadata, at=registry.clock()
        )
    await _tell(registry, done)
    return json_response(ManyDone(count=asked.expected, dry_run=False, done=[one.id for one in done]))


async def _tell(registry: Registry, done: list[DeadLetter]) -> None:
    await events.wake(registry.database)
    for consumer_id in sorted({one.consumer_id for one in done}):
        await wake(registry.database, consumer_id)


async def _event(tx: Transaction, letter: DeadLetter) -> msgspec.Raw | None:
    try:
        return event_json(await events.find(tx, letter.event_id), name=letter.event_type)
    except (EventNotFound, Archived):
        return None


def _shown(letter: DeadLetter) -> DeadLetterShown:
    failures: list[Any] = list(letter.failures)
    return DeadLetterShown(
        id=letter.id, consumer_id=letter.consumer_id, position=letter.position, event_id=letter.event_id,
        event_type=letter.event_type, reason=letter.reason, attempts=letter.attempts,
        failures=msgspec.convert(failures, list[Failure]), died_at=letter.died_at,
    )  # fmt: skip
