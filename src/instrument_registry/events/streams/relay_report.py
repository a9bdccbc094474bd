"""How the relay is doing: told to its row, to the metrics and, with restraint, to the log."""

import asyncio
from collections.abc import Sequence

import structlog
from prometheus_client import Counter, Gauge

from instrument_registry.database import Transaction
from instrument_registry.events import service
from instrument_registry.events.streams import relay_storage
from instrument_registry.events.streams.redis_streams import Group
from instrument_registry.events.streams.relay_storage import RelayState
from instrument_registry.telemetry.watched import KnownGauge

NOTED_EVERY_SECONDS = 1.0
SAID_EVERY_SECONDS = 1.0
SAID_AGAIN_SECONDS = 60.0
USUAL = ("relay.took", "relay.relaying")

POSITION = KnownGauge("instrument_registry_relay_position", "Up to where the log stands on Redis")
LAG = KnownGauge("instrument_registry_relay_lag_events", "Positions beyond that")
ENTRIES = KnownGauge("instrument_registry_relay_entries", "Entries on Redis")
PAUSED = KnownGauge("instrument_registry_relay_paused", "1 while Redis is not reached or takes nothing")
RELAYED = Counter("instrument_registry_relay_events_total", "Events written to Redis")
REFILLS = Counter("instrument_registry_relay_refills_total", "Times the streams on Redis were made again", ["why"])
GROUP_LAG = Gauge("instrument_registry_redis_group_lag", "Entries that a group on Redis has not read", ["group"])
GROUP_PENDING = Gauge("instrument_registry_redis_group_pending", "Entries read and not acknowledged", ["group"])

log = structlog.get_logger("events")


class Report:
    """What one relay tells of itself."""

    def __init__(self, session: Transaction) -> None:
        self.run_id: str | None = None
        self._session = session
        self._position = 0
        self._refills = 0
        self._groups: frozenset[str] = frozenset()
        self._state: RelayState | None = None
        self._noted: tuple[RelayState, str | None, int] | None = None
        self._noted_at = 0.0
        self._said_at = float("-inf")

    def took(self, *, position: int) -> None:
        """It goes on after a position."""
        self._position = position
        POSITION.set(position)
        self._say("relay.took", position=position, run_id=self.run_id)

    def refills(self, why: str, *, after: int) -> None:
        """It begins anew after a position."""
        self._position = after
        self._refills += 1
        POSITION.set(after)
        REFILLS.labels(why=why).inc()
        self._say("relay.refills", why=why, after=after, run_id=self.run_id)

    def relayed(self, events: int, *, position: int) -> None:
        """It has brought over some events and stands at a position."""
        self._position = position
        RELAYED.inc(events)
        POSITION.set(position)

    def sees(self, run_id: str, *, head: int) -> None:
        """It looked at a Redis while the log ended at `head`."""
        if run_id != self.run_id:
            self._say("relay.redis_restarted", run_id=run_id, before=self.run_id)
        self.run_id = run_id
        LAG.set(head - self._position)

    def measured(self, *, entries: int, groups: Sequence[Group]) -> None:
        """What it counted there."""
        ENTRIES.set(entries)
        for group in groups:
            GROUP_LAG.labels(group=group.name).set(group.lag)
            GROUP_PENDING.labels(group=group.name).set(group.pending)
        names = frozenset(group.name for group in groups)
        for name in self._groups - names:
            GROUP_LAG.remove(name)
            GROUP_PENDING.remove(name)
        self._groups = names

    async def tell(self, state: RelayState, *, reason: str | None = None) -> None:
        """In which state it is: to its row when something changed, at most once a second; to the log when that did."""
        now = asyncio.get_running_loop().time()
        PAUSED.set(state is not RelayState.RELAYING)
        if state is not RelayState.RELAYING:
            LAG.set(await service.head_position(self._session) - self._position)
        again = state is not RelayState.RELAYING and now > self._said_at + SAID_AGAIN_SECONDS
        if (again or state is not self._state) and self._say(
            f"relay.{state.value}", reason=reason, position=self._position
        ):
            self._state = state
        if self._noted == (state, reason, self._position) or (
            now < self._noted_at + NOTED_EVERY_SECONDS and self._noted is not None and self._noted[0] is state
        ):
            return
        await relay_storage.save(
            self._session,
            state,
            reason=reason,
            position=self._position,
            run_id=self.run_id,
            refills=self._refills,
        )
        self._noted, self._noted_at, self._refills = (state, reason, self._position), now, 0

    def _say(self, event: str, **facts: object) -> bool:
        """One line a second at most, whatever Redis does; False when there has just been one."""
        now = asyncio.get_running_loop().time()
        if now < self._said_at + SAID_EVERY_SECONDS:
            return False
        self._said_at = now
        (log.info if event in USUAL else log.warning)(event, **facts)
        return True
