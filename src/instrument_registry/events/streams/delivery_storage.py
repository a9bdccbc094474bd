"""What is in consumers' hands or waits for another try: SQL in, deliveries out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from instrument_registry.database import Transaction
from instrument_registry.events.streams.model import Failed, Handed, Hold

UNSETTLED = """
select count(*), count(*) filter (where d.stream_id = %(stream_id)s),
       count(*) filter (where d.stream_id = %(stream_id)s and d.attempts > 1),
       extract(epoch from min(d.due_at) filter (where d.stream_id is null) - clock_timestamp())
  from deliveries d where d.consumer_id = %(consumer_id)s
"""

WAITING = """
select position, event_id, event_type, attempts from deliveries
 where consumer_id = %(consumer_id)s and stream_id is null and due_at <= clock_timestamp()
 order by position limit %(limit)s
"""

TAKE = """
update deliveries set stream_id = %(stream_id)s, attempts = attempts + 1, alone = %(alone)s
 where consumer_id = %(consumer_id)s and position = any(%(positions)s)
"""

HAND_OUT = """
with handed as (
    insert into deliveries (consumer_id, position, event_id, event_type, attempts, stream_id)
    select %(consumer_id)s, one.position, one.event_id, one.event_type, 1, %(stream_id)s
      from unnest(%(positions)s::bigint[], %(event_ids)s::uuid[], %(event_types)s::text[])
           as one (position, event_id, event_type)
), busy as (
    update consumer_streams
       set waits_below = %(waits_below)s,
           progressed_at = case when %(anew)s then clock_timestamp() else progressed_at end
     where stream_id = %(stream_id)s and (%(anew)s or waits_below is distinct from %(waits_below)s)
)
update consumers set reached = %(reached)s where consumer_id = %(consumer_id)s
"""

# One statement: what is settled goes, and whoever waits for that is woken, when no more is left than it said.
SETTLE = """
with gone as (
    delete from deliveries d
     where consumer_id = %(consumer_id)s
       and (position = any(%(positions)s)
            or position <= %(up_to)s and stream_id is not null and (%(process)s::text is null or stream_id in (
                select stream_id from consumer_streams where consumer_id = %(consumer_id)s and process = %(process)s)))
    returning position, stream_id
), progressed as (
    update consumer_streams set progressed_at = clock_timestamp()
     where stream_id in (select stream_id from gone) returning stream_id, waits_below
)
select coalesce((select array_agg(position) from gone), '{}'),
       exists (select from progressed p where p.waits_below >= (
           select count(*) from deliveries d
            where d.consumer_id = %(consumer_id)s and d.stream_id = p.stream_id
              and d.position not in (select position from gone))),
       (select coalesce((select min(d.position) - 1 from deliveries d
                          where d.consumer_id = %(consumer_id)s and not d.replayed
                            and d.position not in (select position from gone)), c.reached)
          from consumers c where c.consumer_id = %(consumer_id)s)
"""

RETURN = """
update deliveries set stream_id = null, attempts = attempts - 1, due_at = clock_timestamp()
 where consumer_id = %(consumer_id)s and stream_id is not null
   and (position = any(%(positions)s)
        or position <> all(%(begun)s) and stream_id in (
            select stream_id from consumer_streams where consumer_id = %(consumer_id)s and process = %(leaving)s))
returning position
"""

FAIL = """
update deliveries
   set stream_id = null, alone = true, failures = failures || %(failure)s,
       due_at = clock_timestamp() + make_interval(secs => %(first_wait)s * power(%(later_times)s, attempts - 1))
 where consumer_id = %(consumer_id)s and position = %(position)s and stream_id is not null
returning attempts
"""

# What was alone in somebody's hands at its last attempt and came back without a word is to blame for that.
EXHAUSTED = """
select position from deliveries
 where consumer_id = %(consumer_id)s and stream_id is null and attempts >= %(attempts_max)s and alone
"""

BURY = """
with dead as (
    delete from deliveries where consumer_id = %(consumer_id)s and position = any(%(positions)s) returning *
)
insert into dead_letters (consumer_id, position, event_id, event_type, reason, attempts, failures)
select consumer_id, position, event_id, event_type, coalesce(failures -> -1 ->> 'reason', %(otherwise)s), attempts,
       case when failures = '[]' then jsonb_build_array(
                jsonb_build_object('attempt', attempts, 'at', clock_timestamp(), 'reason', %(otherwise)s::text))
            else failures end
  from dead
on conflict (consumer_id, position) do update
   set reason = excluded.reason, attempts = excluded.attempts, failures = excluded.failures, died_at = excluded.died_at
returning id, position
"""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """How much is not settled, how much of that this stream holds, how much of that on another try, and when the next
    try is due."""

    whole: int
    mine: int
    suspects: int
    due_seconds: float | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that waits for another try."""

    position: int
    event_id: UUID
    event_type: str
    attempts: int


async def unsettled(tx: Transaction, hold: Hold) -> Unsettled:
    """What a consumer has not settled, and what of that this stream holds."""
    values = {"consumer_id": hold.consumer_id, "stream_id": hold.stream_id}
    row = await (await tx.execute(UNSETTLED, values)).fetchone()
    assert row is not None
    return Unsettled(int(row[0]), int(row[1]), int(row[2]), None if row[3] is None else float(row[3]))


async def waiting(tx: Transaction, hold: Hold, *, limit: int) -> list[Waiting]:
    """Deliveries that are due for another try, in order."""
    cursor = await tx.execute(WAITING, {"consumer_id": hold.consumer_id, "limit": limit})
    return [Waiting(*row) for row in await cursor.fetchall()]


async def take(tx: Transaction, hold: Hold, positions: Sequence[int], *, alone: bool) -> None:
    """Count another attempt at what waited and put it into this stream's hands."""
    values = {"consumer_id": hold.consumer_id, "stream_id": hold.stream_id, "positions": list(positions)}
    await tx.execute(TAKE, values | {"alone": alone})


async def hand_out(
    tx: Transaction, hold: Hold, handed: Sequence[Handed], *, reached: int, anew: bool, waits_below: int | None
) -> None:
    """Count the first attempt at events, put them into this stream's hands, `anew` when it had nothing, note how far
    the consumer has come, and when the stream is to be woken."""
    values = {
        "consumer_id": hold.consumer_id, "stream_id": hold.stream_id, "reached": reached, "anew": anew,
        "waits_below": waits_below, "positions": [one.event.position for one in handed],
        "event_ids": [one.event.event_id for one in handed], "event_types": [one.name for one in handed],
    }  # fmt: skip
    await tx.execute(HAND_OUT, values)


async def settle(
    tx: Transaction, consumer_id: str, positions: Sequence[int], *, up_to: int | None, process: str | None
) -> tuple[set[int], bool, int | None]:
    """Let go of what is acknowledged: which positions those were, whether somebody waits for it, and up to where
    everything is settled now (None without such a consumer)."""
    values = {"consumer_id": consumer_id, "positions": list(positions), "up_to": up_to, "process": process}
    row = await (await tx.execute(SETTLE, values)).fetchone()
    assert row is not None
    return set(row[0]), bool(row[1]), None if row[2] is None else int(row[2])


async def give_back(
    tx: Transaction, consumer_id: str, positions: Sequence[int], *, leaving: str | None, begun: Sequence[int]
) -> set[int]:
    """Take back what was handed out and never looked at, of a leaving process all it has not begun; it does not count
    as an attempt."""
    values = {"consumer_id": consumer_id, "positions": list(positions), "leaving": leaving, "begun": list(begun)}
    cursor = await tx.execute(RETURN, values)
    return {row[0] for row in await cursor.fetchall()}


async def fail(
    tx: Transaction, consumer_id: str, failed: Failed, *, at: datetime, first_wait_seconds: float, later_times: float
) -> int | None:
    """Let an event wait for another try; how many it has had, None when nobody holds it."""
    failure = {"at": at.isoformat(), "reason": failed.reason, "detail": failed.detail}
    values = {
        "consumer_id": consumer_id, "position": failed.position, "failure": Jsonb([failure]),
        "first_wait": first_wait_seconds, "later_times": later_times,
    }  # fmt: skip
    row = await (await tx.execute(FAIL, values)).fetchone()
    return None if row is None else int(row[0])


async def exhausted(tx: Transaction, consumer_id: str, *, attempts_max: int) -> list[int]:
    """What has been tried often enough, and came back without a word each time."""
    cursor = await tx.execute(EXHAUSTED, {"consumer_id": consumer_id, "attempts_max": attempts_max})
    return [row[0] for row in await cursor.fetchall()]


async def bury(tx: Transaction, consumer_id: str, positions: Sequence[int], *, otherwise: str) -> dict[int, int]:
    """Make dead letters of deliveries; their ids by position."""
    values = {"consumer_id": consumer_id, "positions": list(positions), "otherwise": otherwise}
    return {position: letter for letter, position in await (await tx.execute(BURY, values)).fetchall()}
