"""What the catalogue holds and how fresh it is."""

from datetime import date, datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry.catalog import summary
from instrument_registry.database import DatabaseUnavailable
from instrument_registry.http.correlation import correlation_of
from instrument_registry.http.encoding import json_response, response_time_ms
from instrument_registry.http.openapi import describe
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import room
from instrument_registry.http.stale import from_memory
from instrument_registry.wiring import Registry


class IndexState(msgspec.Struct, frozen=True, kw_only=True):
    """The index that answered: the digest is that of all its rows, to compare workers and the truth."""

    rows: int
    digest: str
    age_seconds: float
    past_days_kept: list[date]


class SegmentRun(msgspec.Struct, frozen=True, kw_only=True):
    """The newest applied run of a broker's segment; a fresh one counts when brokers are compared."""

    broker: str
    segment: str
    ingestion: int
    market_date: date
    rows: int
    finished_at: datetime | None
    age_days: Annotated[int, msgspec.Meta(ge=0)]
    fresh: bool


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of everything as of a market date, those hidden by default too."""

    instruments: int
    by_venue: dict[str, int]
    by_kind: dict[str, int]
    by_status: dict[str, int]
    by_broker: dict[str, int]  # instruments each broker has a token for
    runs: list[SegmentRun] | None  # null: the database is away, and memory does not know
    dumps_waiting: int | None  # kept out, to be released or discarded
    index: IndexState
    as_of: date
    catalog_position: int
    index_age_seconds: float
    correlation_id: str | None
    response_time_ms: float


class SummaryQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As of which market date."""

    as_of: date | None = None


router = room(tag="catalog")


@router.get("/catalog/summary", **describe(query=SummaryQuery, answer=Summary, means="The summary", from_memory=True))
async def catalog_summary(request: Request) -> Response:
    """How many instruments there are of what, which runs they come from, and where the index stands."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, SummaryQuery)
    catalogue = registry.catalogue
    view = (await catalogue.as_of(asked.as_of)).view
    runs, waiting = await _in_tables(registry, view.as_of)
    counts, age = summary.count(view), catalogue.age_seconds
    state = IndexState(
        rows=counts.instruments,
        digest=f"{view.digest:016x}",
        age_seconds=age,
        past_days_kept=sorted(catalogue.days_kept()),
    )
    answer = json_response(
        Summary(
            instruments=counts.instruments, by_venue=counts.by_venue, by_kind=counts.by_kind,
            by_status=counts.by_status, by_broker=counts.by_broker,
            runs=runs,
            dumps_waiting=waiting, index=state, as_of=view.as_of, catalog_position=view.position, index_age_seconds=age,
            correlation_id=correlation_of(request.scope), response_time_ms=response_time_ms(request.scope),
        )
    )  # fmt: skip
    return from_memory(request.scope, answer)


async def _in_tables(registry: Registry, day: date) -> tuple[list[SegmentRun] | None, int | None]:
    """The newest runs and how many dumps wait, where the database answers."""
    try:
        async with registry.database.transaction(read_only=True) as tx:
            runs = await summary.last_runs(tx, day=day)
            waiting = await summary.waiting_dumps(tx)
    except DatabaseUnavailable:
        return None, None
    return [msgspec.convert(run, SegmentRun, from_attributes=True) for run in runs], waiting
