"""Feeds listened to in the background: what is carried and does not tick while its market is open is told of."""

import structlog

from instrument_registry import events
from instrument_registry.configuration.parameters import TICK_SILENCE
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.silence import measures
from instrument_registry.subscriptions.silence.model import Judged
from instrument_registry.subscriptions.silence.watching import Watch
from instrument_registry.wiring import Registry
from instrument_registry.workers.pausing import outside_maintenance
from instrument_registry.workers.turns import turns

# A silence is told of at most a quarter of its length late.
SHARE = 0.25
AT_LEAST_SECONDS, AT_MOST_SECONDS = 0.5, 15.0

log = structlog.get_logger("worker")


async def listen_for_silence(registry: Registry) -> None:
    """Look which carried instruments do not tick although their markets are open, for ever."""
    watch = Watch()
    async for _ in turns(lambda: _pause_seconds(registry)):
        await outside_maintenance(registry)
        await look(registry, watch)


async def look(registry: Registry, watch: Watch) -> dict[str, Judged]:
    """Tell of what has fallen silent, and of what ticks again; how each account stands."""
    at = registry.clock()
    metadata = Metadata(actor="worker:silence", correlation_id=f"silence-{at:%Y%m%dT%H%M%S}", source="worker")
    after_seconds = registry.configuration.now[TICK_SILENCE]
    async with registry.database.transaction() as tx:
        found, told = await watch.look(
            tx, registry.planning.memory, after_seconds=after_seconds, metadata=metadata, at=at
        )
    if told:
        log.warning("feed.changed", accounts={account: len(one.silent) for account, one in found.items()})
        await events.wake(registry.database)
    measures.measure(found)
    return found


def _pause_seconds(registry: Registry) -> float:
    return min(AT_MOST_SECONDS, max(AT_LEAST_SECONDS, SHARE * registry.configuration.now[TICK_SILENCE]))
