"""Contracts end with their day, whether or not a dump says so."""

from datetime import date, datetime

from instrument_registry import events
from instrument_registry.catalog.calendars import market_today
from instrument_registry.catalog.events import InstrumentExpired
from instrument_registry.catalog.ingestion.service import LOCK, RUN_TIMEOUT_SECONDS
from instrument_registry.clock import Clock
from instrument_registry.database import Database, Transaction

# Fewer facts than make a bulk run, so that every follower takes them one by one.
AT_ONCE = 2_000
SOURCE = "calendar"

ANY = "select 1 from instruments where ended_on is null and expiry < %(today)s limit 1"

EXPIRE = """
with ending as (
    select id from instruments where ended_on is null and expiry < %(today)s order by expiry, id limit %(limit)s for update),
gone as (
    update instruments i set ended_on = i.expiry + 1, ended_as = 'expired' from ending e where i.id = e.id
    returning i.id, i.ulid, i.expiry)
select g.ulid, g.expiry + 1, v.key
  from gone g left join instrument_versions v on v.instrument_id = g.id and v.known_to = 'infinity' and v.valid_to = g.expiry + 1
 order by g.expiry, v.key
"""


async def expire(database: Database, *, clock: Clock) -> int:
    """Expire every contract whose last day is before today's market date, and tell of each; how many there were."""
    total = 0
    while await _any(database, market_today(clock())):
        async with database.transaction(statement_timeout_seconds=RUN_TIMEOUT_SECONDS) as tx:
            # Runs match against what lives: not between their statements.
            await tx.execute("set local lock_timeout = 0")
            await tx.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
            expired = await _expire_some(tx, market_today(clock()), at=clock())
        if expired:
            await events.wake(database)
        total += expired
    return total


async def _any(database: Database, today: date) -> bool:
    async with database.transaction(read_only=True) as tx:
        return await (await tx.execute(ANY, {"today": today})).fetchone() is not None


async def _expire_some(tx: Transaction, today: date, *, at: datetime) -> int:
    rows = await (await tx.execute(EXPIRE, {"today": today, "limit": AT_ONCE})).fetchall()
    facts = [
        InstrumentExpired(
            occurred_at=at, instrument_id=ulid, key=key, effective_date=day.isoformat(), source=SOURCE, ingestion=None,
            evidence=None, old=None, new=None,
        )
        for ulid, day, key in rows
    ]  # fmt: skip
    if facts:
        metadata = events.Metadata(actor="system", correlation_id=f"expiry-{today}", source=SOURCE)
        await events.append(tx, *facts, stream=f"expiry-{today}", metadata=metadata)
    return len(facts)
