"""The limits of single keys as one process knows them: read twice a second, kept when they cannot be read."""

import asyncio
from collections.abc import Mapping

import structlog

from instrument_registry.access.limits import service
from instrument_registry.access.limits.model import KeyLimits
from instrument_registry.database import Database, DatabaseUnavailable

POLL_SECONDS = 0.5

log = structlog.get_logger("limits")


class LiveLimits:
    """What is in force; `now` is replaced whole, and only when something changed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.now: Mapping[str, KeyLimits] = {}

    async def refresh(self) -> None:
        """Read them; Raises: DatabaseUnavailable."""
        async with self._database.transaction(read_only=True) as tx:
            read = await service.list_limits(tx)
        if read != self.now:
            self.now = read

    async def follow(self, *, poll_seconds: float = POLL_SECONDS) -> None:
        """Keep them up to date, for ever; without a database they stay as they were."""
        known = True
        while True:
            try:
                await self.refresh()
                known = True
            except DatabaseUnavailable as error:
                if known:
                    log.warning("limits.kept", reason=str(error), keys=len(self.now))
                known = False
            await asyncio.sleep(poll_seconds)
