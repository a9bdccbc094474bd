"""Runs that wait for their turn live; runs whose process died are told from them."""

import asyncio

from catalogues import Load, take
from desk import TEA
from frame import NOON
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.catalog.ingestion import storage
from instrument_registry.catalog.ingestion.service import LOCK
from instrument_registry.database import Database

DEAD = """
insert into ingestions (broker, feed, market_date, status, files, digest, actor, correlation_id, started_at)
values ('zerodha', 'kite_NSE.csv', '2026-08-17', 'running', '[]', 'x', 'tests', 'c-1', now()) returning id
"""


async def test_a_run_that_waits_is_not_taken_for_a_dead_one(database: Database) -> None:
    load = Load(broker="zerodha", day=NOON.date(), dumps=(Dump(name="kite_NSE.csv", content=TEA.encode()),))
    async with database.session("first") as first:
        await first.execute("select pg_advisory_lock(%s)", (LOCK,))
        dead = await (await first.execute(DEAD.encode())).fetchone()
        second = asyncio.create_task(take(database, load, clock=lambda: NOON))
        await until_somebody_waits(database)

        async with database.transaction() as tx:
            await storage.mark_abandoned(tx, current=0, at=NOON)
        statuses = dict(await (await first.execute("select id, status from ingestions")).fetchall())
    outcome = await second

    assert dead is not None
    assert statuses == {dead[0]: "failed", outcome.id: "running"}
    assert outcome.status == "applied"


async def until_somebody_waits(database: Database) -> None:
    waiting = """
        select 1 from pg_locks l join pg_database d on d.oid = l.database
         where l.locktype = 'advisory' and not l.granted and d.datname = current_database()
    """
    async with asyncio.timeout(20), database.session("watch") as session:
        while await (await session.execute(waiting)).fetchone() is None:
            await asyncio.sleep(0.01)
