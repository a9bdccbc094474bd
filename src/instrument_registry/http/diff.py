"""What changed in the catalogue between two market dates."""

from datetime import date, datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry.catalog import differences
from instrument_registry.catalog.differences import Span
from instrument_registry.http.correlation import correlation_of
from instrument_registry.http.encoding import Pagination, json_response, response_time_ms
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.queries import KnownAt, read_query
from instrument_registry.http.routes import room
from instrument_registry.wiring import Registry

Several = tuple[Annotated[str, msgspec.Meta(max_length=100)], ...]


class DiffQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two market dates, and which part of the catalogue is compared."""

    first: Annotated[date, msgspec.Meta(description="The earlier market date.")] = msgspec.field(name="from")
    last: Annotated[date, msgspec.Meta(description="The later market date.")] = msgspec.field(name="to")
    venue: Several = ()
    kind: Several = ()
    underlying: Annotated[Several, msgspec.Meta(description="Names: a cash listing's or its contracts' own.")] = ()
    broker: Annotated[Several, msgspec.Meta(description="Changes of these brokers' tokens as well.")] = ()
    change: Annotated[Several, msgspec.Meta(description="Only these sorts of change.")] = ()
    as_known_at: KnownAt | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=differences.PAGE_MAX, description="Changes on a page.")] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one instrument, named like the fact that told it; what came or went has neither old nor new."""

    change: str
    id: str
    key: str
    venue: str
    kind: str
    broker: str | None
    segment: str | None
    field: str | None
    old: str | None
    new: str | None


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """The changes by key; `counts`, of all of them by sort, stands on the first page."""

    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")
    as_known_at: datetime
    counts: dict[str, int] | None
    changes: list[Change]
    pagination: Pagination
    correlation_id: str | None
    response_time_ms: float


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended, and what was known when the first one was asked for: every page tells of that."""

    known_at: datetime
    total: int
    after: tuple[str, ...]


QUESTION = ("first", "last", "venue", "kind", "underlying", "broker", "change", "as_known_at")

router = room(tag="diff")


@router.get("/diff", **describe(query=DiffQuery, answer=Diff, means="What changed"))
async def diff(request: Request) -> Response:
    """What was listed, ended, renamed or changed between two market dates; of brokers that are named, tokens too."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, DiffQuery)
    question = tuple(getattr(asked, name) for name in QUESTION)
    place = decode_cursor(asked.cursor, Place, question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True, isolation="repeatable read") as tx:
        known_at = place.known_at if place else asked.as_known_at or await differences.now_known(tx)
        span = Span(
            first=asked.first, last=asked.last, known_at=known_at, venues=asked.venue, kinds=asked.kind,
            underlyings=asked.underlying, brokers=asked.broker, changes=asked.change,
        )  # fmt: skip
        counts = None if place else await differences.count(tx, span)
        found = await differences.page(tx, span, limit=asked.limit, after=place.after if place else None)
    total = place.total if counts is None and place else sum((counts or {}).values())
    following = None
    if len(found) == asked.limit:
        following = encode_cursor(Place(known_at, total, tuple(found[-1].place)), question=question)
    return json_response(
        Diff(
            first=asked.first, last=asked.last, as_known_at=known_at, counts=counts,
            changes=[msgspec.convert(one, Change, from_attributes=True) for one in found],
            pagination=Pagination(limit=asked.limit, count=len(found), next_cursor=following, total=total),
            correlation_id=correlation_of(request.scope), response_time_ms=response_time_ms(request.scope),
        )
    )  # fmt: skip
