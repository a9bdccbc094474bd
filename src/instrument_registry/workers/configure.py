"""Configuration in the background process: known to it, and scheduled changes made when their time has come."""

import structlog

from instrument_registry import events
from instrument_registry.configuration import service
from instrument_registry.wiring import Registry
from instrument_registry.workers.turns import turns

POLL_SECONDS = 1.0

log = structlog.get_logger("configuration")


async def follow_configuration(registry: Registry) -> None:
    """Know what is in force, for ever."""
    await registry.configuration.follow()


async def make_scheduled_changes(registry: Registry) -> None:
    """Make changes whose time has come, for ever; of several workers one makes each."""
    async for _ in turns(lambda: POLL_SECONDS):
        while await _make_one(registry):
            await events.wake(registry.database)


async def _make_one(registry: Registry) -> bool:
    async with registry.database.transaction() as tx:
        made = await service.make_due(tx, registry.configuration.sources, now=registry.clock())
    if made is not None:
        log.info("configuration.due", change=made.id)
    return made is not None
