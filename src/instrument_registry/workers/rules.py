"""Rules of profiles as a background worker: settled when prices move them, contracts end, or the catalogue changes."""

import asyncio

import structlog

from instrument_registry import events
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.demand import service as demand
from instrument_registry.subscriptions.rules import measures, service
from instrument_registry.wiring import Registry
from instrument_registry.workers.pausing import outside_maintenance
from instrument_registry.workers.turns import Work, current, turns

POLL_SECONDS = 1.0
# What comes within this time is settled together: prices of many underlyings, the facts of an ingestion.
COALESCE_SECONDS = 0.05
LISTINGS_COALESCE_SECONDS = 1.0
INSTRUMENT = "instrument."
FACTS_AT_ONCE = 10_000

log = structlog.get_logger("worker")


async def settle_rules(registry: Registry) -> None:
    """Settle rules as prices, expiries and listings ask for it, for ever; of several workers each takes others."""
    work = current()
    async with asyncio.TaskGroup() as group:
        group.create_task(_hear(registry, work))
        group.create_task(_follow_listings(registry, work))
        async for asked in turns(lambda: POLL_SECONDS):
            if asked:
                await asyncio.sleep(COALESCE_SECONDS)
            await outside_maintenance(registry)
            await settle_due(registry)


async def settle_due(registry: Registry) -> int:
    """Settle every rule that is due and let go of wants that have ended; how many rules bring others now."""
    at = registry.clock()
    metadata = Metadata(actor="worker:rules", correlation_id=f"rules-{at:%Y%m%dT%H%M%S}", source="worker")
    total = ended = 0
    while True:
        async with registry.database.transaction() as tx:
            due, found = await service.settle(tx, metadata=metadata, at=at)
        total += len(found)
        if due < service.SETTLED_AT_ONCE:
            break
    async with registry.database.transaction() as tx:
        if await demand.any_ended(tx, at=at):
            ended = await demand.expire(tx, metadata=metadata, at=at)
            await service.end(tx, at=at)
        await measures.measure(tx, at=at)
    if total or ended:
        log.info("rules.settled", rules=total, wants_ended=ended)
        await events.wake(registry.database)
    return total


async def _hear(registry: Registry, work: Work) -> None:
    async with registry.database.session("rules") as session:
        await service.listen(session)
        async for _ in session.notifies():
            work.ring()


async def _follow_listings(registry: Registry, work: Work) -> None:
    """Have every rule settled when instruments were listed, ended, or are other ones; once at the start too."""
    async with registry.database.transaction() as tx:
        after = await events.head_position(tx)
        await service.all_due(tx, at=registry.clock())
    work.ring()
    async for page in events.follow(registry.database, after=after, limit=FACTS_AT_ONCE, bulk=False):
        passed_over = page.position - after > len(page.events)  # a bulk run: what it brought is not told one by one
        after = page.position
        if not passed_over and not any(event.type.startswith(INSTRUMENT) for event in page.events):
            continue
        await asyncio.sleep(LISTINGS_COALESCE_SECONDS)
        async with registry.database.transaction() as tx:
            rules = await service.all_due(tx, at=registry.clock())
        if rules:
            work.ring()
