"""Work that somebody asked for and a background worker does: kept in the database, so that nobody's death loses it."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from psycopg.rows import kwargs_row

from instrument_registry.breakers import Breakers
from instrument_registry.catalog.ingestion import release
from instrument_registry.catalog.ingestion.addresses import FetchRefused, check_url
from instrument_registry.catalog.ingestion.intake import Asked, take_in
from instrument_registry.catalog.ingestion.model import USUAL, Bounds, Outcome
from instrument_registry.clock import Clock
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Conflict, NotFound
from instrument_registry.events import Metadata
from instrument_registry.outbound.addresses import Network
from instrument_registry.telemetry import tracing

LOCK = 0x6972_6A6F_6273  # "irjobs": whoever works jobs off holds it, as long as its session lives
ATTEMPTS_MAX = 3
PIECE_BYTES = 1024 * 1024

INGEST, RELEASE = "ingest", "release"

Arguments = dict[str, Any]  # JSON as it is stored: its shape depends on what is asked for

COLUMNS = """id, what, arguments, status, result, attempts, actor, correlation_id, created_at, started_at, finished_at,
    traceparent"""

INSERT = f"""
insert into jobs (what, arguments, status, actor, correlation_id, created_at, idempotency_key, traceparent)
values (%(what)s, %(arguments)s, 'queued', %(actor)s, %(correlation_id)s, %(at)s, %(key)s, %(traceparent)s)
    on conflict (actor, idempotency_key) where idempotency_key is not null do nothing
returning {COLUMNS}
"""

TAKE = f"""
update jobs set status = 'running', attempts = attempts + 1, started_at = %(at)s
 where id = (select id from jobs where status = 'queued' order by id for update skip locked limit 1)
returning {COLUMNS}
"""

# Whoever holds the lock and has not begun a job yet knows that nobody else works on one.
RECOVER = f"""
update jobs set status = case when attempts < {ATTEMPTS_MAX} then 'queued' else 'failed' end,
       finished_at = case when attempts < {ATTEMPTS_MAX} then null else %(at)s end,
       result = case when attempts < {ATTEMPTS_MAX} then null else %(abandoned)s::jsonb end
 where status = 'running' returning id, status
"""

LIST = f"""
select {COLUMNS} from jobs
 where (%(status)s::text is null or status = %(status)s) and (%(before)s::bigint is null or id < %(before)s)
 order by id desc limit %(limit)s
"""

FINISH = """
update jobs set status = %(status)s, result = %(result)s, finished_at = %(at)s
 where id = %(id)s and status = 'running' and attempts = %(attempts)s
"""


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class NoSuchJob(NotFound):
    """Take the id from the answer that accepted the job."""

    title = "There is no such job"


class KeyUsedOtherwise(Conflict):
    """Send a new Idempotency-Key for a new request."""

    title = "The Idempotency-Key stands for another request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work; `result` is there once it has ended."""

    id: int
    what: str
    arguments: Arguments
    status: JobStatus
    result: dict[str, Any] | None
    attempts: int
    actor: str
    correlation_id: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    traceparent: str | None = None


async def submit(
    tx: Transaction,
    what: str,
    arguments: Arguments,
    *,
    metadata: Metadata,
    at: datetime,
    idempotency_key: str | None = None,
) -> tuple[Job, bool]:
    """A new job, or the one that this caller's key brought before; and whether it is new.

    Raises: KeyUsedOtherwise.
    """
    values = {
        "what": what, "arguments": json.dumps(arguments), "actor": metadata.actor,
        "correlation_id": metadata.correlation_id, "at": at, "key": idempotency_key,
        "traceparent": metadata.traceparent,
    }  # fmt: skip
    job = await _one(tx, INSERT, values)
    if job is not None:
        return job, True
    statement = f"select {COLUMNS} from jobs where actor = %(actor)s and idempotency_key = %(key)s"
    job = await _one(tx, statement, values)
    assert job is not None  # it is what the insertion met
    if (job.what, job.arguments) != (what, json.loads(json.dumps(arguments))):
        raise KeyUsedOtherwise(f"It was sent with job {job.id}, which is not the same", job=job.id)
    return job, False


async def attach(tx: Transaction, job: int, file: IO[bytes]) -> None:
    """Keep an uploaded dump with its job, until that has ended."""
    for piece, content in enumerate(iter(lambda: file.read(PIECE_BYTES), b"")):
        await tx.execute("insert into job_uploads values (%s, %s, %s)", (job, piece, content))


async def find(tx: Transaction, job: int) -> Job:
    """The job with an id; Raises: NoSuchJob."""
    found = await _one(tx, f"select {COLUMNS} from jobs where id = %(id)s", {"id": job})
    if found is None:
        raise NoSuchJob(f"No job has the id {job}")
    return found


async def listed(
    tx: Transaction, *, status: JobStatus | None = None, limit: int, before: int | None = None
) -> list[Job]:
    """Jobs, the newest first; `before` goes on after one that was listed."""
    async with tx.cursor(row_factory=kwargs_row(_job)) as cursor:
        await cursor.execute(LIST.encode(), {"status": status, "before": before, "limit": limit})
        return await cursor.fetchall()


async def lead(session: Transaction) -> bool:
    """Whether this session may work jobs off; it may until it ends."""
    row = await (await session.execute("select pg_try_advisory_lock(%s)", (LOCK,))).fetchone()
    return bool(row and row[0])


async def recover(tx: Transaction, *, at: datetime) -> list[tuple[int, str]]:
    """Jobs whose worker died run again, a few times; how each of them stands now."""
    abandoned = json.dumps(
        {
            "problem": {
                "kind": "Abandoned",
                "title": "The job was given up",
                "detail": f"Its worker died {ATTEMPTS_MAX} times",
            }
        }
    )
    cursor = await tx.execute(RECOVER, {"at": at, "abandoned": abandoned})
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def take(tx: Transaction, *, at: datetime) -> Job | None:
    """The next job, which is running from now on."""
    return await _one(tx, TAKE, {"at": at})


async def finish(tx: Transaction, job: Job, *, status: JobStatus, result: dict[str, object], at: datetime) -> None:
    """Record how a job ended and let go of what came with it."""
    values = {"id": job.id, "attempts": job.attempts, "status": status, "result": json.dumps(result), "at": at}
    cursor = await tx.execute(FINISH, values)
    if cursor.rowcount:  # else somebody took it over
        await tx.execute("delete from job_uploads where job_id = %s", (job.id,))


async def perform(
    database: Database,
    job: Job,
    *,
    clock: Clock,
    allowed: Sequence[Network] = (),
    breakers: Breakers | None = None,
    bounds: Bounds = USUAL,
) -> Outcome:
    """Do what a job asks for; Raises: whatever ingestion or release raises."""
    if job.what == RELEASE:
        metadata = Metadata(
            actor=job.actor, correlation_id=job.correlation_id, source="job", traceparent=tracing.traceparent()
        )
        identifier, reason = int(str(job.arguments["ingestion"])), str(job.arguments["reason"])
        return await release.release(database, identifier, reason=reason, metadata=metadata, clock=clock, bounds=bounds)
    with tempfile.TemporaryDirectory(prefix="instrument-registry-") as folder:
        upload = None
        if name := job.arguments.get("file_name"):
            async with database.transaction(read_only=True) as tx:
                upload = await _unload(tx, job.id, Path(folder, Path(str(name)).name))
        asked = replace(asked_by(job, upload=upload, allowed=allowed), bounds=bounds)
        return await take_in(database, asked, clock=clock, allowed=allowed, breakers=breakers)


def check_sources(sources: Sequence[str], *, allowed: Sequence[Network] = ()) -> None:
    """See that a job names addresses alone: the files of the machine it runs on are nobody's to name.

    Raises: FetchRefused, also for addresses that are neither on the public internet nor allowed.
    """
    for number, source in enumerate(sources):
        try:
            check_url(source, allowed=allowed)
        except FetchRefused as error:
            facts = error.facts | {"field": f"sources[{number}]"}
            raise FetchRefused(
                f"sources[{number}]: {error}; name a public http(s) address, or upload the file", **facts
            ) from error


def asked_by(job: Job, *, upload: Path | None = None, allowed: Sequence[Network] = ()) -> Asked:
    """What an ingestion job asks for; Raises: FetchRefused."""
    given = job.arguments
    day = given.get("market_date")
    sources, scope = given.get("sources"), given.get("scope")
    addresses = tuple(map(str, sources)) if isinstance(sources, list) else ()
    check_sources(addresses, allowed=allowed)
    return Asked(
        broker=str(given["broker"]),
        sources=addresses if upload is None else (str(upload),),
        market_date=date.fromisoformat(str(day)) if day else None,
        scope=tuple(map(str, scope)) if isinstance(scope, list) else (),
        allow_older=bool(given.get("allow_older")),
        dry_run=bool(given.get("dry_run")),
        actor=job.actor,
        correlation_id=job.correlation_id,
    )


def told(outcome: Outcome) -> dict[str, object]:
    """What came of a run, as a job's result."""
    return asdict(outcome) | {"market_date": outcome.market_date.isoformat(), "status": outcome.status.value}


async def _unload(tx: Transaction, job: int, path: Path) -> Path:
    with path.open("wb") as file:
        piece = 0
        while row := await (
            await tx.execute("select content from job_uploads where job_id = %s and piece = %s", (job, piece))
        ).fetchone():
            file.write(row[0])
            piece += 1
    return path


async def _one(tx: Transaction, statement: str, values: dict[str, object]) -> Job | None:
    async with tx.cursor(row_factory=kwargs_row(_job)) as cursor:
        await cursor.execute(statement.encode(), values)
        return await cursor.fetchone()


def _job(
    *,
    id: int,  # noqa: A002
    what: str,
    arguments: Arguments,
    status: str,
    result: dict[str, Any] | None,
    attempts: int,
    actor: str,
    correlation_id: str,
    created_at: datetime,
    started_at: datetime | None,
    finished_at: datetime | None,
    traceparent: str | None,
) -> Job:
    return Job(
        id=id, what=what, arguments=arguments, status=JobStatus(status), result=result, attempts=attempts, actor=actor,
        correlation_id=correlation_id, created_at=created_at, started_at=started_at, finished_at=finished_at,
        traceparent=traceparent,
    )  # fmt: skip
