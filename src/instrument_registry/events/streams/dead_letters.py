"""Dead letters: looked at, given another try, one or many at once, discarded with a reason, and not kept for ever."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import TupleRow, class_row

from instrument_registry.database import Transaction
from instrument_registry.events import service
from instrument_registry.events.model import Metadata
from instrument_registry.events.streams.events import (
    DEAD_LETTERS,
    DeadLetterDiscarded,
    DeadLetterExpired,
    DeadLetterReplayed,
)
from instrument_registry.events.streams.model import (
    DeadLetter,
    Letters,
    NoSuchConsumer,
    NoSuchDeadLetter,
    OtherCount,
    check_reason,
)

AT_ONCE_MAX = 1_000
COLUMNS = "id, consumer_id, position, event_id, event_type, reason, attempts, failures, died_at"

MEANT = """
       (%(event_type)s::text is null or event_type = %(event_type)s)
   and (%(consumer_id)s::text is null or consumer_id = %(consumer_id)s)
   and (%(reason)s::text is null or reason = %(reason)s)
   and (%(ids)s::bigint[] is null or id = any(%(ids)s))
   and (%(before)s::timestamptz is null or died_at < %(before)s)
"""

LIST = f"select {COLUMNS} from dead_letters where id > %(after)s and {MEANT} order by id limit %(limit)s"

COUNT = f"select count(*) from dead_letters where {MEANT}"

GROUPS = f"""
select event_type, reason, count(*), min(died_at), max(died_at), array_agg(distinct consumer_id order by consumer_id)
  from dead_letters where {MEANT} group by 1, 2 order by 3 desc, 1, 2 limit %(limit)s
"""

TAKE = f"""
select {COLUMNS} from dead_letters where {MEANT} order by id limit {AT_ONCE_MAX} for update
"""

# Its history goes with it; one that is still ahead of its consumer (after a seek) only loses its letter.
REVIVE = """
with gone as (
    delete from dead_letters where id = any(%(ids)s) returning *
)
insert into deliveries (consumer_id, position, event_id, event_type, attempts, replayed, failures)
select consumer_id, g.position, g.event_id, g.event_type, 0, true, g.failures
  from gone g join consumers c using (consumer_id) where g.position <= c.reached
    on conflict (consumer_id, position) do nothing
"""

# Several workers may try: each letter goes once.
EXPIRE = f"""
delete from dead_letters where id in (
    select id from dead_letters where died_at < %(before)s order by id limit {AT_ONCE_MAX} for update skip locked)
returning id, consumer_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Dead letters of one type that died for one reason."""

    event_type: str
    reason: str
    count: int
    first_died_at: datetime
    last_died_at: datetime
    consumers: list[str]


async def groups(tx: Transaction, letters: Letters, *, limit: int = 1_000) -> list[Group]:
    """Dead letters by type and reason, the most frequent first."""
    cursor = await tx.execute(GROUPS.encode(), _values(letters) | {"limit": limit})
    return [_group(row) for row in await cursor.fetchall()]


async def listed(tx: Transaction, letters: Letters, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
    """Dead letters, the oldest first."""
    async with tx.cursor(row_factory=class_row(DeadLetter)) as cursor:
        await cursor.execute(LIST.encode(), _values(letters) | {"after": after, "limit": limit})
        return await cursor.fetchall()


async def count(tx: Transaction, letters: Letters) -> int:
    """How many dead letters are meant."""
    row = await (await tx.execute(COUNT.encode(), _values(letters))).fetchone()
    assert row is not None
    return int(row[0])


async def find(tx: Transaction, event_type: str, letter: int) -> DeadLetter:
    """The dead letter of a type with an id; Raises: NoSuchDeadLetter."""
    for found in await listed(tx, Letters(event_type=event_type, ids=[letter]), limit=1):
        return found
    raise NoSuchDeadLetter(f"No dead letter of {event_type[:100]} has the id {letter}", id=letter)


async def replay(
    tx: Transaction, event_type: str, letter: int, *, reason: str, metadata: Metadata, at: datetime
) -> DeadLetter:
    """Give exactly one event another try, at its consumer; Raises: NoSuchDeadLetter, NoSuchConsumer, Invalid."""
    found = await find(tx, event_type, letter)
    meant = Letters(event_type=event_type, ids=[letter])
    await replay_many(tx, meant, expected=1, reason=reason, metadata=metadata, at=at)
    return found


async def replay_many(
    tx: Transaction, letters: Letters, *, expected: int, reason: str, metadata: Metadata, at: datetime
) -> list[DeadLetter]:
    """Give every dead letter that is meant another try, if they are as many as expected; at most a thousand at once.

    Raises: OtherCount, NoSuchConsumer, Invalid.
    """
    said = check_reason(reason)
    taken = await _taken(tx, letters, expected=expected)
    consumers = sorted({one.consumer_id for one in taken})
    cursor = await tx.execute("select consumer_id from consumers where consumer_id = any(%s) for share", (consumers,))
    there = {row[0] for row in await cursor.fetchall()}
    if missing := [name for name in consumers if name not in there]:
        detail = f"There is no consumer {', '.join(missing[:5])} any more to try again"
        raise NoSuchConsumer(detail, consumers=missing)
    await tx.execute(REVIVE, {"ids": [one.id for one in taken]})
    if taken:
        ids = [one.id for one in taken]
        fact = DeadLetterReplayed(occurred_at=at, dead_letters=ids, consumers=consumers, reason=said)
        await service.append(tx, fact, stream=DEAD_LETTERS, metadata=metadata)
    return taken


async def discard(
    tx: Transaction, letters: Letters, *, expected: int, reason: str, metadata: Metadata, at: datetime
) -> list[DeadLetter]:
    """Give up every dead letter that is meant, if they are as many as expected; Raises: OtherCount, Invalid."""
    said = check_reason(reason)
    taken = await _taken(tx, letters, expected=expected)
    ids = [one.id for one in taken]
    await tx.execute("delete from dead_letters where id = any(%s)", (ids,))
    if taken:
        consumers = sorted({one.consumer_id for one in taken})
        fact = DeadLetterDiscarded(occurred_at=at, dead_letters=ids, consumers=consumers, reason=said)
        await service.append(tx, fact, stream=DEAD_LETTERS, metadata=metadata)
    return taken


async def expire(tx: Transaction, *, kept: timedelta, metadata: Metadata, at: datetime) -> int:
    """Let go of what has been kept long enough, and tell of it; how many those were, at most a thousand."""
    rows = await (await tx.execute(EXPIRE, {"before": at - kept})).fetchall()
    if not rows:
        return 0
    ids = sorted(row[0] for row in rows)
    by_consumer: dict[str, int] = {}
    for _, consumer_id in sorted(rows, key=lambda row: str(row[1])):
        by_consumer[consumer_id] = by_consumer.get(consumer_id, 0) + 1
    fact = DeadLetterExpired(occurred_at=at, count=len(ids), first_id=ids[0], last_id=ids[-1], by_consumer=by_consumer)
    await service.append(tx, fact, stream=DEAD_LETTERS, metadata=metadata)
    return len(ids)


async def _taken(tx: Transaction, letters: Letters, *, expected: int) -> list[DeadLetter]:
    """The letters that are meant, locked; of more than a thousand the oldest."""
    actual = await count(tx, letters)
    if actual != expected:
        raise OtherCount(f"There are {actual}, not {expected}", count=actual, expected=expected)
    async with tx.cursor(row_factory=class_row(DeadLetter)) as cursor:
        await cursor.execute(TAKE.encode(), _values(letters))
        taken = await cursor.fetchall()
    if len(taken) < min(actual, AT_ONCE_MAX):
        raise OtherCount(f"There are {len(taken)} left", count=len(taken), expected=expected)
    return taken


def _values(letters: Letters) -> dict[str, object]:
    ids: Sequence[int] | None = letters.ids
    return {
        "event_type": letters.event_type, "consumer_id": letters.consumer_id, "reason": letters.reason,
        "ids": None if ids is None else list(ids), "before": letters.before,
    }  # fmt: skip


def _group(row: TupleRow) -> Group:
    event_type, reason, number, first, last, consumers = row
    return Group(
        event_type=event_type, reason=reason, count=number, first_died_at=first, last_died_at=last, consumers=consumers
    )
