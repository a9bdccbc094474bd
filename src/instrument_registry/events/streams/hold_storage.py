"""Who is being served: SQL in, holds out."""

from uuid import UUID

from instrument_registry.database import Transaction
from instrument_registry.events.streams.model import Consumer, Hold

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

WAIT_BELOW = """
update consumer_streams set waits_below = %(held)s
 where stream_id = %(stream_id)s and waits_below is distinct from %(held)s
"""

BUSY = """
update consumer_streams set waits_below = 0, progressed_at = clock_timestamp() where stream_id = %(stream_id)s
"""

PROGRESSED = "update consumer_streams set progressed_at = clock_timestamp() where consumer_id = %(consumer_id)s"


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


async def wait_below(tx: Transaction, hold: Hold, held: int) -> None:
    """Ask to be woken when this stream holds no more than so many."""
    await tx.execute(WAIT_BELOW, {"held": held, "stream_id": hold.stream_id})


async def busy(tx: Transaction, hold: Hold) -> None:
    """Note that this stream has something in hand after it had nothing, and is to be woken when that is settled."""
    await tx.execute(BUSY, {"stream_id": hold.stream_id})


async def progressed(tx: Transaction, consumer_id: str) -> None:
    """Note that a consumer works on what it holds."""
    await tx.execute(PROGRESSED, {"consumer_id": consumer_id})


async def leave(tx: Transaction, consumer_id: str, process: str) -> None:
    """Let a process be served no longer."""
    statement = """
        update consumer_streams set leaving = true, alive_until = '-infinity' where consumer_id = %s and process = %s
    """
    await tx.execute(statement, (consumer_id, process))
    await tx.execute(FREE, {"consumer_id": consumer_id})
