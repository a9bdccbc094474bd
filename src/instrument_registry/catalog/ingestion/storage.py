"""The records of ingestion runs: what was asked, what came of it, what was kept."""

import json
from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from instrument_registry.catalog.ingestion.model import NotHeld, Order, Reason, RunStatus, SourceFile
from instrument_registry.database import Transaction

START = """
insert into ingestions (broker, feed, market_date, status, files, digest, actor, correlation_id, started_at)
values (%(broker)s, %(feed)s, %(day)s, 'running', %(files)s, %(digest)s, %(actor)s, %(correlation_id)s, %(at)s)
returning id
"""

FINISH = """
update ingestions set status = %(status)s, reasons = %(reasons)s, warnings = %(warnings)s, report = %(report)s,
       finished_at = %(at)s, released_by = %(released_by)s, release_reason = %(release_reason)s
 where id = %(id)s
"""

LAST_APPLIED_DIGEST = """
select digest, market_date from ingestions
 where broker = %(broker)s and feed = %(feed)s and status in ('applied', 'unchanged') order by market_date desc, id desc limit 1
"""

ALIVE = 0x6972_7275  # "irru": with its id, what the session of a run holds as long as its process lives
HOLD = f"select pg_advisory_lock({ALIVE}, %(id)s)"

ABANDONED = f"""
with running as materialized (select id from ingestions where status = 'running' and id <> %(id)s)
update ingestions set status = 'failed', finished_at = %(at)s,
       reasons = '[{{"gate": "abandoned", "detail": "the process that ran this ended without a word; nothing was changed"}}]'
  from running where running.id = ingestions.id and pg_try_advisory_xact_lock({ALIVE}, running.id::int)
"""


async def start(
    tx: Transaction, order: Order, *, feed: str, files: Sequence[SourceFile], digest: str, at: datetime
) -> int:
    """Record that a run begins."""
    listed = [{"name": file.name, "sha256": file.sha256, "bytes": file.size_bytes} for file in files]
    values = {
        "broker": order.broker, "feed": feed, "day": order.market_date, "files": json.dumps(listed), "digest": digest,
        "actor": order.actor, "correlation_id": order.correlation_id, "at": at,
    }  # fmt: skip
    row = await (await tx.execute(START, values)).fetchone()
    assert row is not None
    return int(row[0])


async def hold(session: Transaction, run: int) -> None:
    """Tell everybody that a run's process lives, as long as this session does."""
    await session.execute(HOLD, {"id": run})


async def finish(
    tx: Transaction,
    run: int,
    *,
    status: RunStatus,
    reasons: Sequence[Reason],
    warnings: Sequence[Reason],
    report: dict[str, object],
    at: datetime,
    order: Order,
) -> None:
    """Record how a run ended."""
    values = {
        "id": run, "status": status.value, "reasons": _reasons(reasons), "warnings": _reasons(warnings),
        "report": json.dumps(report), "at": at,
        "released_by": order.actor if order.released_from else None, "release_reason": order.release_reason,
    }  # fmt: skip
    await tx.execute(FINISH, values)


async def mark_abandoned(tx: Transaction, *, current: int, at: datetime) -> None:
    """Runs that are called running, but whose session is gone, belong to processes that died."""
    await tx.execute(ABANDONED, {"at": at, "id": current})


async def last_applied_digest(tx: Transaction, *, broker: str, feed: str) -> tuple[str, object] | None:
    """Digest and market date of the feed's newest applied run."""
    row = await (await tx.execute(LAST_APPLIED_DIGEST, {"broker": broker, "feed": feed})).fetchone()
    return None if row is None else (row[0], row[1])


async def keep_files(tx: Transaction, run: int, contents: Sequence[tuple[str, bytes]]) -> None:
    """Keep a dump that was not applied, so that an operator can look at it and release it."""
    for name, content in contents:
        await tx.execute(
            "insert into ingestion_files (ingestion_id, name, content) values (%s, %s, %s)", (run, name, content)
        )


KEPT_FILES = "select name, content from ingestion_files where ingestion_id = %s order by name"

HELD = """
select broker, market_date, status, array(select reason ->> 'gate' from jsonb_array_elements(reasons) reason),
       exists (select 1 from ingestion_files f where f.ingestion_id = i.id)
  from ingestions i where id = %s
"""

RELEASED = """
update ingestions set status = 'released', released_as = %(as)s, released_by = %(by)s, release_reason = %(reason)s
 where id = %(id)s and status in ('quarantined', 'refused')
"""

DISCARDED = """
update ingestions set status = 'discarded', discarded_by = %(by)s, discard_reason = %(reason)s
 where id = %(id)s and status in ('quarantined', 'refused')
"""


async def kept_files(tx: Transaction, run: int) -> list[tuple[str, bytes]]:
    """The files of a dump that was kept out, packed with gzip."""
    cursor = await tx.execute(KEPT_FILES, (run,))
    return [(name, bytes(content)) for name, content in await cursor.fetchall()]


async def held(tx: Transaction, run: int) -> tuple[str, date, str, list[str], bool] | None:
    """Broker, market date, status and gates of a run, and whether its files were kept."""
    row = await (await tx.execute(HELD, (run,))).fetchone()
    return None if row is None else (row[0], row[1], row[2], row[3], row[4])


async def mark_released(tx: Transaction, order: Order, *, run: int) -> None:
    """The run that was kept out is released as this one; Raises: NotHeld when somebody else decided meanwhile."""
    values = {"id": order.released_from, "as": run, "by": order.actor, "reason": order.release_reason}
    if not (await tx.execute(RELEASED, values)).rowcount:
        raise NotHeld(f"Run {order.released_from} has been decided about meanwhile", ingestion=order.released_from)


async def mark_discarded(tx: Transaction, run: int, *, by: str, reason: str) -> None:
    """The dump is given up; Raises: NotHeld."""
    if not (await tx.execute(DISCARDED, {"id": run, "by": by, "reason": reason})).rowcount:
        raise NotHeld(f"Run {run} has been decided about meanwhile", ingestion=run)
    await tx.execute("delete from ingestion_files where ingestion_id = %s", (run,))


async def set_aside(tx: Transaction, run: int, rejects: Sequence[tuple[str, pl.DataFrame]]) -> None:
    """Record every row or value that was not taken, with its reason."""
    statement = "copy rows_set_aside (ingestion_id, file, line, field, value, reason, dropped) from stdin"
    async with tx.cursor() as cursor, cursor.copy(statement) as copy:
        for name, frame in rejects:
            for line, field, value, reason, dropped in frame.iter_rows():
                await copy.write_row((run, name, line, field, value, reason, dropped))


def _reasons(reasons: Sequence[Reason]) -> str:
    return json.dumps([{"gate": reason.gate, "detail": reason.detail, **reason.facts} for reason in reasons])
