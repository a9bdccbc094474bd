"""Streams of events: for a consumer, who acknowledges; or from a position on, for somebody who keeps count alone.

Each is a sequence of parts: what to send, a sign of life, or the end with its reason. A database that is away is waited
for, with signs of life.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import structlog

from instrument_registry.database import Database, DatabaseUnavailable
from instrument_registry.events import service, wire
from instrument_registry.events.service import heed_cancellation
from instrument_registry.events.streams import delivering, hold_storage, positions
from instrument_registry.events.streams.delivering import LEASE_SECONDS, Ahead
from instrument_registry.events.streams.model import Handed, Hold, NoSuchConsumer, Retrying, Wanted
from instrument_registry.events.streams.signals import Signals, Woken, wake

RENEW_SECONDS = LEASE_SECONDS / 3
POLL_SECONDS = 5.0  # looked at even when nobody said anything
BLOCKED_SECONDS = 1.0
STANDBY_SECONDS = 1.0
# Whoever is in the flow looks no more often than this: then what came meanwhile goes out together.
GATHER_SECONDS = 0.02

ALL_SENT = "everything there is has been sent"
NOTHING = Ahead([], 0, full=False)

_RELEASING: set[asyncio.Task[None]] = set()

log = structlog.get_logger("events")


@dataclass(frozen=True, slots=True)
class Batch:
    """Events to send, and the position up to which nothing else was for this stream."""

    handed: list[Handed]
    position: int


@dataclass(frozen=True, slots=True)
class Alive:
    """A sign of life: where the stream stands, and whether it waits for another process to leave."""

    position: int
    standby: bool = False


class Why(StrEnum):
    """Why a stream ended; a reader comes again unless it is said otherwise."""

    CAUGHT_UP = "caught_up"  # as was asked
    UNACKNOWLEDGED = "unacknowledged"
    STOPPING = "stopping"
    UNAVAILABLE = "unavailable"
    ELSEWHERE = "elsewhere"  # do not come again: the same process is being served
    REMOVED = "removed"  # do not come again
    REFUSED = "refused"  # do not come again with this key
    ARCHIVED = "archived"  # do not come again for this position


@dataclass(frozen=True, slots=True)
class Ended:
    """The last part, and why."""

    why: Why
    detail: str


Part = Batch | Alive | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a stream for a consumer is served."""

    process: str
    batch_size: int
    retrying: Retrying
    acknowledge_seconds: float  # how long one event may take
    drain: bool = False  # end when everything is settled, or another process is being served


async def follow_for(
    database: Database, signals: Signals, consumer_id: str, *, terms: Terms, new_id: Callable[[], UUID]
) -> AsyncGenerator[Part, None]:
    """Serve a consumer until it is lost; once this is closed, what was held waits for another try."""
    with signals.subscribed(consumer_id) as woken:
        held: Hold | None = None
        looked = _Looked(0)
        try:
            while True:
                try:
                    held = await _opened(database, consumer_id, terms=terms, stream_id=new_id())
                    if held is None:
                        if terms.drain:
                            yield Ended(Why.CAUGHT_UP, "another process is being served")
                            return
                        yield Alive(0, standby=True)
                        await woken.wait(STANDBY_SECONDS)
                        continue
                    looked = _Looked(held.reached)
                    await wake(database, consumer_id)  # whoever had the place sees that it has not
                    async with contextlib.aclosing(
                        _served(database, held, looked=looked, woken=woken, terms=terms)
                    ) as parts:
                        async for part in parts:
                            yield part
                            if isinstance(part, Ended):
                                return
                    if await _superseded(database, held):
                        yield Ended(Why.ELSEWHERE, "this process has left, or is being served elsewhere")
                        return
                    held = None  # moved or changed: go on from there
                except DatabaseUnavailable as error:
                    log.warning("streams.waits", consumer_id=consumer_id, reason=str(error))
                    yield Alive(held.reached if held else 0)
                    await asyncio.sleep(BLOCKED_SECONDS)
        except NoSuchConsumer:
            held = None
            yield Ended(Why.REMOVED, "the consumer has been removed")
        except _Unacknowledged as error:
            yield Ended(Why.UNACKNOWLEDGED, f"nothing was acknowledged for {error.seconds:.0f} s")
        finally:
            if held is not None:
                releasing = asyncio.create_task(_release(database, held, looked_to=looked.to))
                _RELEASING.add(releasing)
                releasing.add_done_callback(_RELEASING.discard)
                await asyncio.shield(releasing)  # whoever leaves in a hurry must not keep the place


async def follow_from(
    database: Database, signals: Signals, *, after: int, wanted: Wanted, limit: int, drain: bool = False
) -> AsyncGenerator[Part, None]:
    """Every event after a position, for ever; nobody remembers how far the reader has come but the reader."""
    now = asyncio.get_running_loop().time
    looked_at = now() - GATHER_SECONDS
    with signals.subscribed() as woken:
        while True:
            await asyncio.sleep(max(0.0, looked_at + GATHER_SECONDS - now()))
            looked_at = now()
            woken.heed()
            try:
                async with database.transaction(read_only=True) as tx:
                    await positions.ensure_readable(tx, after + 1)
                    page = await service.read(tx, after=after, limit=limit, bulk=wanted.bulk)
            except DatabaseUnavailable as error:
                log.warning("streams.waits", reason=str(error), position=after)
                yield Alive(after)
                await asyncio.sleep(BLOCKED_SECONDS)
                continue
            if page.position == after:
                if drain:
                    yield Ended(Why.CAUGHT_UP, ALL_SENT)
                    return
                yield Alive(after)
                await woken.wait(POLL_SECONDS)
                continue
            if page.position - after >= limit:
                looked_at = now() - GATHER_SECONDS
            named = ((event, wire.sent_as(event.type, wanted.event_types)) for event in page.events)
            after = page.position
            yield Batch([Handed(event, name, 1) for event, name in named if name is not None], after)


class _Unacknowledged(Exception):
    """The consumer holds something and says nothing."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


@dataclass(slots=True)
class _Looked:
    """How far a stream has looked: up to there everything has been handed out or was not for it."""

    to: int


async def _served(
    database: Database, held: Hold, *, looked: _Looked, woken: Woken, terms: Terms
) -> AsyncGenerator[Part, None]:
    """The parts of one hold, until it is lost."""
    now = asyncio.get_running_loop().time
    ahead = NOTHING
    alive_at = due_at = now()
    blocked = False
    # Beside the sending, which waits for a slow reader.
    keeping = asyncio.create_task(_keep(database, held, looked=looked, terms=terms))
    keeping.add_done_callback(lambda _: woken.rouse(moved=True))
    try:
        while True:
            heed_cancellation()
            looked_at, moved = now(), woken.heed()
            if keeping.done():
                keeping.result()  # Raises: DatabaseUnavailable, _Unacknowledged
                return
            if now() >= alive_at:
                alive_at = now() + RENEW_SECONDS
                yield Alive(looked.to)
            if not ahead.events:
                async with database.transaction(read_only=True) as tx:
                    ahead = await delivering.look_ahead(tx, held, after=looked.to)
            if ahead.events or moved or terms.drain or now() >= due_at:
                async with database.transaction() as tx:
                    step = await delivering.hand_out(tx, held, ahead, retrying=terms.retrying, drain=terms.drain)
                if step is None:
                    return
                if step.handed:
                    yield Batch(step.handed, step.reached)
                elif step.settled and terms.drain and not ahead.full and not ahead.after(step.reached).events:
                    yield Ended(Why.CAUGHT_UP, ALL_SENT)
                    return
                ahead = ahead.after(step.reached)
                due_at = alive_at if step.again_seconds is None else now() + step.again_seconds
                blocked, asked = step.blocked, blocked
                if blocked and not asked:  # what we asked to be woken by may just have happened
                    woken.rouse(moved=True)
            if not ahead.events:
                looked.to = max(looked.to, ahead.looked_to)
                if ahead.full:
                    continue
            await asyncio.sleep(max(0.0, looked_at + GATHER_SECONDS - now()))
            await woken.wait(min(alive_at, due_at, now() + BLOCKED_SECONDS if ahead.events else alive_at) - now())
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep(database: Database, held: Hold, *, looked: _Looked, terms: Terms) -> None:
    """Renew a hold until it is lost; Raises: DatabaseUnavailable, _Unacknowledged."""
    while True:
        async with database.transaction() as tx:
            idle = await delivering.renew(tx, held, retrying=terms.retrying, looked_to=looked.to)
        if idle is None:
            return
        if idle > terms.acknowledge_seconds:
            raise _Unacknowledged(idle)
        await asyncio.sleep(min(RENEW_SECONDS, terms.acknowledge_seconds))


async def _opened(database: Database, consumer_id: str, *, terms: Terms, stream_id: UUID) -> Hold | None:
    async with database.transaction() as tx:
        return await delivering.hold(
            tx, consumer_id, process=terms.process, batch_size=terms.batch_size, stream_id=stream_id
        )


async def _superseded(database: Database, held: Hold) -> bool:
    async with database.transaction(read_only=True) as tx:
        return await hold_storage.superseded(tx, held)


async def _release(database: Database, held: Hold, *, looked_to: int) -> None:
    try:
        async with database.transaction() as tx:
            await delivering.release(tx, held, looked_to=looked_to)
    except DatabaseUnavailable as error:  # nobody renews it, so it is missed in a while
        log.warning("streams.not_released", consumer_id=held.consumer_id, reason=str(error))
    else:
        await wake(database, held.consumer_id)
