"""Broker connections watched in the background: those whose ticker falls silent are lost."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from instrument_registry import events
from instrument_registry.configuration.parameters import CONNECTION_LOST_AFTER
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.capacity import measures, reporting, service
from instrument_registry.wiring import Registry
from instrument_registry.workers.pausing import outside_maintenance
from instrument_registry.workers.turns import turns

AT_MOST_SECONDS, AT_LEAST_SECONDS = 1.0, 0.05
# Between turns that lie further apart nobody may have been heard: everybody has their time anew.
GAP = timedelta(seconds=3)
TICKS_KEPT = timedelta(days=2)
FORGOTTEN_EVERY_SECONDS = 3600.0

log = structlog.get_logger("worker")


@dataclass(slots=True)
class Listening:
    """Since when tickers could have been heard, and when to look again."""

    since: datetime
    looked_at: datetime
    pause_seconds: float = AT_MOST_SECONDS

    def look(self, now: datetime) -> None:
        """It is looked at now; after a gap it is as if listening had just begun."""
        if now - self.looked_at > GAP or now < self.looked_at:
            self.since = now
        self.looked_at = now


async def watch_connections(registry: Registry) -> None:
    """Look which broker connections were not heard of for too long, for ever."""
    loop = asyncio.get_running_loop()
    began = registry.clock()
    listening, forgetting_due = Listening(began, began), loop.time()
    async for _ in turns(lambda: listening.pause_seconds):
        await outside_maintenance(registry)
        listening.look(registry.clock())
        listening.pause_seconds = await look(registry, hearing_since=listening.since, at=listening.looked_at)
        if loop.time() >= forgetting_due:
            async with registry.database.transaction() as tx:
                await reporting.forget_ticks(tx, before=listening.looked_at - TICKS_KEPT)
            forgetting_due = loop.time() + FORGOTTEN_EVERY_SECONDS


async def look(registry: Registry, *, hearing_since: datetime, at: datetime) -> float:
    """Tell of connections that are lost since now; after how many seconds to look again."""
    lost_after = timedelta(seconds=registry.configuration.now[CONNECTION_LOST_AFTER])
    metadata = Metadata(actor="worker:connections", correlation_id=f"connections-{at:%Y%m%dT%H%M%S}", source="worker")
    async with registry.database.transaction() as tx:
        lost = await reporting.lose_silent(
            tx, lost_after=lost_after, hearing_since=hearing_since, metadata=metadata, at=at
        )
        states = await reporting.all_connections(tx)
        brokers = {one.name: one.terms.broker for one in await service.listed(tx)}
    if lost:
        log.warning("connections.lost", connections=[one.connection for one in lost])
        await events.wake(registry.database)
    measures.measure(states, brokers=brokers)
    silent_at = reporting.next_silence(states, lost_after=lost_after, hearing_since=hearing_since)
    if silent_at is None:
        return AT_MOST_SECONDS
    return min(AT_MOST_SECONDS, max(AT_LEAST_SECONDS, (silent_at - at).total_seconds()))
