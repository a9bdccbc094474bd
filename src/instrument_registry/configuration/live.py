"""What is in force, as one process knows it: one snapshot at a time, replaced whole, never older than two seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Gauge

from instrument_registry.configuration import service
from instrument_registry.configuration.model import BadValue, Snapshot, Sources, resolve
from instrument_registry.configuration.parameters import PARAMETERS
from instrument_registry.database import Database, DatabaseUnavailable

POLL_SECONDS = 0.5

log = structlog.get_logger("configuration")
VERSION = Gauge("instrument_registry_configuration_version", "Version of the configuration in force")


class LiveConfiguration:
    """The configuration of one process; without a database it keeps the last it knew, at first that of the start."""

    def __init__(self, database: Database, sources: Sources, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self.sources = sources
        self._elapsed = elapsed
        self._read_at: float | None = None
        self.now = resolve(PARAMETERS.values(), sources, version=0)
        self._changed = asyncio.Event()

    @property
    def age_seconds(self) -> float | None:
        """How long ago it was read; None: never."""
        return None if self._read_at is None else self._elapsed() - self._read_at

    async def refresh(self) -> Snapshot:
        """Read what is in force; Raises: DatabaseUnavailable."""
        began = self._elapsed()
        async with self._database.transaction(read_only=True) as tx:
            read = await service.read(tx, self.sources)
        self._read_at = began
        if read.version != self.now.version:
            log.info("configuration.in_force", version=read.version)
            self._changed.set()
            self._changed = asyncio.Event()
        self.now = read
        VERSION.set(read.version)
        return read

    def changed(self) -> Awaitable[object]:
        """What to wait for until a version after the one of now is in force."""
        return self._changed.wait()

    async def follow(self, *, poll_seconds: float = POLL_SECONDS) -> None:
        """Keep it up to date, for ever: whatever cannot be read leaves what was known."""
        while True:
            try:
                await self.refresh()
            except DatabaseUnavailable as error:
                log.warning("configuration.kept", reason=str(error), version=self.now.version)
            except BadValue as error:  # set by a program with other bounds
                log.error("configuration.not_understood", reason=str(error), version=self.now.version)
            await asyncio.sleep(poll_seconds)
