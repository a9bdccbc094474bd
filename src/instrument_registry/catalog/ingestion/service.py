"""Ingest one broker's dumps of one day: parse, stage, judge, match, apply and tell, in one transaction or not at all."""

import asyncio
import gzip
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl
import psycopg

from instrument_registry import events
from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.brokers.frame import REJECT_SCHEMA, Declared, Dump, Parsed, Unreadable
from instrument_registry.catalog.calendars import market_today
from instrument_registry.catalog.events import (
    INSTRUMENT_FACTS,
    IngestionApplied,
    IngestionQuarantined,
    IngestionReleased,
)
from instrument_registry.catalog.ingestion import (
    applying,
    contesting,
    declaring,
    gates,
    matching,
    measures,
    reports,
    staging,
    storage,
    telling,
)
from instrument_registry.catalog.ingestion.file_names import feed_of
from instrument_registry.catalog.ingestion.model import (
    GateClosed,
    IngestionBusy,
    Order,
    Outcome,
    Reason,
    RunStatus,
    SourceFile,
)
from instrument_registry.catalog.ulid import ulids
from instrument_registry.clock import Clock
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Invalid
from instrument_registry.telemetry import tracing

# One run at a time changes the catalogue: two brokers may bring the same new contract on the same morning.
LOCK = 0x6972_696E_6773  # "irings"
LOCK_TIMEOUT_SECONDS = 120
RUN_TIMEOUT_SECONDS = 900
ANALYZE_FROM_FACTS = 5_000

Progress = Callable[[str, float], None]
Sessions = Callable[[date, date], int]


class _DryRun(Exception):
    """Leaves the transaction of a dry run without committing it."""


@dataclass(slots=True)
class _Run:
    """What is known of a run while it goes on."""

    id: int
    order: Order
    feed: str
    files: list[SourceFile]
    warnings: list[Reason] = field(default_factory=list)
    rejects: list[tuple[str, pl.DataFrame]] = field(default_factory=list)
    read: int = 0
    duplicates: int = 0
    declared: int = 0
    dialects: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    counts_by_venue: dict[str, dict[str, int]] = field(default_factory=dict)
    segments: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def set_aside(self) -> int:
        """Whole rows that were not taken."""
        return sum(int(frame["dropped"].sum()) for _, frame in self.rejects if len(frame))

    @property
    def values_set_aside(self) -> int:
        """Single values taken away from rows that were taken."""
        return sum(len(frame) for _, frame in self.rejects) - self.set_aside

    def outcome(self, status: RunStatus, reasons: Sequence[Reason] = ()) -> Outcome:
        return Outcome(
            id=self.id, broker=self.order.broker, feed=self.feed, market_date=self.order.market_date,
            date_known_by=self.order.date_known_by, status=status, reasons=list(reasons), warnings=self.warnings,
            rows=self.read, set_aside=self.set_aside, values_set_aside=self.values_set_aside,
            duplicates=self.duplicates, counts=self.counts, segments=self.segments, seconds=self.seconds,
        )  # fmt: skip


class _Stopwatch:
    """Seconds by step, and the progress bar's news."""

    def __init__(self, run: _Run, progress: Progress) -> None:
        self._run, self._progress, self._since = run, progress, time.perf_counter()

    def done(self, step: str, share: float) -> None:
        now = time.perf_counter()
        self._run.seconds[step] = round(now - self._since, 3)
        self._since = now
        self._progress(step, share)


async def ingest(
    database: Database,
    order: Order,
    dumps: list[Dump],
    *,
    clock: Clock,
    sessions_between: Sessions,
    progress: Progress = lambda step, share: None,
) -> Outcome:
    """Apply one broker's dumps of one market date, or keep them out and say why.

    The dumps are consumed. Returns the outcome for every foreseen end (applied, unchanged, quarantined, refused, dry
    run). Raises: IngestionBusy, DatabaseUnavailable, Invalid.
    """
    if order.broker not in BROKERS:
        raise Invalid(
            f"{order.broker} is not a known broker; known are {', '.join(sorted(BROKERS))}", broker=order.broker
        )
    if not dumps:
        raise Invalid("There is no file to ingest")
    if order.market_date > market_today(clock()):
        raise Invalid(f"The market date {order.market_date} lies in the future", market_date=str(order.market_date))
    files = [
        SourceFile(name=dump.name, sha256=hashlib.sha256(dump.content).hexdigest(), size_bytes=len(dump.content))
        for dump in dumps
    ]
    digest = hashlib.sha256("\n".join(sorted(file.sha256 for file in files)).encode()).hexdigest()
    feed = " ".join(sorted({feed_of(file.name) for file in files}))
    async with database.session("ingestion") as session:
        async with database.transaction() as tx:
            seen = await storage.last_applied_digest(tx, broker=order.broker, feed=feed)
            identifier = await storage.start(tx, order, feed=feed, files=files, digest=digest, at=clock())
            await storage.hold(session, identifier)  # before anybody sees it running
        run = _Run(id=identifier, order=order, feed=feed, files=files)
        if seen == (digest, order.market_date) and not order.dry_run and not order.released_from:
            return await measures.watched(order.broker, _end(database, run, RunStatus.UNCHANGED, clock=clock))
        carried_out = _carry_out(
            database, run, dumps, clock=clock, sessions_between=sessions_between, progress=progress
        )
        return await measures.watched(order.broker, carried_out)


async def _carry_out(
    database: Database,
    run: _Run,
    dumps: list[Dump],
    *,
    clock: Clock,
    sessions_between: Sessions,
    progress: Progress,
) -> Outcome:
    kept = [(dump.name, dump.content) for dump in dumps]
    dumps.clear()
    watch = _Stopwatch(run, progress)
    try:
        await _apply(database, run, kept, clock=clock, sessions_between=sessions_between, watch=watch)
    except GateClosed as closed:
        return await _end(database, run, closed.status, reasons=closed.reasons, kept=kept, clock=clock)
    except _DryRun:
        return await _end(database, run, RunStatus.DRY_RUN, clock=clock)
    except IngestionBusy as busy:
        await _end(database, run, RunStatus.REFUSED, reasons=[Reason(gate="busy", detail=str(busy))], clock=clock)
        raise
    except BaseException as error:
        failure = Reason(gate="failed", detail=f"{type(error).__name__}: {error}"[:500])
        await _end(database, run, RunStatus.FAILED, reasons=[failure], clock=clock)
        raise
    return run.outcome(RunStatus.APPLIED if run.counts else RunStatus.UNCHANGED)


async def _end(
    database: Database,
    run: _Run,
    status: RunStatus,
    *,
    clock: Clock,
    reasons: Sequence[Reason] = (),
    kept: Sequence[tuple[str, bytes]] = (),
) -> Outcome:
    async with database.transaction() as tx:
        if status in (RunStatus.QUARANTINED, RunStatus.REFUSED) and not run.order.dry_run:
            if run.order.released_from is None:  # else the run it was released from keeps them
                await storage.keep_files(tx, run.id, [(name, gzip.compress(content, 6)) for name, content in kept])
            await _tell_kept_out(tx, run, status, reasons=reasons, at=clock())
            await storage.set_aside(tx, run.id, run.rejects)
        await storage.finish(
            tx,
            run.id,
            status=status,
            reasons=reasons,
            warnings=run.warnings,
            report=_report(run),
            at=clock(),
            order=run.order,
        )
    if status in (RunStatus.QUARANTINED, RunStatus.REFUSED):
        await events.wake(database)
    return run.outcome(status, reasons)


async def _tell_kept_out(
    tx: Transaction, run: _Run, status: RunStatus, *, reasons: Sequence[Reason], at: datetime
) -> None:
    fact = IngestionQuarantined(
        occurred_at=at, ingestion=run.id, broker=run.order.broker, feed=run.feed, market_date=run.order.market_date.isoformat(),
        status=status.value, reasons=[reason.detail for reason in reasons],
    )  # fmt: skip
    await events.append(tx, fact, stream=f"ingestion-{run.id}", metadata=_metadata(run))


async def _tell_released(tx: Transaction, run: _Run, original: int, *, at: datetime) -> None:
    await storage.mark_released(tx, run.order, run=run.id)
    fact = IngestionReleased(
        occurred_at=at, ingestion=original, released_as=run.id, broker=run.order.broker,
        market_date=run.order.market_date.isoformat(), reason=run.order.release_reason or "",
    )  # fmt: skip
    await events.append(tx, fact, stream=f"ingestion-{original}", metadata=_metadata(run))


def _metadata(run: _Run) -> events.Metadata:
    return events.Metadata(
        actor=run.order.actor, correlation_id=run.order.correlation_id, source=run.order.broker,
        traceparent=tracing.traceparent(),
    )  # fmt: skip


async def _apply(
    database: Database,
    run: _Run,
    kept: list[tuple[str, bytes]],
    *,
    clock: Clock,
    sessions_between: Sessions,
    watch: _Stopwatch,
) -> None:
    # In a thread: the process may have other things to answer meanwhile.
    parsed = [await asyncio.to_thread(_parse, run, name, content) for name, content in kept]
    listed = [part for part in parsed if isinstance(part, Parsed)]
    declared = [part for part in parsed if isinstance(part, Declared)]
    run.read, run.duplicates = sum(part.read for part in parsed), sum(part.duplicates for part in listed)
    run.declared = sum(len(part.rows) for part in declared)
    run.dialects = [part.dialect for part in parsed]
    run.rejects = [(file.name, part.rejects) for file, part in zip(run.files, parsed, strict=True)]
    frames = [part.rows for part in listed]
    del parsed, listed
    watch.done("parse", 0.15)
    unreadable = gates.judge_set_aside(read=run.read, dropped=run.set_aside, bounds=run.order.bounds)
    _judge(run, unreadable, RunStatus.QUARANTINED)
    async with database.transaction(statement_timeout_seconds=RUN_TIMEOUT_SECONDS) as tx:
        await _settle(tx)
        if declared:
            run.counts = await declaring.declare(
                tx, declared, order=run.order, run=run.id, metadata=_metadata(run), at=clock()
            )
        if frames:
            await staging.stage(tx, frames, broker=run.order.broker)
            watch.done("stage", 0.3)
            await _lock(tx)
            await storage.mark_abandoned(tx, current=run.id, at=clock())
            await _check(tx, run, sessions_between=sessions_between)
            watch.done("check", 0.35)
            await _change(tx, run, watch=watch)
        await storage.set_aside(tx, run.id, run.rejects)
        watch.done("record", 0.97)
        if run.order.dry_run:
            raise _DryRun
        await storage.finish(
            tx, run.id, status=RunStatus.APPLIED if run.counts else RunStatus.UNCHANGED, reasons=[], warnings=run.warnings,
            report=_report(run), at=clock(), order=run.order,
        )  # fmt: skip
        if run.order.released_from is not None:
            await _tell_released(tx, run, run.order.released_from, at=clock())
    watch.done("commit", 0.99)
    await events.wake(database)
    if sum(run.counts.values()) > ANALYZE_FROM_FACTS:
        async with database.transaction(statement_timeout_seconds=RUN_TIMEOUT_SECONDS) as tx:
            await tx.execute("select analyze_catalogue()")
    watch.done("analyze", 0.99)
    if run.segments:
        async with database.transaction(statement_timeout_seconds=RUN_TIMEOUT_SECONDS) as tx:
            await reports.record_gaps(tx, run.id)
    watch.done("gaps", 1.0)


def _parse(run: _Run, name: str, content: bytes) -> Parsed | Declared:
    try:
        return BROKERS[run.order.broker].parse(Dump(name=name, content=content))
    except Unreadable as error:
        detail = str(error) if name in str(error) else f"{name}: {error}"
        reason = Reason(gate="unreadable", detail=detail, facts={"file": name, **error.facts})
        raise GateClosed([reason], status=RunStatus.QUARANTINED) from error


async def _settle(tx: Transaction) -> None:
    # Set-based work on hundreds of thousands of rows: sorts and hashes in memory, the planner told the truth.
    await tx.execute("set local work_mem = '64MB'")
    await tx.execute("set local lock_timeout = 0")


async def _lock(tx: Transaction) -> None:
    await tx.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
    try:
        await tx.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
    except psycopg.errors.LockNotAvailable as error:
        raise IngestionBusy(
            f"Another ingestion has held the catalogue for {LOCK_TIMEOUT_SECONDS} s; try again when it has ended"
        ) from error
    await tx.execute("set local lock_timeout = 0")


def _judge(run: _Run, reasons: list[Reason], status: RunStatus) -> None:
    if reasons and run.order.released_from:
        run.warnings.extend(reasons)
    elif reasons:
        raise GateClosed(reasons, status=status)


async def _check(tx: Transaction, run: _Run, *, sessions_between: Sessions) -> None:
    order = run.order
    values: dict[str, object] = {"broker": order.broker, "feed": run.feed, "day": order.market_date}
    conflicts = await _rows(tx, gates.CONFLICTING, values)
    if conflicts:  # not even an operator can say which of two contracts a token means
        raise GateClosed(gates.judge_conflicts(conflicts), status=RunStatus.QUARANTINED)
    await _drop_repeated(tx, run)
    run.segments = dict(await _rows(tx, "select segment, count(*) from staged group by 1 order by 1", values))
    values["segments"] = list(run.segments)
    expected = set(order.scope) or {segment for (segment,) in await _rows(tx, gates.LAST_OF_FEED, values)}
    _judge(run, gates.judge_scope(expected=expected, present=set(run.segments)), RunStatus.QUARANTINED)
    last = {
        segment: gates.LastRun(market_date=day, expired={date.fromisoformat(on): rows for on, rows in expired.items()})
        for segment, day, expired in await _rows(tx, gates.LAST_OF_SEGMENT, values)
    }
    if not order.allow_older:
        _judge(run, gates.judge_age(order.market_date, last=last), RunStatus.REFUSED)
        expired: dict[str, dict[date, int]] = {}
        for segment, on, rows in await _rows(tx, gates.EXPIRED, values):
            expired.setdefault(segment, {})[on] = rows
        _judge(run, gates.judge_staleness(order.market_date, last=last, expired=expired), RunStatus.REFUSED)
    shrunk = await _rows(tx, gates.SHRUNK, values)
    since = {
        segment: sessions_between(run_.market_date, order.market_date)
        for segment, run_ in last.items()
        if run_.market_date <= order.market_date
    }
    known = [row for row in shrunk if row[0] in since]
    closed, warned = gates.judge_shrinkage(known, sessions_since=since, bounds=order.bounds)
    run.warnings.extend(warned)
    _judge(run, closed, RunStatus.QUARANTINED)


async def _drop_repeated(tx: Transaction, run: _Run) -> None:
    repeated = await _rows(tx, gates.REPEATED, {})
    reason = "Another row of this dump says the same contract for this token with other details"
    _set_aside(run, [(file, line, "token", f"{segment}:{token}", reason) for file, line, segment, token in repeated])


def _set_aside(run: _Run, rows: list[tuple[int, int, str, str, str]]) -> None:
    """Note whole rows (file, line, field, value, reason) that are not taken."""
    by_file: dict[int, list[tuple[object, ...]]] = {}
    for file, *what in rows:
        by_file.setdefault(file, []).append((*what, True))
    for file, listed in by_file.items():
        frame = pl.DataFrame(listed, schema=REJECT_SCHEMA, orient="row")
        run.rejects.append((run.files[file].name, frame))


async def _change(tx: Transaction, run: _Run, *, watch: _Stopwatch) -> None:
    order = run.order
    row = await (await tx.execute("select clock_timestamp()")).fetchone()
    assert row is not None
    known = row[0]
    (latest,) = (await _rows(tx, "select max(market_date) from ingestion_segments", {}))[0]
    values: dict[str, object] = {
        "broker": order.broker, "day": order.market_date, "run": run.id, "feed": run.feed, "known": known,
        "invented": order.invented,
        "horizon": max(order.market_date, latest or order.market_date),
    }  # fmt: skip
    for statement in [
        applying.SEGMENTS, applying.RECORD_SEGMENTS, applying.LAST_RUN, applying.CHANGE, *matching.STEPS, *contesting.STEPS,
    ]:  # fmt: skip
        await tx.execute(statement, values)
    contested = await _rows(tx, "select file, line, key from contested order by file, line", {})
    _set_aside(run, [(file, line, "key", key, contesting.REASON) for file, line, key in contested])
    watch.done("match", 0.5)
    await _mint(tx, known=known, values=values)
    for statement in applying.TOKENS:
        await tx.execute(statement, values)
    ((orphans,),) = await _rows(tx, applying.ORPHANS, {})
    if orphans:
        raise RuntimeError(f"{orphans} rows were matched with instruments that do not exist")
    watch.done("tokens", 0.75)
    for statement in applying.VERSIONS:
        await tx.execute(statement, values)
    watch.done("versions", 0.85)
    for statement in telling.STEPS:
        await tx.execute(statement, values)
    await _tell(tx, run, known=known, values=values)
    watch.done("facts", 0.95)


async def _mint(tx: Transaction, *, known: datetime, values: dict[str, object]) -> None:
    # Numbered before some were set aside: there are gaps.
    ((count,),) = await _rows(tx, "select coalesce(max(n), 0) from minted", {})
    await tx.execute("create temporary table minted_ulid (n bigint primary key, ulid text not null) on commit drop")
    if count:
        fresh = ulids(count, at=known, chance=os.urandom(10 * count))
        async with tx.cursor() as cursor, cursor.copy("copy minted_ulid (n, ulid) from stdin") as copy:
            await copy.write("".join(f"{n}\t{ulid}\n" for n, ulid in enumerate(fresh, 1)))
        await tx.execute("analyze minted_ulid")
    await tx.execute(applying.MINT_INSTRUMENTS, values)


async def _tell(tx: Transaction, run: _Run, *, known: datetime, values: dict[str, object]) -> None:
    """Write the run's facts to its stream, and the one that sums them up."""
    told_counts = dict(await _rows(tx, "select fact, count(*) from change group by 1 order by 1", {}))
    run.counts |= told_counts
    if not told_counts:
        return
    by_venue = "select coalesce(split_part(key, ':', 1), ''), fact, count(*) from change group by 1, 2 order by 1, 2"
    for venue, fact, count in await _rows(tx, by_venue, {}):
        run.counts_by_venue.setdefault(venue, {})[fact] = count
    order = run.order
    stream = f"ingestion-{run.id}"
    metadata = _metadata(run)
    await events.create_draft(tx, "told")
    await tx.execute(telling.DRAFT, values | {"files": [file.name for file in run.files], "occurred_at": known})
    told = await events.append_from(tx, "told", kinds=INSTRUMENT_FACTS, stream=stream, metadata=metadata)
    assert told is not None
    summary = IngestionApplied(
        occurred_at=known, ingestion=run.id, broker=order.broker, feed=run.feed, market_date=order.market_date.isoformat(),
        counts=run.counts, rows=run.read, first_version=told.first_version, last_version=told.version,
    )  # fmt: skip
    await events.append(tx, summary, stream=stream, metadata=metadata)


def _report(run: _Run) -> dict[str, object]:
    return {
        "date_known_by": run.order.date_known_by, "dialects": run.dialects, "rows": run.read, "duplicates": run.duplicates, "declared": run.declared,
        "set_aside": run.set_aside, "values_set_aside": run.values_set_aside,
        "counts": run.counts, "counts_by_venue": run.counts_by_venue, "segments": run.segments, "seconds": run.seconds,
        "released_from": run.order.released_from,
    }  # fmt: skip


async def _rows(tx: Transaction, statement: str, values: dict[str, object]) -> list[tuple]:  # type: ignore[type-arg]
    return await (await tx.execute(statement, values)).fetchall()
