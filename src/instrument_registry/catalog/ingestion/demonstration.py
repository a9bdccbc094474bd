"""The demo universe comes into an empty catalogue by the ordinary door, what is searched for first coming first."""

import tempfile
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import structlog

from instrument_registry.catalog.calendars import market_today
from instrument_registry.catalog.demo import DemoFile, write_demo
from instrument_registry.catalog.ingestion.intake import Asked, take_in
from instrument_registry.clock import Clock
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import RegistryError

LOCK = 0x6972_6465_6D6F  # "irdemo": whoever loads the demo holds it, as long as its session lives
FIRST_BROKER = "upstox"  # one file a day with everything in it: searchable after the first run

READ = "select day, status, detail, began_at from demo_universe"
BEGIN = """
insert into demo_universe (day, status, began_at, changed_at)
select %(day)s, 'loading', %(at)s, %(at)s where not exists (select 1 from ingestions)
    on conflict do nothing
"""
CHANGE = "update demo_universe set status = %(status)s, detail = %(detail)s, changed_at = %(at)s"

LOADING, SEARCHABLE, LOADED, FAILED = "loading", "searchable", "loaded", "failed"

log = structlog.get_logger("catalog")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """How far the loading of the demo universe has come."""

    day: date
    status: str
    detail: str | None
    began_at: datetime


async def state(tx: Transaction) -> Demo | None:
    """Where the loading stands; None while nobody has begun."""
    row = await (await tx.execute(READ)).fetchone()
    return None if row is None else Demo(day=row[0], status=row[1], detail=row[2], began_at=row[3])


async def wanted(tx: Transaction) -> bool:
    """Whether the catalogue is as empty as the demo needs it: nothing was ever ingested."""
    return await (await tx.execute("select 1 from ingestions limit 1")).fetchone() is None


async def load(database: Database, *, clock: Clock) -> bool:
    """Load the demo into a catalogue that is empty, or go on where somebody stopped; whether there was anything to do.

    A failure is recorded and logged, and the catalogue stays open as it is.
    """
    async with database.session("demo") as session:
        row = await (await session.execute("select pg_try_advisory_lock(%s)", (LOCK,))).fetchone()
        if not (row and row[0]):
            return False
        async with database.transaction() as tx:
            await tx.execute(BEGIN, {"day": market_today(clock()), "at": clock()})
            demo = await state(tx)
        if demo is None or demo.status in (LOADED, FAILED):
            return False
        try:
            await _ingest_all(database, demo.day, clock=clock)
        except (RegistryError, OSError) as error:
            log.exception("demo.failed", reason=str(error))
            await _change(database, FAILED, clock=clock, detail=str(error)[:500])
        else:
            await _change(database, LOADED, clock=clock)
            log.info("demo.loaded", seconds=round((clock() - demo.began_at).total_seconds(), 1))
    return True


async def _ingest_all(database: Database, day: date, *, clock: Clock) -> None:
    with tempfile.TemporaryDirectory(prefix="instrument-registry-demo-") as folder:
        runs = _runs(write_demo(Path(folder), day))
        for asked in runs:
            outcome = await take_in(database, asked, clock=clock)
            if asked is runs[0]:
                await _change(database, SEARCHABLE, clock=clock)
                log.info("demo.searchable", rows=outcome.rows, status=outcome.status.value)


def _runs(files: list[DemoFile]) -> list[Asked]:
    """One run a broker and day, days in order, the one that makes everything searchable first."""
    together: dict[tuple[date, bool, str], list[str]] = {}
    for file in files:
        together.setdefault((file.date, file.broker != FIRST_BROKER, file.broker), []).append(str(file.path))
    return [
        Asked(
            broker=broker,
            sources=tuple(paths),
            market_date=day,
            invented=True,
            actor="demo",
            correlation_id=f"demo-{day}-{broker}",
        )
        for (day, _, broker), paths in sorted(together.items())
    ]


async def _change(database: Database, status: str, *, clock: Clock, detail: str | None = None) -> None:
    async with database.transaction() as tx:
        await tx.execute(CHANGE, {"status": status, "detail": detail, "at": clock()})
