"""The log's gauges as a background worker."""

import asyncio

from instrument_registry.events import measures
from instrument_registry.events.audit import measures as audit
from instrument_registry.wiring import Registry

EVERY_SECONDS = 5.0


async def measure_log(registry: Registry) -> None:
    """Look at the log every few seconds, for ever."""
    while True:
        async with registry.database.transaction(read_only=True) as tx:
            await measures.measure(tx)
            await audit.measure(tx, at=registry.clock())
        await asyncio.sleep(EVERY_SECONDS)
