"""Brings the log to Redis: a copy of its newest events, which may be lost at any moment and is then made again."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as RedisSilent

from instrument_registry.database import Database, Transaction
from instrument_registry.events import service, storage
from instrument_registry.events.model import Event, Page
from instrument_registry.events.service import SEQUENCED
from instrument_registry.events.streams import layout, redis_streams, relay_storage
from instrument_registry.events.streams.redis_streams import RedisResting, Seen, Streams, Write
from instrument_registry.events.streams.relay_report import Report
from instrument_registry.events.streams.relay_storage import RelayState

LOCK = 0x6972_7265_6C61  # "irrela": whoever relays from this database holds it, as long as its session lives
WAIT_SECONDS = (0.1, 0.2, 0.5, 1.0)  # between attempts while Redis does not take anything
BATCHES_AT_ONCE = 10

log = structlog.get_logger("events")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much stays on Redis, and how often one looks."""

    kept_events: int = 10_000  # stay even when every group has them, and are brought back after a loss
    cap_events: int = 100_000  # at most, however slow a group is: beyond, it reads the store
    trim_after_events: int = 1_000
    poll_seconds: float = 0.5
    look_seconds: float = 1.0  # how soon a loss is noticed while there is nothing to write


BOUNDS = Bounds()


class Refused(Exception):
    """Redis answers, and what stands there is not ours to write over."""


async def run(database: Database, streams: Streams, *, batch_size: Callable[[], int], bounds: Bounds = BOUNDS) -> None:
    """Relay for ever; a second one waits until the first is gone. Raises: DatabaseUnavailable.

    It reads through the session that holds the lock: whoever lost the lock lost the log. What such a relay may still
    have in hand is refused by Redis, where the next one has put its name.
    """
    async with database.session("relay") as session:
        await storage.notice_silence(session)
        while not await storage.locked(session, LOCK):
            await asyncio.sleep(bounds.poll_seconds)
        await storage.listen(session, SEQUENCED)
        await Relay(session, streams, batch_size=batch_size, bounds=bounds).forever()


class Relay:
    """One relay at work: what it knows of its Redis."""

    def __init__(
        self, session: Transaction, streams: Streams, *, batch_size: Callable[[], int], bounds: Bounds
    ) -> None:
        self._session, self._streams, self._batch_size, self._bounds = session, streams, batch_size, bounds
        self._report = Report(session)
        self._position: int | None = None  # None: what stands on Redis has to be looked at first
        self._log_id = ""
        self._since_trim = 0
        self._looked_at = 0.0

    async def forever(self) -> None:
        """Step after step, waiting where Redis does not take anything."""
        self._log_id = (await relay_storage.get(self._session)).log_id
        failures = 0
        while True:
            service.heed_cancellation()
            try:
                await self._catch_up()
            except (RedisGone, RedisSilent, RedisResting, OSError) as error:
                await self._lost_sight(RelayState.UNREACHABLE, error)
            except OutOfMemoryError as error:
                await self._report.tell(RelayState.PAUSED, reason=f"Redis is out of memory: {error}")
                await self._make_room()
            except (RedisError, Refused) as error:
                await self._lost_sight(RelayState.PAUSED, error)
            else:
                failures = 0
                await self._report.tell(RelayState.RELAYING)
                await storage.heard(self._session, timeout_seconds=self._bounds.poll_seconds)
                continue
            await asyncio.sleep(WAIT_SECONDS[min(failures, len(WAIT_SECONDS) - 1)])
            failures += 1

    async def _catch_up(self) -> None:
        """Bring over everything that is there, and see that what was brought still is."""
        more = True
        while more:
            service.heed_cancellation()
            now = asyncio.get_running_loop().time()
            if self._position is None:
                await self._take()
            elif now >= self._looked_at + self._bounds.look_seconds:
                self._looked_at = now
                await self._look()
            more = self._position is None or await self._write_page(self._position)

    async def _write_page(self, after: int) -> bool:
        """Bring over some batches; False when there were none."""
        page = await service.read(self._session, after=after, limit=self._batch_size() * BATCHES_AT_ONCE, bulk=False)
        if page.position == after:
            return False
        if not await self._streams.write(self._writes(page, after)):
            self._position = None
            return True
        self._position = page.position
        self._report.relayed(len(page.events), position=page.position)
        self._since_trim += len(page.events)
        if self._since_trim >= self._bounds.trim_after_events:
            await self._trim()
        return True

    def _writes(self, page: Page, after: int) -> list[Write]:
        size = self._batch_size()
        batches = [page.events[start : start + size] for start in range(0, len(page.events), size)] or [[]]
        ends = [batch[-1].position or 0 for batch in batches[:-1]] + [page.position]
        return [
            Write(
                before,
                end,
                _witness(batch[-1]) if batch else "",
                [layout.entry(event, self._streams.ordering) for event in batch],
            )
            for before, end, batch in zip([after, *ends], ends, batches, strict=False)
        ]

    async def _take(self) -> None:
        """Become the one who writes; where something is missing or is not of this log, begin anew."""
        seen, run_id = await self._streams.see()
        self._report.run_id = run_id
        why = await self._amiss(seen)
        if seen is not None and why is None:
            if await self._streams.take(before=seen.owner):
                self._position = seen.position
                self._report.took(position=seen.position)
            return
        start = await relay_storage.window(self._session, events=self._bounds.kept_events)
        before = seen.owner if seen is not None else ""
        if await self._streams.reset(before=before, log=self._log_id, position=start):
            self._position = start
            self._report.refills(why or "", after=start)

    async def _amiss(self, seen: Seen | None) -> str | None:
        """Why what stands on Redis cannot be gone on from; Raises: Refused for another log's."""
        if seen is None:
            return "empty"
        if seen.log != self._log_id:
            raise Refused(
                "The streams there are another registry's: give this one a Redis or a database number of its own, "
                f"or delete the keys {layout.PREFIX}:*"
            )
        if seen.layout != self._streams.ordering.value:
            return "another ordering"
        if not seen.whole:
            return "damaged"
        if seen.position > await service.head_position(self._session) or not await self._is_told(seen.witness):
            return "another history"
        if seen.position < await relay_storage.window(self._session, events=self._bounds.cap_events):
            return "too far behind"
        return None

    async def _is_told(self, witness: str) -> bool:
        """Whether the newest entry is an event of this log: not so when the database was put back to an earlier day."""
        if not witness:
            return True
        page = await service.read(self._session, after=int(witness.partition(":")[0]) - 1, limit=1)
        return [_witness(event) for event in page.events] == [witness]

    async def _look(self) -> None:
        """See that Redis still has what was brought there."""
        seen, run_id = await self._streams.see()
        self._report.sees(run_id, head=await service.head_position(self._session))
        if seen is None or not seen.whole or (seen.owner, seen.position) != (self._streams.owner, self._position):
            self._position = None
            return
        self._report.measured(entries=seen.entries, groups=await self._streams.groups())

    async def _trim(self) -> None:
        """Let go of what every group has, except for the newest; and of what is beyond the cap."""
        slowest = [group.position for group in await self._streams.groups()]
        kept = await relay_storage.window(self._session, events=self._bounds.kept_events)
        cap = await relay_storage.window(self._session, events=self._bounds.cap_events)
        await self._trim_to(max(cap, min([kept, *slowest]) if slowest else cap))
        self._since_trim = 0

    async def _make_room(self) -> None:
        """Let go of everything that every group has: it may be what fills the memory."""
        try:
            if self._position is not None:
                await self._trim_to(min([group.position for group in await self._streams.groups()] + [self._position]))
        except (RedisError, RedisResting, OSError) as error:
            await self._lost_sight(RelayState.PAUSED, error)

    async def _trim_to(self, floor: int) -> None:
        if not await self._streams.trim(floor=floor):
            self._position = None

    async def _lost_sight(self, state: RelayState, error: Exception) -> None:
        """Say why nothing moves; what was lost meanwhile is found out when Redis is back."""
        self._position = None
        await redis_streams.disconnect(self._streams.client)
        await self._report.tell(state, reason=str(error)[:500] or type(error).__name__)


def _witness(event: Event) -> str:
    return f"{event.position}:{event.event_id}"
