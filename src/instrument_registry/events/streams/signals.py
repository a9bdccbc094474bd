"""One ear of a process on the database: however many streams it serves, one connection listens for all of them."""

import asyncio
import contextlib
from collections.abc import Iterator

import structlog

from instrument_registry.database import Database, DatabaseUnavailable, Transaction
from instrument_registry.events import storage as log_storage
from instrument_registry.events.service import SEQUENCED

# Sent in transactions of their own, with a consumer's name: a notification takes a lock of the whole server at commit.
MOVED = "consumers_moved"
AGAIN_SECONDS = 1.0

log = structlog.get_logger("events")


class Woken:
    """Says whether it is worth looking again: the log has grown, or the consumer was moved."""

    def __init__(self, consumer_id: str | None) -> None:
        self.consumer_id = consumer_id
        self._event = asyncio.Event()
        self._moved = True

    def rouse(self, *, moved: bool) -> None:
        """Let whoever waits go on."""
        self._moved = self._moved or moved
        self._event.set()

    def heed(self) -> bool:
        """Before looking: whether the consumer may have been moved since the last time."""
        moved, self._moved = self._moved, False
        self._event.clear()
        return moved

    async def wait(self, timeout_seconds: float) -> None:
        """Wait until there is something to look at, or until the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._event.wait()


class Signals:
    """Wakes streams when the log grows, and one consumer's when that is moved; it listens while anybody waits."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: set[Woken] = set()
        self._listening: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def subscribed(self, consumer_id: str | None = None) -> Iterator[Woken]:
        """What wakes a stream for a consumer, or one for nobody in particular."""
        woken = Woken(consumer_id)
        self._waiting.add(woken)
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen())
        try:
            yield woken
        finally:
            self._waiting.discard(woken)
            if not self._waiting and self._listening is not None:
                self._stop(self._listening)

    def _stop(self, listening: asyncio.Task[None]) -> None:
        listening.cancel()
        self._ending.add(listening)
        listening.add_done_callback(self._ending.discard)
        self._listening = None

    async def _listen(self) -> None:
        while True:
            try:
                async with self._database.session("streams") as session:
                    for channel in (SEQUENCED, MOVED):
                        await log_storage.listen(session, channel)
                    self._wake(None, moved=True)  # what came before we listened
                    await self._hear(session)
            except DatabaseUnavailable as error:
                log.warning("streams.ear_waits", reason=str(error))
                await asyncio.sleep(AGAIN_SECONDS)

    async def _hear(self, session: Transaction) -> None:
        async for heard in session.notifies():
            if heard.channel == MOVED:
                self._wake(heard.payload, moved=True)
            else:
                self._wake(None, moved=False)

    def _wake(self, consumer_id: str | None, *, moved: bool) -> None:
        for woken in self._waiting:
            if consumer_id is None or woken.consumer_id == consumer_id:
                woken.rouse(moved=moved)


async def wake(database: Database, consumer_id: str) -> None:
    """Let whoever serves a consumer look again, after a commit."""
    try:
        async with database.transaction() as tx:
            await log_storage.notify(tx, MOVED, consumer_id)
    except DatabaseUnavailable as error:  # what was committed stays so, and they look again by themselves
        log.warning("streams.not_woken", consumer_id=consumer_id, reason=str(error))
