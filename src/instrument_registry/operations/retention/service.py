"""Policies, a plan with true counts, and its application once a day."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from psycopg.rows import class_row

from instrument_registry import events
from instrument_registry.catalog.ingestion import forgetting
from instrument_registry.clock import Clock
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Conflict
from instrument_registry.events import Metadata
from instrument_registry.events.archives import model as archives
from instrument_registry.events.archives import service as archiving
from instrument_registry.events.archives import storage as partitions
from instrument_registry.events.webhooks import queue as webhooks
from instrument_registry.operations.retention.events import RetentionApplied, RetentionChanged
from instrument_registry.operations.retention.model import Policy, RetentionKind, Step, checked

AT_ONCE = 10_000
STREAM = "retention"
LOCK = 0x6972_7265_7461_696E  # "iretain": whoever applies policies to this database holds it
COUNT_SECONDS = 600

POLICIES = "select kind, keep_days, changed_at, changed_by from retention_policies"


class AlreadyApplied(Conflict):
    """Wait until they are done."""

    title = "Somebody else is at it"


@dataclass(frozen=True, slots=True)
class Rows:
    """How rows of a kind that are no month of their own are counted, and how some of them go."""

    what: str
    count: Callable[[Transaction, datetime], Awaitable[int]]
    forget: Callable[[Transaction, datetime, int], Awaitable[int]]


async def _forget_deliveries(tx: Transaction, before: datetime, at_most: int) -> int:
    return await webhooks.forget(tx, before=before, at_most=at_most)


ROWS: dict[RetentionKind, Rows] = {
    RetentionKind.DELIVERIES: Rows("ended webhook deliveries", webhooks.count_ended, _forget_deliveries),
    RetentionKind.INGESTION_DETAILS: Rows(
        "rows set aside and files of ended ingestions", forgetting.count_details, forgetting.forget_details
    ),
    RetentionKind.DEFAULT: Rows("finished jobs", forgetting.count_jobs, forgetting.forget_jobs),
}


async def policies(tx: Transaction) -> list[Policy]:
    """Every policy."""
    async with tx.cursor(row_factory=class_row(Policy)) as cursor:
        await cursor.execute(f"{POLICIES} order by kind".encode())
        return [replace(one, kind=RetentionKind(one.kind)) for one in await cursor.fetchall()]


async def change(
    tx: Transaction, kind: RetentionKind, keep_days: int, *, reason: str, metadata: Metadata, at: datetime
) -> Policy:
    """Keep something for another number of days; Raises: BadKeepDays."""
    checked(kind, keep_days)
    async with tx.cursor(row_factory=class_row(Policy)) as cursor:
        await cursor.execute(f"{POLICIES} where kind = %s for update".encode(), (kind,))
        before = cast("Policy", await cursor.fetchone())
    if before.keep_days == keep_days:
        return replace(before, kind=kind)
    await tx.execute(
        "update retention_policies set keep_days = %s, changed_at = %s, changed_by = %s where kind = %s",
        (keep_days, at, metadata.actor, kind),
    )
    told = RetentionChanged(kind=kind, old=before.keep_days, new=keep_days, reason=reason, occurred_at=at)
    await events.append(tx, told, stream=STREAM, metadata=metadata)
    return Policy(kind=kind, keep_days=keep_days, changed_at=at, changed_by=metadata.actor)


async def plan(database: Database, *, now: datetime) -> list[Step]:
    """What would go now: every figure is counted, nothing is changed.

    A month that has not been archived yet is said to have that reason to stay: applying the policy archives it first.
    """
    found: list[Step] = []
    async with database.transaction(
        read_only=True, isolation="repeatable read", statement_timeout_seconds=COUNT_SECONDS
    ) as tx:
        for policy in await policies(tx):
            before = now - timedelta(days=policy.keep_days)
            if policy.kind in ROWS:
                rows = ROWS[policy.kind]
                found.append(_step(policy.kind, rows.what, before, await rows.count(tx, before)))
                continue
            kind = cast("archives.Kind", str(policy.kind))
            for partition in await partitions.partitions(tx, kind, ended_before=before):
                count = await partitions.count(tx, partition)
                reasons = await archiving.reasons_to_keep(tx, partition.name)
                found.append(_step(policy.kind, partition.name, before, count, reasons))
    return found


async def apply(database: Database, folder: Path, *, metadata: Metadata, clock: Clock) -> AsyncIterator[Step]:
    """Let go of everything whose time is over, step by step; a month is archived first and may have reasons to stay.

    Raises: AlreadyApplied, ArchiveDamaged.
    """
    async with database.session("retention") as session:
        row = await (await session.execute("select pg_try_advisory_lock(%s)", (LOCK,))).fetchone()
        if row != (True,):
            raise AlreadyApplied("Policies are being applied by somebody else right now")
        async for step in _applied(database, folder, metadata=metadata, clock=clock):
            yield step


async def _applied(database: Database, folder: Path, *, metadata: Metadata, clock: Clock) -> AsyncIterator[Step]:
    for step in await plan(database, now=clock()):
        if step.kind in ROWS:
            gone = await _forgotten(database, step, metadata=metadata, clock=clock)
            yield replace(step, rows=gone, done=True)
        else:
            yield await _archived(database, step, folder, metadata=metadata, clock=clock)


async def _archived(database: Database, step: Step, folder: Path, *, metadata: Metadata, clock: Clock) -> Step:
    starts_at, ends_at = archives.month_of(step.what)
    partition = archives.Partition(
        name=step.what, kind=cast("archives.Kind", str(step.kind)), starts_at=starts_at, ends_at=ends_at
    )
    archive = await archiving.export(database, partition, folder, metadata=metadata, clock=clock)
    async with database.transaction(read_only=True, statement_timeout_seconds=COUNT_SECONDS) as tx:
        reasons = await archiving.reasons_to_keep(tx, step.what)
    if reasons:
        return replace(step, reasons_to_keep=tuple(reasons))
    await archiving.drop(database, archive, folder, metadata=metadata, at=clock())
    return replace(step, done=True, reasons_to_keep=())


async def _forgotten(database: Database, step: Step, *, metadata: Metadata, clock: Clock) -> int:
    total = 0
    while True:
        async with database.transaction() as tx:
            gone = await ROWS[step.kind].forget(tx, step.before, AT_ONCE)
            if gone:
                told = RetentionApplied(kind=step.kind, before=step.before.isoformat(), rows=gone, occurred_at=clock())
                await events.append(tx, told, stream=STREAM, metadata=metadata)
        total += gone
        if not gone:
            return total


def _step(kind: RetentionKind, what: str, before: datetime, rows: int, reasons: list[str] | None = None) -> Step:
    return Step(kind=kind, what=what, before=before, rows=rows, done=False, reasons_to_keep=tuple(reasons or ()))
