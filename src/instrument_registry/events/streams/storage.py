"""The consumers' table: SQL in, consumers and how they stand out."""

from datetime import datetime

from psycopg.rows import class_row, kwargs_row

from instrument_registry.database import Transaction
from instrument_registry.events.streams.model import Consumer, Standing, Wanted

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

SETTLED_UP_TO = """
select coalesce((select min(position) - 1 from deliveries where consumer_id = %(consumer_id)s and not replayed),
                reached)
  from consumers where consumer_id = %(consumer_id)s
"""


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


LATE = "seen_at < clock_timestamp() - make_interval(secs => %s * 86400)"


async def silent(tx: Transaction, *, days: float, untold: bool) -> list[str]:
    """Those who have given no sign of life for days; with `untold` each is named once."""
    statement = (
        f"update consumers set silent_told = true where {LATE} and not silent_told returning consumer_id"
        if untold
        else f"select consumer_id from consumers where {LATE} order by 1"
    )
    return [row[0] for row in await (await tx.execute(statement.encode(), (days,))).fetchall()]


async def settled_up_to(tx: Transaction, consumer_id: str) -> int | None:
    """The position up to which a consumer has settled everything; None when there is no such consumer."""
    row = await (await tx.execute(SETTLED_UP_TO, {"consumer_id": consumer_id})).fetchone()
    return None if row is None else int(row[0])


async def reach(tx: Transaction, consumer_id: str, *, reached: int) -> None:
    """Note how far a consumer has come."""
    await tx.execute("update consumers set reached = %s where consumer_id = %s", (reached, consumer_id))


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
