"""The gauges of the log, of ingestions and of API keys as a background worker."""

import asyncio

from instrument_registry.access import measures as keys
from instrument_registry.catalog.ingestion import measures as ingestions
from instrument_registry.events import measures
from instrument_registry.events.audit import measures as audit
from instrument_registry.wiring import Registry
from instrument_registry.workers.turns import turns

EVERY_SECONDS = 5.0
INGESTIONS_EVERY_SECONDS = 60.0


async def measure_log(registry: Registry) -> None:
    """Look at the log every few seconds, for ever."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    async for asked in turns(lambda: EVERY_SECONDS):
        async with registry.database.transaction(read_only=True) as tx:
            await measures.measure(tx)
            await audit.measure(tx, at=registry.clock())
            await keys.measure(tx, at=registry.clock())
            if asked or loop.time() >= due:
                await ingestions.measure(tx)
                due = loop.time() + INGESTIONS_EVERY_SECONDS
