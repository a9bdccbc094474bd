"""How a child connects: its supervisor has seen the database work, so a silence is waited out and not died of."""

import asyncio

import structlog

from instrument_registry.database import DatabaseUnavailable
from instrument_registry.processes.control import Supervised
from instrument_registry.processes.runfile import service_database_url
from instrument_registry.settings import Settings
from instrument_registry.wiring import Registry, open_registry

AGAIN_SECONDS = 0.5
log = structlog.get_logger("supervisor")


async def open_as_child(settings: Settings, supervisor: Supervised | None, *, application: str) -> Registry:
    """The registry's parts, connected; whoever works alone is told at once.

    A child that ended instead would be started again and again until its supervisor gave everything up, the answers
    from memory among it. Raises: NotRunning, RequiredMissing; alone also DatabaseUnavailable.
    """
    while True:
        try:
            return await open_registry(settings, database_url=service_database_url(settings), application=application)
        except DatabaseUnavailable as error:
            if supervisor is None:
                raise
            log.warning("database.awaited", reason=str(error), application=application)
            await asyncio.sleep(AGAIN_SECONDS)
