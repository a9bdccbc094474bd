"""Partitions and archives: SQL in, batches of rows out."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import datetime

from psycopg import sql
from psycopg.rows import class_row

from instrument_registry.database import SCHEMA, Transaction
from instrument_registry.events.archives.model import COLUMNS, PARENTS, Archive, Kind, Partition, Row, month_of
from instrument_registry.events.model import PLACE_BITS, PLACES

PARTITIONS = """
select child.relname
  from pg_inherits i join pg_class child on child.oid = i.inhrelid
 where i.inhparent = to_regclass(%(parent)s) order by 1
"""

EVENTS = f"""
select e.number, e.subject, e.type, e.schema_version, e.data, e.occurred_at, e.recorded_at,
       p.position + (e.number & {PLACES}),
       (case when e.number & {PLACES} = 0 then a.event_id::text
             else left(a.event_id::text, 31) || lpad(to_hex(e.number & {PLACES}), 5, '0') end),
       a.stream, a.version - a.facts + 1 + (e.number & {PLACES}), a.actor, a.correlation_id, a.causation_id::text,
       a.source
  from events e
  join appends a on a.number = e.number >> {PLACE_BITS} << {PLACE_BITS}
  left join positions p on p.number = a.number
 where e.recorded_at >= %(first)s and e.recorded_at < %(end)s and e.number > %(after)s order by e.number limit %(limit)s
"""

RECORDS = """
select r.number, r.at, r.action, r.actor, r.subject, r.correlation_id, r.text, l.position
  from audit_records r left join audit_leaves l on l.number = r.number
 where r.at >= %(first)s and r.at < %(end)s and r.number > %(after)s order by r.number limit %(limit)s
"""
ROWS: dict[Kind, str] = {"events": EVENTS, "audit": RECORDS}

# The service may read the tables, not their months: those are found by their time.
POSITIONS = f"""
select min(p.position), max(p.position + p.facts - 1)
  from (select distinct number >> {PLACE_BITS} << {PLACE_BITS} as number from events
         where recorded_at >= %(first)s and recorded_at < %(end)s) as e
  join positions p using (number)
"""
LEAVES = """
select min(l.position), max(l.position)
  from audit_records r join audit_leaves l on l.number = r.number where r.at >= %(first)s and r.at < %(end)s
"""
COUNTS: dict[Kind, str] = {
    "events": "select count(*) from events where recorded_at >= %(first)s and recorded_at < %(end)s",
    "audit": "select count(*) from audit_records where at >= %(first)s and at < %(end)s",
}

KEPT = "select * from archives"

GONE_WITH = f"""
{KEPT} where kind = 'events' and state = 'dropped'
   and exists (select from unnest(%(times)s::timestamptz[]) as at where at >= starts_at and at < ends_at)
 order by starts_at desc limit 1
"""

ADD = """
insert into archives (name, kind, starts_at, ends_at, rows, digest, first_position, last_position, first_leaf,
                      last_leaf, columns, file, file_bytes, file_sha256, state, exported_at)
values (%(name)s, %(kind)s, %(starts_at)s, %(ends_at)s, %(rows)s, %(digest)s, %(first_position)s, %(last_position)s,
        %(first_leaf)s, %(last_leaf)s, %(columns)s, %(file)s, %(file_bytes)s, %(file_sha256)s, %(state)s,
        %(exported_at)s)
"""


async def partitions(tx: Transaction, kind: Kind, *, ended_before: datetime) -> list[Partition]:
    """The months that are here and ended before an instant, oldest first."""
    cursor = await tx.execute(PARTITIONS, {"parent": f"{SCHEMA}.{PARENTS[kind]}"})
    found = [Partition(name=name, kind=kind, starts_at=month_of(name)[0], ends_at=month_of(name)[1])
             for (name,) in await cursor.fetchall()]  # fmt: skip
    return [one for one in found if one.ends_at <= ended_before]


async def count(tx: Transaction, partition: Partition) -> int:
    """How many rows a partition has."""
    row = await (await tx.execute(COUNTS[partition.kind], _span(partition))).fetchone()
    assert row is not None
    return int(row[0])


async def digest(tx: Transaction, partition: str) -> tuple[int, str]:
    """The count of a partition's rows and their digest, as the database computes it."""
    row = await (await tx.execute("select * from partition_digest(%s)", (partition,))).fetchone()
    assert row is not None
    return int(row[0]), str(row[1])


async def batches(tx: Transaction, partition: Partition, *, size: int) -> AsyncIterator[list[Row]]:
    """The rows of a partition in the order of their numbers, with what a reader of the file wants besides."""
    after = 0
    while rows := await (
        await tx.execute(ROWS[partition.kind], _span(partition) | {"after": after, "limit": size})
    ).fetchall():
        yield list(rows)
        after = rows[-1][0]


async def reach(tx: Transaction, partition: Partition) -> tuple[int | None, int | None]:
    """The first and last position of a partition's events, or the first and last leaf of its records."""
    statement = POSITIONS if partition.kind == "events" else LEAVES
    row = await (await tx.execute(statement, _span(partition))).fetchone()
    assert row is not None
    return row[0], row[1]


async def leaves(tx: Transaction, numbers: Sequence[object]) -> dict[object, bytes]:
    """The leaves of the audit's tree of some records, by number."""
    cursor = await tx.execute(
        "select number, leaf from audit_leaves where number = any(%s::bigint[])", (list(numbers),)
    )
    return {number: bytes(leaf) for number, leaf in await cursor.fetchall()}


async def add(tx: Transaction, archive: Archive) -> None:
    """Keep the manifest of an archive."""
    await tx.execute(ADD, asdict(archive))


async def archives(tx: Transaction) -> list[Archive]:
    """Every archive, oldest first."""
    async with tx.cursor(row_factory=class_row(Archive)) as cursor:
        await cursor.execute(f"{KEPT} order by starts_at, name".encode())
        return await cursor.fetchall()


async def find(tx: Transaction, name: str) -> Archive | None:
    """The archive of this name."""
    async with tx.cursor(row_factory=class_row(Archive)) as cursor:
        await cursor.execute(f"{KEPT} where name = %(name)s".encode(), {"name": name})
        return await cursor.fetchone()


async def gone_with(tx: Transaction, times: Sequence[datetime]) -> Archive | None:
    """The newest archive of events that are no longer here and were recorded at one of these instants."""
    async with tx.cursor(row_factory=class_row(Archive)) as cursor:
        await cursor.execute(GONE_WITH, {"times": list(times)})
        return await cursor.fetchone()


async def gone_at(tx: Transaction, position: int) -> Archive | None:
    """The archive of a position that is no longer here."""
    statement = f"""
        {KEPT} where kind = 'events' and state = 'dropped' and %(position)s between first_position and last_position
    """
    async with tx.cursor(row_factory=class_row(Archive)) as cursor:
        await cursor.execute(statement.encode(), {"position": position})
        return await cursor.fetchone()


async def oldest_readable(tx: Transaction) -> int:
    """The first position behind everything that is no longer here."""
    statement = "select coalesce(max(last_position), 0) + 1 from archives where kind = 'events' and state = 'dropped'"
    row = await (await tx.execute(statement)).fetchone()
    assert row is not None
    return int(row[0])


async def reasons_to_keep(tx: Transaction, name: str) -> list[str]:
    """Why the owner's function would not let a partition go."""
    return [str(row[0]) for row in await (await tx.execute("select reasons_to_keep(%s)", (name,))).fetchall()]


async def drop(tx: Transaction, name: str) -> None:
    """Ask the owner's function to let a partition go."""
    await tx.execute("select drop_archived(%s)", (name,))


async def begin_restoring(tx: Transaction, name: str) -> None:
    """Have an empty table for what comes back."""
    await tx.execute("select begin_restoring(%s)", (name,))


async def copy_back(tx: Transaction, name: str, kind: Kind, rows: list[Row]) -> None:
    """Put rows into that table."""
    statement = sql.SQL("copy {} ({}) from stdin").format(
        sql.Identifier(f"restoring_{name}"), sql.SQL(", ").join(map(sql.Identifier, COLUMNS[kind]))
    )
    async with tx.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            await copy.write_row(row)


async def finish_restoring(tx: Transaction, name: str, *, keep_days: int) -> None:
    """Have the owner's function compare what came back and make it a partition again."""
    await tx.execute("select finish_restoring(%s, %s)", (name, keep_days))


def _span(partition: Partition) -> dict[str, object]:
    return {"first": partition.starts_at, "end": partition.ends_at}
