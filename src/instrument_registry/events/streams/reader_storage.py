"""What a consumer on the fast road leaves in the database."""

from collections.abc import Sequence
from uuid import UUID

from instrument_registry.database import Transaction
from instrument_registry.events.streams.model import Handed, Hold

# What a consumer read from Redis and has not done: from here on it is like anything else it was handed.
SET_ASIDE = """
insert into deliveries (consumer_id, position, event_id, event_type, attempts, stream_id)
select %(consumer_id)s, one.position, one.event_id, one.event_type, 1, %(stream_id)s
  from unnest(%(positions)s::bigint[], %(event_ids)s::uuid[], %(event_types)s::text[])
       as one (position, event_id, event_type)
    on conflict do nothing
"""

KNOWN = """
select position from deliveries where consumer_id = %(consumer_id)s and position = any(%(positions)s)
 union
select position from dead_letters where consumer_id = %(consumer_id)s and position = any(%(positions)s)
"""


async def set_aside(tx: Transaction, consumer_id: str, handed: Sequence[Handed], *, stream_id: UUID | None) -> None:
    """Keep in the database what a process has in hands, or, without a stream, what came back without a word."""
    values = {
        "consumer_id": consumer_id, "stream_id": stream_id,
        "positions": [one.event.position for one in handed], "event_ids": [one.event.event_id for one in handed],
        "event_types": [one.name for one in handed],
    }  # fmt: skip
    if handed:
        await tx.execute(SET_ASIDE, values)


async def known(tx: Transaction, consumer_id: str, positions: Sequence[int]) -> set[int]:
    """Which of these the database keeps for a consumer, to be tried again or as dead letters."""
    if not positions:
        return set()
    cursor = await tx.execute(KNOWN, {"consumer_id": consumer_id, "positions": list(positions)})
    return {row[0] for row in await cursor.fetchall()}


async def advance(tx: Transaction, held: Hold, *, reached: int) -> None:
    """Note how far a consumer has come, unless it was moved meanwhile; it never goes back."""
    statement = """
        update consumers set reached = greatest(reached, %s), seen_at = clock_timestamp()
         where consumer_id = %s and generation = %s
    """
    await tx.execute(statement, (reached, held.consumer_id, held.generation))


async def is_shared(tx: Transaction, consumer_id: str) -> bool:
    """Whether several processes of a consumer read at once."""
    row = await (await tx.execute("select shared from consumers where consumer_id = %s", (consumer_id,))).fetchone()
    return row == (True,)
