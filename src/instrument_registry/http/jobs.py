"""Jobs: work that was accepted and is done after the answer has left."""

from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry.catalog.ingestion import jobs
from instrument_registry.catalog.ingestion.jobs import Job, JobStatus, NoSuchJob
from instrument_registry.catalog.ingestion.model import Outcome
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import numbered
from instrument_registry.http.problems import FieldProblem, refused, shown
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import PREFIX, room
from instrument_registry.wiring import Registry

IDEMPOTENCY_KEY = "Idempotency-Key"
KEY_CHARACTERS = 200
# For the routes that make jobs.
JOB_HEADERS = {IDEMPOTENCY_KEY: "The same request sent again with the same key is the same job, not another one."}


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a job was asked for: an ingestion by its broker and what else was said, a release by run and reason."""

    broker: str | None = None
    sources: list[str] = []
    market_date: date | None = None
    scope: list[str] = []
    allow_older: bool = False
    dry_run: bool = False
    file_name: str | None = None  # of an uploaded dump
    sha256: str | None = None  # of its bytes as they came
    ingestion: int | None = None
    reason: str | None = None


class JobProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed."""

    kind: str  # /problems/{kind} says more of those the registry foresees
    title: str
    detail: str
    facts: dict[str, Any] = {}


class JobShown(msgspec.Struct, frozen=True, kw_only=True):
    """A job; once it is done `outcome` says how the run ended, once it has failed `problem` says why."""

    id: int
    what: str
    status: JobStatus
    request: JobRequest
    outcome: Outcome | None
    problem: JobProblem | None
    attempts: int
    actor: str
    correlation_id: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs, the newest first."""

    jobs: list[JobShown]
    pagination: Pagination


class JobsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which jobs to list."""

    status: JobStatus | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


router = room(tag="jobs")


@router.get("/jobs", **describe(query=JobsQuery, answer=JobPage, means="The jobs"))
async def list_jobs(request: Request) -> Response:
    """Ingestions and releases that were asked for by HTTP or by a schedule."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, JobsQuery)
    question = ("jobs", asked.status)
    before = decode_cursor(asked.cursor, int, question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        found = await jobs.listed(tx, status=asked.status, before=before, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].id, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(JobPage(jobs=[_shown(job) for job in page], pagination=pagination))


@router.get("/jobs/{job}", **describe(answer=JobShown, means="The job", problems=(NoSuchJob,)))
async def one_job(request: Request) -> Response:
    """How a job stands: ask again until its status is done or failed."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        job = await jobs.find(tx, numbered(request.scope, "job"))
    return json_response(_shown(job), headers={"cache-control": "no-store"})


def accepted(job: Job) -> Response:
    """The answer to whoever asked for a job: where it is."""
    return json_response(_shown(job), 202, headers={"location": f"{PREFIX}/jobs/{job.id}"})


def idempotency_key(request: Request) -> str | None:
    """The caller's own name for this request, if one was sent.

    Raises: InvalidRequest.
    """
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return None
    if not (1 <= len(key) <= KEY_CHARACTERS and key.isascii() and key.isprintable() and " " not in key):
        remedy = f"Send 1 to {KEY_CHARACTERS} printable ASCII characters without a space"
        raise refused(
            [FieldProblem(field=f"header.{IDEMPOTENCY_KEY}", problem="is no key", remedy=remedy, value=shown(key))]
        )
    return key


def _shown(job: Job) -> JobShown:
    result = job.result or {}
    problem = result.get("problem")
    return JobShown(
        id=job.id, what=job.what, status=job.status, request=msgspec.convert(job.arguments, JobRequest),
        outcome=msgspec.convert(result, Outcome) if result and problem is None else None,
        problem=msgspec.convert(problem, JobProblem) if problem else None, attempts=job.attempts, actor=job.actor,
        correlation_id=job.correlation_id, created_at=job.created_at, started_at=job.started_at,
        finished_at=job.finished_at,
    )  # fmt: skip
