"""Configuration in the background process: known to it, and scheduled changes made when their time has come."""

import asyncio

import structlog

from instrument_registry import events
from instrument_registry.configuration import service
from instrument_registry.wiring import Registry

POLL_SECONDS = 1.0

log = structlog.get_logger("configuration")


async def follow_configuration(registry: Registry) -> None:
    """Know what is in force, for ever."""
    await registry.configuration.follow()


async def make_scheduled_changes(registry: Registry) -> None:
    """Make changes whose time has come, for ever; of several workers one makes each."""
    while True:
        async with registry.database.transaction() as tx:
            made = await service.make_due(tx, registry.configuration.sources, now=registry.clock())
        if made is None:
            await asyncio.sleep(POLL_SECONDS)
            continue
        log.info("configuration.due", change=made.id)
        await events.wake(registry.database)
