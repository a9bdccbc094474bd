"""What is in force, as one process knows it: one snapshot at a time, replaced whole, never older than two seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from prometheus_client import Gauge

from instrument_registry import clock
from instrument_registry.configuration import service
from instrument_registry.configuration.external import External
from instrument_registry.configuration.model import BadValue, Snapshot, Sources, resolve, with_external
from instrument_registry.configuration.parameters import CONFIG_SERVICE_REFRESH, LOG_LEVELS, PARAMETERS
from instrument_registry.configuration.toggles import TOGGLES, overdue
from instrument_registry.database import Database, DatabaseUnavailable, Transaction
from instrument_registry.telemetry import levels
from instrument_registry.telemetry.watched import KnownGauge

POLL_SECONDS = 0.5

log = structlog.get_logger("configuration")
OVERDUE = Gauge("instrument_registry_toggles_overdue", "Toggles that should have been taken out of the program")
OVERDUE.set_function(lambda: len(overdue(TOGGLES.values(), clock.now().astimezone(clock.MARKET_ZONE).date())))
VERSION = KnownGauge("instrument_registry_configuration_version", "Version of the configuration in force")


class LiveConfiguration:
    """The configuration of one process; without a database it keeps the last it knew, at first that of the start."""

    def __init__(
        self,
        database: Database,
        sources: Sources,
        *,
        elapsed: Callable[[], float] = time.monotonic,
        external: External | None = None,
    ) -> None:
        self._database = database
        self.sources = sources
        self.external = external
        self._elapsed = elapsed
        self._read_at: float | None = None
        self.now = resolve(PARAMETERS.values(), sources, version=0)
        levels.parts.set(levels.read_levels(self.now[LOG_LEVELS]))
        self._changed = asyncio.Event()
        self._beside: list[Callable[[Transaction], Awaitable[None]]] = []

    @property
    def age_seconds(self) -> float | None:
        """How long ago it was read; None: never."""
        return None if self._read_at is None else self._elapsed() - self._read_at

    def read_beside(self, read: Callable[[Transaction], Awaitable[None]]) -> None:
        """Let something else that every process must know be read in the same transactions."""
        self._beside.append(read)

    async def refresh(self) -> Snapshot:
        """Read what is in force; Raises: DatabaseUnavailable."""
        began = self._elapsed()
        async with self._database.transaction(read_only=True) as tx:
            for other in self._beside:
                await other(tx)
            read = await service.read(tx, self.sources)
        self._read_at = began
        if read.version != self.now.version:
            log.info("configuration.in_force", version=read.version)
        self._replace(read)
        VERSION.set(read.version)
        return read

    def take_external(self) -> None:
        """Let what the external service says now be in force, whether or not the database answers."""
        if self.external is not None:
            self.sources = replace(self.sources, external=self.external.values)
            self._replace(with_external(self.now, PARAMETERS.values(), self.sources))

    def _replace(self, read: Snapshot) -> None:
        if (read.version, read.settings) != (self.now.version, self.now.settings):
            self._changed.set()
            self._changed = asyncio.Event()
        if read[LOG_LEVELS] != self.now[LOG_LEVELS]:
            levels.parts.set(levels.read_levels(read[LOG_LEVELS]))
        self.now = read

    def changed(self) -> Awaitable[object]:
        """What to wait for until a version after the one of now is in force."""
        return self._changed.wait()

    async def follow(self, *, poll_seconds: float = POLL_SECONDS) -> None:
        """Keep it up to date, for ever: whatever cannot be read leaves what was known."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(poll_seconds))
            if self.external is not None:
                tasks.create_task(
                    self.external.follow(
                        self.take_external, refresh_seconds=lambda: float(self.now[CONFIG_SERVICE_REFRESH])
                    )
                )

    async def _follow(self, poll_seconds: float) -> None:
        while True:
            try:
                await self.refresh()
            except DatabaseUnavailable as error:
                log.warning("configuration.kept", reason=str(error), version=self.now.version)
            except BadValue as error:  # set by a program with other bounds
                log.error("configuration.not_understood", reason=str(error), version=self.now.version)
            await asyncio.sleep(poll_seconds)
