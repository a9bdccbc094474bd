"""Ingestions: the report of every run, the rows it set aside, and deciding about dumps that were kept out."""

from datetime import date
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.catalog.ingestion import jobs, release, reports
from instrument_registry.catalog.ingestion.jobs import KeyUsedOtherwise
from instrument_registry.catalog.ingestion.model import NotHeld, RunStatus
from instrument_registry.catalog.ingestion.release import CannotBeReleased
from instrument_registry.catalog.ingestion.reports import IngestionReport, IngestionRun, NoSuchRun, SetAside, Wanted
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.jobs import JOB_HEADERS, JobShown, accepted, idempotency_key
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import numbered
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.wiring import Registry

Cursor = Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)]


class IngestionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Runs, the newest first."""

    ingestions: list[IngestionRun]
    pagination: Pagination


class IngestionsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Which runs to list; `from` and `to` are market dates, both included."""

    broker: Annotated[str, msgspec.Meta(min_length=1, max_length=40)] | None = None
    status: list[RunStatus] = []
    from_: date | None = None
    to: date | None = None
    held: Annotated[bool, msgspec.Meta(description="Only dumps that wait for a decision.")] = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    cursor: Cursor | None = None


class SetAsidePage(msgspec.Struct, frozen=True, kw_only=True):
    """Rows and values a run did not take, in the order of its files."""

    set_aside: list[SetAside]
    pagination: Pagination


class SetAsideQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of them."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Cursor | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a dump that was kept out is let through, or given up."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=release.LONGEST_REASON)]


router = room(tag="ingestions")


@router.get("/ingestions", **describe(query=IngestionsQuery, answer=IngestionPage, means="The runs"))
async def list_ingestions(request: Request) -> Response:
    """Runs of ingestion, however they ended."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, IngestionsQuery)
    question = ("ingestions", asked.broker, asked.status, asked.from_, asked.to, asked.held)
    before = decode_cursor(asked.cursor, int, question=question) if asked.cursor else None
    wanted = Wanted(broker=asked.broker, statuses=asked.status, since=asked.from_, until=asked.to, held=asked.held)
    async with registry.database.transaction(read_only=True) as tx:
        found = await reports.listed(tx, wanted, before=before, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].id, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(IngestionPage(ingestions=page, pagination=pagination))


@router.get("/ingestions/{ingestion}", **describe(answer=IngestionReport, means="The report", problems=(NoSuchRun,)))
async def one_ingestion(request: Request) -> Response:
    """The report of a run: counts, reasons, warnings, files, times, gaps against other brokers and the run before."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        found = await reports.report(tx, numbered(request.scope, "ingestion"))
    return json_response(found)


@router.get(
    "/ingestions/{ingestion}/set-aside",
    **describe(query=SetAsideQuery, answer=SetAsidePage, means="What was set aside", problems=(NoSuchRun,)),
)
async def ingestion_set_aside(request: Request) -> Response:
    """What a run did not take: file, line, field, value and the reason."""
    registry: Registry = request.app.state.registry
    asked, run = read_query(request.scope, SetAsideQuery), numbered(request.scope, "ingestion")
    question = ("set-aside", run)
    after = decode_cursor(asked.cursor, int, question=question) if asked.cursor else 0
    async with registry.database.transaction(read_only=True) as tx:
        found = await reports.rows_set_aside(tx, run, after=after, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(after + asked.limit, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(SetAsidePage(set_aside=page, pagination=pagination))


@router.post(
    "/ingestions/{ingestion}/release",
    **describe(
        body=Decision, headers=JOB_HEADERS, answer=JobShown, status=202, means="The job",
        problems=(NoSuchRun, NotHeld, CannotBeReleased, KeyUsedOtherwise),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def release_ingestion(request: Request) -> Response:
    """Let a dump through that was kept out: what its gates said becomes warnings of the run that applies it."""
    registry: Registry = request.app.state.registry
    run, key = numbered(request.scope, "ingestion"), idempotency_key(request)
    asked = await read_json(request, Decision)
    async with registry.database.transaction() as tx:
        job, is_new = await jobs.submit(
            tx, jobs.RELEASE, {"ingestion": run, "reason": asked.reason}, metadata=metadata_of(request.scope),
            at=registry.clock(), idempotency_key=key,
        )  # fmt: skip
        if is_new:  # else it may have been released meanwhile, by this very job
            await release.check(tx, run, reason=asked.reason)
    return accepted(job)


@router.post(
    "/ingestions/{ingestion}/discard",
    **describe(body=Decision, answer=IngestionReport, means="It is given up", problems=(NoSuchRun, NotHeld)),
)
@needs(Scope.OPERATOR)
async def discard_ingestion(request: Request) -> Response:
    """Give up a dump that was kept out: its files go, its report stays."""
    registry: Registry = request.app.state.registry
    run = numbered(request.scope, "ingestion")
    asked = await read_json(request, Decision)
    async with registry.database.transaction() as tx:
        await release.discard(tx, run, reason=asked.reason, metadata=metadata_of(request.scope), at=registry.clock())
        found = await reports.report(tx, run)
    await events.wake(registry.database)
    return json_response(found)
