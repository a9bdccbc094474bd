"""Read-only: writes are refused, whoever asks is told who wanted it and why; it is a parameter like any other."""

from dataclasses import dataclass
from datetime import datetime

from instrument_registry.configuration import service
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Snapshot, Source
from instrument_registry.configuration.parameters import MAINTENANCE
from instrument_registry.database import Database, DatabaseUnavailable, Transaction
from instrument_registry.errors import Unavailable

PINNED = "the environment of the processes says so"


class ReadOnly(Unavailable):
    """Reading goes on. Try the change again when maintenance is over."""

    title = "The registry is read-only for maintenance"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceState:
    """Whether it is read-only, since when, by whom and why."""

    on: bool
    version: int
    source: Source
    by: str | None = None
    reason: str | None = None
    since: datetime | None = None


async def state(tx: Transaction, now: Snapshot) -> MaintenanceState:
    """What is in force, and whose change it was."""
    setting = now.settings[MAINTENANCE.name]
    on = now[MAINTENANCE]
    if setting.source is not Source.LIVE:
        reason = PINNED if setting.source is Source.ENVIRONMENT else None
        return MaintenanceState(on=on, version=now.version, source=setting.source, reason=reason)
    newest = await service.history(tx, name=MAINTENANCE.name, below=now.version + 1, limit=1)
    by, reason, since = (newest[0].actor, newest[0].reason, newest[0].at) if newest else (None, None, None)
    return MaintenanceState(on=on, version=now.version, source=setting.source, by=by, reason=reason, since=since)


class ReadOnlyGate:
    """Refuses what changes something while the registry is read-only; who and why is read once a version."""

    def __init__(self, database: Database, configuration: LiveConfiguration) -> None:
        self._database, self._configuration = database, configuration
        self._known: MaintenanceState | None = None

    async def check(self) -> None:
        """Let a change pass; Raises: ReadOnly."""
        now = self._configuration.now
        if not now[MAINTENANCE]:
            return
        known = self._known
        if known is None or known.version != now.version:
            try:
                async with self._database.transaction(read_only=True) as tx:
                    known = self._known = await state(tx, now)
            except DatabaseUnavailable:  # nothing could be written anyway
                source = now.settings[MAINTENANCE.name].source
                known = MaintenanceState(on=True, version=now.version, source=source)
        who = f" by {known.by}" if known.by else ""
        since = f" since {known.since:%Y-%m-%d %H:%M:%S} UTC" if known.since else ""
        why = f": {known.reason}" if known.reason else ""
        raise ReadOnly(
            f"Read-only{since}{who}{why}", parameter=MAINTENANCE.name, by=known.by, reason=known.reason,
            since=known.since,
        )  # fmt: skip
