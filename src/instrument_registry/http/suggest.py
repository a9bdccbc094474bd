"""Completions while somebody types."""

from datetime import date
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry.catalog.search import Query
from instrument_registry.catalog.suggesting import suggest
from instrument_registry.configuration.toggles import SEARCH_CATALOG
from instrument_registry.http.correlation import correlation_of
from instrument_registry.http.encoding import json_response, response_time_ms
from instrument_registry.http.features import use
from instrument_registry.http.openapi import describe
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import room
from instrument_registry.http.shapes import Suggestion
from instrument_registry.http.stale import from_memory
from instrument_registry.wiring import Registry


class SuggestQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has been typed so far."""

    query: Annotated[str, msgspec.Meta(max_length=100)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 10
    as_of: date | None = None


class SuggestAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What it may become, the likeliest first."""

    suggestions: list[Suggestion]
    as_of: date
    catalog_position: int
    index_age_seconds: float
    correlation_id: str | None
    response_time_ms: float


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    symbol: str
    name: str | None


router = room(tag="search")


@router.get(
    "/search/suggest", **describe(query=SuggestQuery, answer=SuggestAnswer, means="The suggestions", from_memory=True)
)
async def suggestions(request: Request) -> Response:
    """Names that begin like what was typed, one suggestion each; for anything else the first hits of a search."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, SuggestQuery)
    catalogue = registry.catalogue
    use(request.scope, SEARCH_CATALOG)
    index = await catalogue.as_of(asked.as_of)
    view = index.view
    rows = suggest(view, asked.query, limit=asked.limit)
    if not rows and asked.query.strip():
        page = catalogue.answers.search(
            index, Query(text=asked.query, limit=asked.limit), terms=registry.configuration.now
        )
        shown = msgspec.json.decode(page.body, type=list[_Row])
    else:
        shown = [msgspec.json.decode(view.fragment(row) + b"}", type=_Row) for row in rows]
    found = [Suggestion(text=row.symbol, key=row.key, name=row.name) for row in shown]
    answer = json_response(
        SuggestAnswer(
            suggestions=found, as_of=view.as_of, catalog_position=view.position,
            index_age_seconds=catalogue.age_seconds, correlation_id=correlation_of(request.scope),
            response_time_ms=response_time_ms(request.scope),
        )
    )  # fmt: skip
    return from_memory(request.scope, answer)
