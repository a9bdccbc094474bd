"""Consumers looked after in the background: their gauges, those who fall silent, dead letters past their time."""

import asyncio
from datetime import timedelta

import structlog

from instrument_registry import events
from instrument_registry.configuration.parameters import CONSUMER_SILENT_DAYS, DLQ_RETENTION_HOURS
from instrument_registry.events import Metadata
from instrument_registry.events.streams import consumers, dead_letters, measures
from instrument_registry.wiring import Registry
from instrument_registry.workers.turns import turns

EVERY_SECONDS = 10.0
LOOKED_AFTER_SECONDS = 600.0

log = structlog.get_logger("worker")


async def watch_consumers(registry: Registry) -> None:
    """Look at consumers every few seconds and after them every few minutes, for ever."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    async for asked in turns(lambda: EVERY_SECONDS):
        async with registry.database.transaction(read_only=True) as tx:
            await measures.measure(tx, silent_days=registry.configuration.now[CONSUMER_SILENT_DAYS])
        if asked or loop.time() >= due:
            await look_after(registry)
            due = loop.time() + LOOKED_AFTER_SECONDS


async def look_after(registry: Registry) -> None:
    """Tell of consumers that have fallen silent, and let go of dead letters that were kept long enough."""
    now, at = registry.configuration.now, registry.clock()
    metadata = Metadata(actor="worker:consumers", correlation_id=f"consumers-{at:%Y%m%dT%H%M%S}", source="worker")
    async with registry.database.transaction() as tx:
        silent = await consumers.tell_silent(tx, days=now[CONSUMER_SILENT_DAYS], metadata=metadata, at=at)
    kept = timedelta(hours=now[DLQ_RETENTION_HOURS])
    expired = 0
    while True:
        async with registry.database.transaction() as tx:
            gone = await dead_letters.expire(tx, kept=kept, metadata=metadata, at=at)
        expired += gone
        if not gone:
            break
    if silent or expired:
        log.warning("consumers.looked_after", silent=silent, dead_letters_expired=expired)
        await events.wake(registry.database)
