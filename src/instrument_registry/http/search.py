"""Search, lists and suggestions."""

from datetime import date, datetime
from operator import attrgetter
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry.access.limits.model import RouteClass
from instrument_registry.catalog.search import Filters, InvalidQuery, Page, Query, SortBy, SortOrder
from instrument_registry.catalog.search.query import NO_FILTERS, Lot
from instrument_registry.configuration.parameters import MAX_RESULTS_PER_PAGE
from instrument_registry.configuration.toggles import SEARCH_CATALOG
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, list_response
from instrument_registry.http.features import use
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.problems import FieldProblem, refused, shown
from instrument_registry.http.queries import KnownAt, read_query
from instrument_registry.http.routes import room
from instrument_registry.http.shapes import InstrumentPage
from instrument_registry.http.spelling import IN_CAPITALS, WORDS, spelt
from instrument_registry.http.stale import from_memory
from instrument_registry.wiring import Registry

TEXT_LIMIT = 200
USUAL_LIMIT = 20
Limit = Annotated[int, msgspec.Meta(ge=1, le=100, description="Hits on a page.")]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_LIMIT, description="What a trader types.")]
Cursor = Annotated[str, msgspec.Meta(max_length=1024, description="`next_cursor` of the page before.")]
CONDITIONS = Filters.__struct_fields__
_conditions = attrgetter(*CONDITIONS)
NO_CONDITIONS = _conditions(NO_FILTERS)
Several = tuple[Annotated[str, msgspec.Meta(max_length=100)], ...]


class _Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filters as parameters of a query string."""

    limit: Limit = USUAL_LIMIT
    cursor: Cursor | None = None
    as_of: date | None = None
    as_known_at: KnownAt | None = None
    sort_by: SortBy = SortBy.RELEVANCE
    sort_order: SortOrder = SortOrder.ASCENDING
    facets: bool = False
    venue: Several = ()
    exchange: Several = ()
    segment: Several = ()
    kind: Several = ()
    asset_class: Several = ()
    option_type: Several = ()
    series: Several = ()
    broker: Several = ()
    underlying: Several = ()
    expiry_from: date | None = None
    expiry_to: date | None = None
    strike_from: float | None = None
    strike_to: float | None = None
    lot_from: Lot | None = None
    lot_to: Lot | None = None
    has_options: bool | None = None
    status: Several = ()
    include_test: bool = False


class SearchQuery(_Conditions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A search in a query string."""

    query: Text


class ListQuery(_Conditions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list in a query string."""


class SearchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A search in a body."""

    query: Text = ""
    filters: Filters = msgspec.field(default_factory=Filters)
    sort_by: SortBy = SortBy.RELEVANCE
    sort_order: SortOrder = SortOrder.ASCENDING
    limit: Limit = USUAL_LIMIT
    cursor: Cursor | None = None
    facets: bool = False
    as_of: date | None = None
    as_known_at: KnownAt | None = None


router = room(tag="search")


@router.get(
    "/search", **describe(query=SearchQuery, answer=InstrumentPage, means="The hits, best first", from_memory=True)
)
async def search(request: Request) -> Response:
    """Find instruments by what a trader types."""
    asked = read_query(request.scope, SearchQuery)
    return await _answer(
        request, _query(asked, text=asked.query), as_of=asked.as_of, known_at=asked.as_known_at, where="query"
    )


@router.post(
    "/search", **describe(body=SearchBody, answer=InstrumentPage, means="The hits, best first", from_memory=True)
)
@costs(RouteClass.READ)
async def search_by_body(request: Request) -> Response:
    """The same with conditions as JSON."""
    asked = await read_json(request, SearchBody)
    query = Query(
        text=asked.query, filters=_spelt(asked.filters, where="body.filters"), sort_by=asked.sort_by,
        sort_order=asked.sort_order, limit=asked.limit, cursor=asked.cursor, facets=asked.facets,
    )  # fmt: skip
    return await _answer(request, query, as_of=asked.as_of, known_at=asked.as_known_at, where="body")


@router.get(
    "/instruments", **describe(query=ListQuery, answer=InstrumentPage, means="The instruments", from_memory=True)
)
async def list_instruments(request: Request) -> Response:
    """Every instrument that fulfils the conditions, page by page."""
    asked = read_query(request.scope, ListQuery)
    return await _answer(request, _query(asked, text=""), as_of=asked.as_of, known_at=asked.as_known_at, where="query")


def _query(asked: _Conditions, *, text: str) -> Query:
    conditions = _conditions(asked)
    filters = NO_FILTERS if conditions == NO_CONDITIONS else Filters(**dict(zip(CONDITIONS, conditions, strict=True)))
    return Query(
        text=text, filters=_spelt(filters, where="query"), sort_by=asked.sort_by,
        sort_order=asked.sort_order, limit=asked.limit, cursor=asked.cursor, facets=asked.facets,
    )  # fmt: skip


def _spelt(filters: Filters, *, where: str) -> Filters:
    if filters is NO_FILTERS or filters == NO_FILTERS:
        return NO_FILTERS
    given = {name: values for name in (*WORDS, *IN_CAPITALS) if (values := getattr(filters, name))}
    return msgspec.structs.replace(filters, **spelt(given, where=where))


async def _answer(
    request: Request, query: Query, *, as_of: date | None, known_at: datetime | None, where: str
) -> Response:
    registry: Registry = request.app.state.registry
    catalogue, terms = registry.catalogue, registry.configuration.now
    use(request.scope, SEARCH_CATALOG)
    most = terms[MAX_RESULTS_PER_PAGE]
    if query.limit > most and query.limit == USUAL_LIMIT:
        query = msgspec.structs.replace(query, limit=most)
    if query.limit > most:
        remedy = f"Ask for at most {most}; an operator set MAX_RESULTS_PER_PAGE"
        problem = FieldProblem(
            field=f"{where}.limit", problem=f"is more than {most}", remedy=remedy, value=shown(query.limit)
        )
        raise refused([problem])
    index = await catalogue.as_of(as_of, known_at=known_at)
    try:
        page: Page = catalogue.answers.search(index, query, terms=terms, known_at=known_at)
    except InvalidQuery as error:
        remedy = "Take next_cursor from the page before, with the same question, or leave it out to start again"
        problem = FieldProblem(field=f"{where}.cursor", problem=str(error), remedy=remedy, value=shown(query.cursor))
        raise refused([problem]) from error
    pagination = Pagination(limit=query.limit, count=len(page.hits), next_cursor=page.next_cursor, total=page.total)
    answer = list_response(
        request.scope, msgspec.Raw(page.body), pagination=pagination, catalog_position=page.position,
        index_age_seconds=catalogue.age_seconds, as_of=page.as_of, facets=page.facets,
    )  # fmt: skip
    return from_memory(request.scope, answer)
