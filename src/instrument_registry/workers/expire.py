"""The expiry of contracts as a background worker."""

from datetime import datetime, time, timedelta

import structlog

from instrument_registry.catalog.ingestion import expiring
from instrument_registry.clock import MARKET_ZONE
from instrument_registry.wiring import Registry
from instrument_registry.workers.pausing import outside_maintenance
from instrument_registry.workers.turns import turns

# Clocks of several machines differ a little.
AFTER_MIDNIGHT = timedelta(minutes=1)

log = structlog.get_logger("worker")


async def expire_daily(registry: Registry) -> None:
    """Expire what has ended, now and after each midnight of the market, for ever."""
    async for _ in turns(lambda: seconds_to_midnight(registry.clock())):
        await outside_maintenance(registry)
        count = await expiring.expire(registry.database, clock=registry.clock)
        if count:
            log.info("expiry.told", contracts=count)


def seconds_to_midnight(now: datetime) -> float:
    """How long it is until shortly after the market's next midnight."""
    here = now.astimezone(MARKET_ZONE)
    midnight = datetime.combine(here.date() + timedelta(days=1), time(), MARKET_ZONE)
    return (midnight + AFTER_MIDNIGHT - here).total_seconds()
