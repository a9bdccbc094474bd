"""How events get into a consumer's hands and out of them again.

An attempt is counted before the event is handed out, so no crash hides one. Of a batch that comes back without a word
nobody knows which event was to blame; so what comes back goes out alone, and only what was alone in somebody's hands
can be given up. An event that fails is left behind, and the others go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from instrument_registry.database import Transaction
from instrument_registry.events import service, wire
from instrument_registry.events.model import Archived, Event, EventNotFound
from instrument_registry.events.streams import delivery_storage, hold_storage, storage
from instrument_registry.events.streams.model import (
    DETAIL_CHARACTERS,
    LATER_TIMES,
    NEVER_ACKNOWLEDGED,
    REASON_CHARACTERS,
    UNSETTLED_MAX,
    Acknowledged,
    Failed,
    Handed,
    Hold,
    NoSuchConsumer,
    Retrying,
)

LEASE_SECONDS = 15.0  # a stream whose worker died is missed after so long
SOON_SECONDS = 1.0  # whoever was to wake us may have missed it
READ_MAX = 2_000  # positions looked at in one step
GONE = "the event is no longer in the log"


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a consumer has not been handed yet, as far as somebody has looked: everything in between is not for it."""

    events: list[tuple[Event, str]]
    looked_to: int
    full: bool  # there may be more behind it

    def after(self, position: int) -> "Ahead":
        """What of it is still ahead of a consumer that has come so far."""
        left = [(event, name) for event, name in self.events if (event.position or 0) > position]
        return Ahead(left, self.looked_to, self.full)


@dataclass(frozen=True, slots=True)
class Step:
    """What a stream may send now, and when to ask again at the latest; None when the place is lost."""

    handed: list[Handed]
    reached: int
    again_seconds: float | None = None  # None: when somebody wakes us
    settled: bool = False  # nothing is in anybody's hands, nothing waits
    blocked: bool = False  # something has to be settled first, which wakes us


async def hold(
    tx: Transaction,
    consumer_id: str,
    *,
    process: str,
    batch_size: int,
    stream_id: UUID,
    lease_seconds: float = LEASE_SECONDS,
) -> Hold | None:
    """The right to be served; None while another process has it.

    Raises: NoSuchConsumer.
    """
    consumer = await storage.find(tx, consumer_id, lock=True)
    if consumer is None:
        raise NoSuchConsumer(f"No consumer is called {consumer_id}", consumer_id=consumer_id)
    await storage.seen(tx, consumer_id)
    served = await hold_storage.open_stream(
        tx, consumer, stream_id=stream_id, process=process, batch_size=batch_size, lease_seconds=lease_seconds
    )
    if not served:
        return None
    return Hold(
        stream_id=stream_id, consumer_id=consumer_id, process=process, generation=consumer.generation,
        batch_size=batch_size, event_types=tuple(consumer.event_types), bulk=consumer.bulk, reached=consumer.reached,
    )  # fmt: skip


async def renew(
    tx: Transaction, held: Hold, *, retrying: Retrying, looked_to: int, lease_seconds: float = LEASE_SECONDS
) -> float | None:
    """Keep the right to be served and bury what came back too often; None when it is lost.

    The answer is for how many seconds nothing has been settled although something is held.
    """
    reached = await hold_storage.lock_held(tx, held)
    if reached is None:
        return None
    idle = await hold_storage.renew_stream(tx, held, lease_seconds=lease_seconds)
    if idle is None:
        return None
    await storage.seen(tx, held.consumer_id)
    dead = await delivery_storage.exhausted(tx, held.consumer_id, attempts_max=retrying.attempts_max)
    if dead:
        await delivery_storage.bury(tx, held.consumer_id, dead, otherwise=NEVER_ACKNOWLEDGED)
    if looked_to > reached:
        await storage.reach(tx, held.consumer_id, reached=looked_to)
    return idle if (await delivery_storage.unsettled(tx, held)).mine else 0.0


async def look_ahead(tx: Transaction, held: Hold, *, after: int, limit: int = READ_MAX) -> Ahead:
    """The next events for this consumer after a position."""
    page = await service.read(tx, after=after, limit=limit, bulk=held.bulk)
    chosen = [
        (event, name) for event in page.events if (name := wire.sent_as(event.type, held.event_types)) is not None
    ]
    return Ahead(chosen, page.position, page.position - after >= limit)


async def hand_out(
    tx: Transaction, held: Hold, ahead: Ahead, *, retrying: Retrying, drain: bool = False
) -> Step | None:
    """Put into this stream's hands what is due for another try, else what lies ahead; None when the place is lost.

    With `drain` it is woken when all is settled.
    """
    reached = await hold_storage.lock_held(tx, held)
    if reached is None:
        return None
    there = await delivery_storage.unsettled(tx, held)
    if there.due_seconds is not None and there.due_seconds <= 0:
        return await _again(tx, held, mine=there.mine, reached=reached, retrying=retrying)
    if there.suspects:  # it stays alone until it is settled
        await hold_storage.wait_below(tx, held, 0)
        return Step([], reached, SOON_SECONDS, blocked=True)
    fresh = [(event, name) for event, name in ahead.events if (event.position or 0) > reached]
    free = min(held.batch_size - there.mine, UNSETTLED_MAX - there.whole)
    below = held.batch_size - held.batch_size // 2 - 1  # half a batch at a time is cheaper than one by one
    if fresh and there.mine > below:
        await hold_storage.wait_below(tx, held, below)
        return Step([], reached, there.due_seconds, blocked=True)
    handed = [Handed(event, name, 1) for event, name in fresh[: max(free, 0)]]
    if not handed:
        if drain and there.whole:
            await hold_storage.wait_below(tx, held, 0)
        elif drain and not fresh and ahead.looked_to > reached:
            await storage.reach(tx, held.consumer_id, reached=ahead.looked_to)
        return Step([], reached, there.due_seconds, settled=not there.whole, blocked=drain and there.whole > 0)
    more = len(handed) < len(fresh)
    reached = (handed[-1].event.position or 0) if more else max(ahead.looked_to, reached)
    await delivery_storage.hand_out(
        tx, held, handed, reached=reached, anew=not there.mine, waits_below=below if more else 0 if drain else None
    )
    return Step(handed, reached, there.due_seconds)


async def release(tx: Transaction, held: Hold, *, looked_to: int) -> None:
    """Give the place back; what was in its hands waits for another try."""
    reached = await hold_storage.lock_held(tx, held)
    if reached is not None and looked_to > reached:
        await storage.reach(tx, held.consumer_id, reached=looked_to)
    await hold_storage.close_stream(tx, held)


async def acknowledge(
    tx: Transaction,
    consumer_id: str,
    *,
    positions: Sequence[int] = (),
    up_to: int | None = None,
    process: str | None = None,
    failed: Sequence[Failed] = (),
    unread: Sequence[int] = (),
    leaving: bool = False,
    begun: Sequence[int] = (),
    retrying: Retrying,
    at: datetime,
) -> tuple[Acknowledged, bool]:
    """Settle what a consumer has done, and take back what it could not do or never looked at.

    A process that is leaving gives back everything it has not begun.
    The second answer is whether a stream waits for it. Raises: NoSuchConsumer.
    """
    gone, awaited, position = await delivery_storage.settle(tx, consumer_id, positions, up_to=up_to, process=process)
    returned: set[int] = set()
    if unread or leaving:
        returned = await delivery_storage.give_back(
            tx, consumer_id, unread, leaving=process if leaving else None, begun=begun
        )
    if leaving and process is not None:
        await hold_storage.leave(tx, consumer_id, process)
    dead: list[int] = []
    retried = 0
    unknown = [*(set(positions) - gone), *(set(unread) - returned)]
    for one in failed:
        attempts = await delivery_storage.fail(
            tx, consumer_id, _cut(one), at=at, first_wait_seconds=retrying.first_wait_seconds, later_times=LATER_TIMES
        )
        if attempts is None:
            unknown.append(one.position)
        elif attempts >= retrying.attempts_max:
            dead.append(one.position)
        else:
            retried += 1
    if dead:
        await delivery_storage.bury(tx, consumer_id, dead, otherwise=NEVER_ACKNOWLEDGED)
    if failed or returned:
        await hold_storage.progressed(tx, consumer_id)
        position = await storage.settled_up_to(tx, consumer_id)
    if position is None:
        raise NoSuchConsumer(f"No consumer is called {consumer_id[:100]}", consumer_id=consumer_id[:100])
    done = Acknowledged(
        acknowledged=len(gone), retried=retried, dead=dead, unread=len(returned), unknown=sorted(unknown),
        position=position,
    )  # fmt: skip
    return done, awaited or leaving or bool(failed) or bool(returned)


async def _again(tx: Transaction, held: Hold, *, mine: int, reached: int, retrying: Retrying) -> Step:
    waiting = await delivery_storage.waiting(tx, held, limit=held.batch_size)
    exhausted = await delivery_storage.exhausted(tx, held.consumer_id, attempts_max=retrying.attempts_max)
    if exhausted:
        await delivery_storage.bury(tx, held.consumer_id, exhausted, otherwise=NEVER_ACKNOWLEDGED)
        return Step([], reached, 0.0)
    suspect = bool(waiting) and waiting[0].attempts > 0
    unread = next((n for n, one in enumerate(waiting) if one.attempts), len(waiting))
    chosen = waiting[:1] if suspect else waiting[:unread]
    if mine and chosen:  # it goes out alone, so the others have to come back first
        await hold_storage.wait_below(tx, held, 0)
        return Step([], reached, SOON_SECONDS, blocked=True)
    handed: list[Handed] = []
    for one in chosen:
        try:
            event = await service.find(tx, one.event_id)
        except (EventNotFound, Archived):
            await delivery_storage.bury(tx, held.consumer_id, [one.position], otherwise=GONE)
            continue
        handed.append(Handed(event, one.event_type, one.attempts + 1))
    await delivery_storage.take(tx, held, [one.event.position or 0 for one in handed], alone=suspect)
    await hold_storage.busy(tx, held)
    return Step(handed, reached, SOON_SECONDS)


def _cut(failed: Failed) -> Failed:
    reason = failed.reason.strip()[:REASON_CHARACTERS] or "unsaid"
    return Failed(failed.position, reason, failed.detail[:DETAIL_CHARACTERS] if failed.detail else None)
