"""Consumers are made once, moved and removed by operators, and every such step is a fact."""

from collections.abc import Sequence
from datetime import datetime

from instrument_registry.database import Transaction
from instrument_registry.errors import Invalid
from instrument_registry.events import service
from instrument_registry.events.model import Metadata
from instrument_registry.events.streams import positions, storage
from instrument_registry.events.streams.events import (
    Choice,
    ConsumerCreated,
    ConsumerFilterChanged,
    ConsumerRemoved,
    ConsumerSilent,
    ConsumerSought,
    stream_of,
)
from instrument_registry.events.streams.model import (
    CONSUMERS_MAX,
    FILTERS_MAX,
    Asked,
    Consumer,
    ConsumerExists,
    NoSuchConsumer,
    Standing,
    TooManyConsumers,
    Wanted,
    check_consumer_id,
    check_reason,
)
from instrument_registry.events.streams.positions import Start
from instrument_registry.events.wire import check_filters


async def create(
    tx: Transaction, consumer_id: str, wanted: Wanted, *, start: Start, metadata: Metadata, at: datetime
) -> Consumer:
    """A new consumer that begins there; Raises: ConsumerExists, TooManyConsumers, Archived, BeyondTheEnd, Invalid."""
    check_consumer_id(consumer_id)
    check_wanted(wanted)
    reached = await positions.before(tx, start)
    made = await storage.insert(tx, consumer_id, wanted, reached=reached, at=at, by=metadata.actor)
    if made is None:
        raise ConsumerExists(f"{consumer_id} exists", consumer_id=consumer_id)
    if await storage.count(tx) > CONSUMERS_MAX:
        raise TooManyConsumers(f"There may be {CONSUMERS_MAX}; remove some that nobody uses")
    fact = ConsumerCreated(occurred_at=at, consumer_id=consumer_id, position=reached, new=_choice(wanted))
    await service.append(tx, fact, stream=stream_of(consumer_id), metadata=metadata)
    return made


async def ensure(
    tx: Transaction, consumer_id: str, asked: Asked, *, start: Start, metadata: Metadata, at: datetime
) -> tuple[Consumer, bool]:
    """The consumer with this name, made or changed to what is asked for; and whether anything had to be.

    Raises: TooManyConsumers, Archived, BeyondTheEnd, Invalid.
    """
    found = await storage.find(tx, consumer_id)
    if found is None:
        try:
            async with tx.transaction():
                wanted = asked.over(Wanted())
                made = await create(tx, consumer_id, wanted, start=start, metadata=metadata, at=at)
            return made, True
        except ConsumerExists:  # somebody else was quicker
            found = await storage.find(tx, consumer_id)
            assert found is not None
    wanted = asked.over(wanted_by(found))
    if wanted == wanted_by(found):
        return found, False
    return await change(tx, consumer_id, wanted, metadata=metadata, at=at), True


async def change(tx: Transaction, consumer_id: str, wanted: Wanted, *, metadata: Metadata, at: datetime) -> Consumer:
    """Let a consumer ask for other events from where it stands; Raises: NoSuchConsumer, Invalid."""
    check_wanted(wanted)
    before = wanted_by(await _locked(tx, consumer_id))
    if before != wanted:
        await storage.choose(tx, consumer_id, wanted)
        fact = ConsumerFilterChanged(occurred_at=at, consumer_id=consumer_id, old=_choice(before), new=_choice(wanted))
        await service.append(tx, fact, stream=stream_of(consumer_id), metadata=metadata)
    return await _locked(tx, consumer_id)


async def find(tx: Transaction, consumer_id: str) -> Standing:
    """A consumer and how it is doing; Raises: NoSuchConsumer."""
    for standing in await storage.standings(tx, consumer_id=consumer_id):
        return standing
    raise _unknown(consumer_id)


async def listed(tx: Transaction, *, after: str = "", limit: int = CONSUMERS_MAX) -> list[Standing]:
    """Consumers by name."""
    return await storage.standings(tx, after=after, limit=limit)


async def seek(
    tx: Transaction, consumer_id: str, start: Start, *, reason: str, metadata: Metadata, at: datetime
) -> Standing:
    """Move a consumer; what it held is forgotten, and whoever is being served goes on from there.

    Raises: NoSuchConsumer, Archived, BeyondTheEnd, Invalid.
    """
    said = check_reason(reason)
    await _locked(tx, consumer_id)
    before = await find(tx, consumer_id)
    reached = await positions.before(tx, start)
    forgotten = await storage.move(tx, consumer_id, reached=reached)
    fact = ConsumerSought(
        occurred_at=at, consumer_id=consumer_id, old=before.position, new=reached, forgotten=forgotten, reason=said
    )
    await service.append(tx, fact, stream=stream_of(consumer_id), metadata=metadata)
    return await find(tx, consumer_id)


async def remove(tx: Transaction, consumer_id: str, *, reason: str, metadata: Metadata, at: datetime) -> Standing:
    """Take a consumer away; its dead letters stay as long as they are kept; Raises: NoSuchConsumer, Invalid."""
    said = check_reason(reason)
    await _locked(tx, consumer_id)
    before = await find(tx, consumer_id)
    await storage.remove(tx, consumer_id)
    fact = ConsumerRemoved(occurred_at=at, consumer_id=consumer_id, old=before.position, reason=said)
    await service.append(tx, fact, stream=stream_of(consumer_id), metadata=metadata)
    return before


async def silent(tx: Transaction, *, days: float) -> list[str]:
    """Consumers that have given no sign of life for days."""
    return await storage.silent(tx, days=days, untold=False)


async def tell_silent(tx: Transaction, *, days: float, metadata: Metadata, at: datetime) -> list[str]:
    """Tell once of each consumer that has fallen silent."""
    found = await storage.silent(tx, days=days, untold=True)
    for consumer_id in found:
        standing = await find(tx, consumer_id)
        seen_at = standing.consumer.seen_at.isoformat()
        fact = ConsumerSilent(occurred_at=at, consumer_id=consumer_id, seen_at=seen_at, lag=standing.lag)
        await service.append(tx, fact, stream=stream_of(consumer_id), metadata=metadata)
    return found


def check_wanted(wanted: Wanted) -> None:
    """See that a filter can be understood; Raises: Invalid."""
    if not 1 <= len(wanted.event_types) <= FILTERS_MAX:
        raise Invalid(f"A consumer has 1 to {FILTERS_MAX} event types", field="event_types")
    check_filters(wanted.event_types, field="event_types")


def wanted_by(consumer: Consumer) -> Wanted:
    """What a consumer asks for."""
    return Wanted(event_types=tuple(consumer.event_types), bulk=consumer.bulk, shared=consumer.shared)


async def _locked(tx: Transaction, consumer_id: str) -> Consumer:
    found = await storage.find(tx, consumer_id, lock=True)
    if found is None:
        raise _unknown(consumer_id)
    return found


def _unknown(consumer_id: str) -> NoSuchConsumer:
    return NoSuchConsumer(f"No consumer is called {consumer_id[:100]}", consumer_id=consumer_id[:100])


def _choice(wanted: Wanted) -> Choice:
    return Choice(event_types=list(wanted.event_types), bulk=wanted.bulk, shared=wanted.shared)


def distinct(event_types: Sequence[str]) -> tuple[str, ...]:
    """Filters without repetition, in the order given."""
    return tuple(dict.fromkeys(event_types))
