"""The one who gives every event its position: dense, from 1, and never before an earlier event of the same stream."""

import asyncio

import structlog
from prometheus_client import Counter

from instrument_registry.database import Database, Transaction
from instrument_registry.events import storage
from instrument_registry.events.service import APPENDED, MONTHS_AHEAD, SEQUENCED

LOCK = 0x6972_7365_7175  # "irsequ": whoever sequences this database holds it, as long as its session lives
POLL_SECONDS = 0.25
APPENDS_MAX = 5_000  # in one statement
MONTHS_CHECKED_EVERY_SECONDS = 3600

PLACED = Counter("instrument_registry_events_sequenced", "Events that were given their position")

log = structlog.get_logger("events")


async def run(database: Database, *, poll_seconds: float = POLL_SECONDS) -> None:
    """Sequence for ever; a second one waits until the first is gone.

    Each step is one statement, done or not done; and a session that was cut off cannot write: so it may be killed
    anywhere. Raises: DatabaseUnavailable.
    """
    async with database.session("sequencer") as session:
        await storage.notice_silence(session)
        while not await storage.locked(session, LOCK):
            await asyncio.sleep(poll_seconds)
        log.info("events.sequencer_started")
        await storage.listen(session, APPENDED)
        loop = asyncio.get_running_loop()
        months_due = loop.time()
        while True:
            await catch_up(session)
            if loop.time() >= months_due:
                await storage.ensure_months(session, months_ahead=MONTHS_AHEAD)
                months_due = loop.time() + MONTHS_CHECKED_EVERY_SECONDS
            await storage.heard(session, timeout_seconds=poll_seconds)


async def catch_up(session: Transaction) -> int:
    """Give positions to everything that waits for one and wake the readers; how many events there were.

    For a session in autocommit of which there is only one.
    """
    total = 0
    while True:
        appends, facts = await storage.advance(session, appends_max=APPENDS_MAX)
        if facts:
            await storage.notify(session, SEQUENCED)
        total += facts
        PLACED.inc(facts)
        if appends < APPENDS_MAX:
            return total
