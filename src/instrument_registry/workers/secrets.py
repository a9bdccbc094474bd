"""Secrets whose time is over, as a background worker."""

import asyncio

import structlog

from instrument_registry import events
from instrument_registry.configuration.secrets import service
from instrument_registry.events import Metadata
from instrument_registry.wiring import Registry

POLL_SECONDS = 30.0

log = structlog.get_logger("secrets")


async def forget_ended_secrets(registry: Registry) -> None:
    """Take the values of former versions away once their overlap is over, for ever."""
    while True:
        now = registry.clock()
        metadata = Metadata(actor="overlap", correlation_id=f"secrets-{now:%Y%m%dT%H%M%S}", source="worker")
        async with registry.database.transaction() as tx:
            gone = await service.forget_ended(tx, metadata=metadata, now=now)
        if gone:
            log.info("secrets.forgotten", versions=gone)
            await events.wake(registry.database)
            continue
        await asyncio.sleep(POLL_SECONDS)
