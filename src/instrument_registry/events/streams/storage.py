"""The tables of consumers and of what they hold: SQL in, consumers, holds and deliveries out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row, kwargs_row
from psycopg.types.json import Jsonb

from instrument_registry.database import Transaction
from instrument_registry.events.streams.model import Consumer, Failed, Handed, Hold, Standing, Wanted

COLUMNS = "consumer_id, event_types, bulk, shared, reached, generation, created_at, created_by, seen_at"

INSERT = f"""
insert into consumers (consumer_id, event_types, bulk, shared, reached, created_at, created_by)
values (%(consumer_id)s, %(event_types)s, %(bulk)s, %(shared)s, %(reached)s, %(at)s, %(by)s)
    on conflict do nothing returning {COLUMNS}
"""

STANDINGS = f"""
select {", ".join(f"c.{column}" for column in COLUMNS.split(", "))},
       coalesce(d.first - 1, c.reached) as position, greatest(h.head - c.reached, 0) + coalesce(d.unsettled, 0) as lag,
       coalesce(d.held, 0) as held, coalesce(d.unsettled - d.held, 0) as waiting,
       coalesce(l.letters, 0) as dead_letters, coalesce(s.processes, '{{}}') as processes
  from consumers c
 cross join (select coalesce((select position + facts - 1 from positions order by position desc limit 1), 0) as head) h
  left join (select consumer_id, min(position) filter (where not replayed) as first, count(*) as unsettled,
                    count(stream_id) as held
               from deliveries group by 1) d using (consumer_id)
  left join (select consumer_id, count(*) as letters from dead_letters group by 1) l using (consumer_id)
  left join (select consumer_id, array_agg(process order by process) as processes
               from consumer_streams where alive_until > now() group by 1) s using (consumer_id)
 where (%(consumer_id)s::text is null or c.consumer_id = %(consumer_id)s) and c.consumer_id > %(after)s
 order by c.consumer_id limit %(limit)s
"""

# A process that comes again takes its own place; that of another one only when nobody renews it any more.
CLEAR_STREAMS = """
delete from consumer_streams
 where consumer_id = %(consumer_id)s
   and (process = %(process)s or alive_until <= clock_timestamp() or generation <> %(generation)s)
"""

OPEN_STREAM = """
insert into consumer_streams (stream_id, consumer_id, process, generation, batch_size, alive_until)
values (%(stream_id)s, %(consumer_id)s, %(process)s, %(generation)s, %(batch_size)s,
        clock_timestamp() + make_interval(secs => %(lease)s))
"""

# Whoever held these died, was sent away, or left: they wait for another try at once.
FREE = """
update deliveries d set stream_id = null, due_at = clock_timestamp()
 where d.consumer_id = %(consumer_id)s and d.stream_id is not null
   and not exists (select from consumer_streams s where s.stream_id = d.stream_id and s.alive_until > clock_timestamp())
"""

RENEW = """
update consumer_streams set alive_until = clock_timestamp() + make_interval(secs => %(lease)s)
 where stream_id = %(stream_id)s and alive_until > clock_timestamp()
returning extract(epoch from clock_timestamp() - progressed_at)
"""

# Two statements: the second must see what somebody did for whom the first had to wait.
# What is handed out need not have reached the disk: if the server falls, it is handed out again.
LOCK = """
select reached, generation, set_config('synchronous_commit', 'off', true)
  from consumers where consumer_id = %(consumer_id)s for update
"""
STILL_HELD = """
select 1 from consumer_streams
 where stream_id = %(stream_id)s and generation = %(generation)s and alive_until > clock_timestamp()
"""

UNSETTLED = """
select count(*), count(*) filter (where d.stream_id = %(stream_id)s),
       count(*) filter (where d.stream_id = %(stream_id)s and d.attempts > 1),
       extract(epoch from min(d.due_at) filter (where d.stream_id is null) - clock_timestamp())
  from deliveries d where d.consumer_id = %(consumer_id)s
"""

SETTLED_UP_TO = """
select coalesce((select min(position) - 1 from deliveries where consumer_id = %(consumer_id)s and not replayed),
                reached)
  from consumers where consumer_id = %(consumer_id)s
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

WAIT_BELOW = """
update consumer_streams set waits_below = %(held)s
 where stream_id = %(stream_id)s and waits_below is distinct from %(held)s
"""

BUSY = """
update consumer_streams set waits_below = 0, progressed_at = clock_timestamp() where stream_id = %(stream_id)s
"""

PROGRESSED = "update consumer_streams set progressed_at = clock_timestamp() where consumer_id = %(consumer_id)s"

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


async def insert(
    tx: Transaction, consumer_id: str, wanted: Wanted, *, reached: int, at: datetime, by: str
) -> Consumer | None:
    """A consumer that was not there; None when it was."""
    values = {
        "consumer_id": consumer_id, "event_types": list(wanted.event_types), "bulk": wanted.bulk,
        "shared": wanted.shared, "reached": reached, "at": at, "by": by,
    }  # fmt: skip
    async with tx.cursor(row_factory=class_row(Consumer)) as cursor:
        await cursor.execute(INSERT, values)
        return await cursor.fetchone()


async def find(tx: Transaction, consumer_id: str, *, lock: bool = False) -> Consumer | None:
    """A consumer, if it is there; locked, nobody else changes it until the transaction ends."""
    statement = f"select {COLUMNS} from consumers where consumer_id = %(id)s" + (" for update" if lock else "")
    async with tx.cursor(row_factory=class_row(Consumer)) as cursor:
        await cursor.execute(statement.encode(), {"id": consumer_id})
        return await cursor.fetchone()


async def count(tx: Transaction) -> int:
    """How many consumers there are."""
    row = await (await tx.execute("select count(*) from consumers")).fetchone()
    assert row is not None
    return int(row[0])


async def standings(
    tx: Transaction, *, consumer_id: str | None = None, after: str = "", limit: int = 1_000
) -> list[Standing]:
    """Consumers by name, with what they lack and hold."""
    async with tx.cursor(row_factory=kwargs_row(_standing)) as cursor:
        await cursor.execute(STANDINGS, {"consumer_id": consumer_id, "after": after, "limit": limit})
        return await cursor.fetchall()


async def choose(tx: Transaction, consumer_id: str, wanted: Wanted) -> None:
    """Another filter: whoever is being served begins again with it."""
    statement = """
        update consumers set event_types = %(event_types)s, bulk = %(bulk)s, shared = %(shared)s,
               generation = generation + 1 where consumer_id = %(consumer_id)s
    """
    values = {"consumer_id": consumer_id, "event_types": list(wanted.event_types), "bulk": wanted.bulk}
    await tx.execute(statement, values | {"shared": wanted.shared})


async def move(tx: Transaction, consumer_id: str, *, reached: int) -> int:
    """Put a consumer elsewhere and forget what it held; how much that was."""
    values = {"consumer_id": consumer_id, "reached": reached}
    forgotten = (await tx.execute("delete from deliveries where consumer_id = %(consumer_id)s", values)).rowcount
    await tx.execute("delete from consumer_streams where consumer_id = %(consumer_id)s", values)
    await tx.execute(
        "update consumers set reached = %(reached)s, generation = generation + 1 where consumer_id = %(consumer_id)s",
        values,
    )
    return forgotten


async def remove(tx: Transaction, consumer_id: str) -> None:
    """Take a consumer away, with what it holds."""
    await tx.execute("delete from consumers where consumer_id = %s", (consumer_id,))


async def seen(tx: Transaction, consumer_id: str) -> None:
    """Note that a consumer gives signs of life."""
    statement = "update consumers set seen_at = clock_timestamp(), silent_told = false where consumer_id = %s"
    await tx.execute(statement, (consumer_id,))


async def silent(tx: Transaction, *, days: float, untold: bool) -> list[str]:
    """Those who have given no sign of life for days; with `untold` each is named once."""
    late = "seen_at < clock_timestamp() - make_interval(secs => %s * 86400)"
    statement = (
        f"update consumers set silent_told = true where {late} and not silent_told returning consumer_id"
        if untold
        else f"select consumer_id from consumers where {late} order by 1"
    )
    return [row[0] for row in await (await tx.execute(statement.encode(), (days,))).fetchall()]


async def open_stream(
    tx: Transaction, consumer: Consumer, *, stream_id: UUID, process: str, batch_size: int, lease_seconds: float
) -> bool:
    """Whether this process is served from now on; the consumer's row must be locked."""
    values = {
        "consumer_id": consumer.consumer_id, "stream_id": stream_id, "process": process,
        "generation": consumer.generation, "batch_size": batch_size, "lease": lease_seconds,
    }  # fmt: skip
    await tx.execute(CLEAR_STREAMS, values)
    await tx.execute(FREE, values)
    if not consumer.shared:
        others = await tx.execute("select 1 from consumer_streams where consumer_id = %(consumer_id)s limit 1", values)
        if await others.fetchone() is not None:
            return False
    await tx.execute(OPEN_STREAM, values)
    return True


async def renew_stream(tx: Transaction, hold: Hold, *, lease_seconds: float) -> float | None:
    """Keep being served; seconds since the consumer last settled something, None when the place is lost."""
    row = await (await tx.execute(RENEW, {"stream_id": hold.stream_id, "lease": lease_seconds})).fetchone()
    if row is None:
        return None
    await tx.execute(FREE, {"consumer_id": hold.consumer_id})
    return float(row[0])


async def close_stream(tx: Transaction, hold: Hold) -> None:
    """Give a place back, and what was in its hands."""
    await tx.execute("delete from consumer_streams where stream_id = %s", (hold.stream_id,))
    await tx.execute(FREE, {"consumer_id": hold.consumer_id})


async def superseded(tx: Transaction, hold: Hold) -> bool:
    """Whether the same process is served elsewhere, or has left."""
    statement = """
        select 1 from consumer_streams where consumer_id = %s and process = %s and (stream_id <> %s or leaving)
    """
    return await (await tx.execute(statement, (hold.consumer_id, hold.process, hold.stream_id))).fetchone() is not None


async def lock_held(tx: Transaction, hold: Hold) -> int | None:
    """How far the consumer has come, its row locked; None when the place is lost."""
    row = await (await tx.execute(LOCK, {"consumer_id": hold.consumer_id})).fetchone()
    if row is None:
        return None
    reached, generation, _ = row
    held = await tx.execute(STILL_HELD, {"stream_id": hold.stream_id, "generation": generation})
    return int(reached) if await held.fetchone() is not None else None


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


async def settled_up_to(tx: Transaction, consumer_id: str) -> int | None:
    """The position up to which a consumer has settled everything; None when there is no such consumer."""
    row = await (await tx.execute(SETTLED_UP_TO, {"consumer_id": consumer_id})).fetchone()
    return None if row is None else int(row[0])


async def reach(tx: Transaction, consumer_id: str, *, reached: int) -> None:
    """Note how far a consumer has come."""
    await tx.execute("update consumers set reached = %s where consumer_id = %s", (reached, consumer_id))


async def wait_below(tx: Transaction, hold: Hold, held: int) -> None:
    """Ask to be woken when this stream holds no more than so many."""
    await tx.execute(WAIT_BELOW, {"held": held, "stream_id": hold.stream_id})


async def busy(tx: Transaction, hold: Hold) -> None:
    """Note that this stream has something in hand after it had nothing, and is to be woken when that is settled."""
    await tx.execute(BUSY, {"stream_id": hold.stream_id})


async def progressed(tx: Transaction, consumer_id: str) -> None:
    """Note that a consumer works on what it holds."""
    await tx.execute(PROGRESSED, {"consumer_id": consumer_id})


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


async def leave(tx: Transaction, consumer_id: str, process: str) -> None:
    """Let a process be served no longer."""
    statement = """
        update consumer_streams set leaving = true, alive_until = '-infinity' where consumer_id = %s and process = %s
    """
    await tx.execute(statement, (consumer_id, process))
    await tx.execute(FREE, {"consumer_id": consumer_id})


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


def _standing(
    *,
    position: int,
    lag: int,
    held: int,
    waiting: int,
    dead_letters: int,
    processes: list[str],
    consumer_id: str,
    event_types: list[str],
    bulk: bool,
    shared: bool,
    reached: int,
    generation: int,
    created_at: datetime,
    created_by: str,
    seen_at: datetime,
) -> Standing:
    consumer = Consumer(
        consumer_id=consumer_id, event_types=event_types, bulk=bulk, shared=shared, reached=reached,
        generation=generation, created_at=created_at, created_by=created_by, seen_at=seen_at,
    )  # fmt: skip
    return Standing(
        consumer=consumer, position=position, lag=lag, held=held, waiting=waiting, dead_letters=dead_letters,
        processes=processes,
    )  # fmt: skip
