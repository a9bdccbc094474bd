"""The audit's tables: SQL in, records, hashes and checkpoints out."""

from collections.abc import Collection, Generator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from psycopg.rows import TupleRow, class_row

from instrument_registry.database import Transaction
from instrument_registry.events.audit.checkpoints import Note, Verifier
from instrument_registry.events.audit.merkle import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, Node
from instrument_registry.events.audit.model import Kept, Record, Wanted

if TYPE_CHECKING:
    import psycopg

WAITING_COUNTED_MAX = 10_000
READ_AT_ONCE = 2_000

# One statement, done or not done. Events have their positions already, dense and never skipping one that commits late;
# leaves follow them in that order, and so the records need no queue of their own.
SEAL = """
with taken as (
    select position, number from positions where position > %(after)s order by position limit %(limit)s
), found as (
    select t.position as event_position, r.number, r.at, sha256('\\x00'::bytea || convert_to(r.text, 'UTF8')) as leaf
      from taken t
     cross join lateral (select recorded_at from appends where number = t.number offset 0) as a
     cross join lateral (select number, at, text from audit_records
                          where number = t.number and at = a.recorded_at offset 0) as r
), head as (
    select coalesce((select position from audit_leaves order by position desc limit 1), 0) as position
), placed as (
    insert into audit_leaves (position, number, at, leaf)
    select head.position + row_number() over (order by event_position), number, at, leaf from found, head
    returning position
)
select (select count(*) from taken), coalesce((select max(position) from taken), %(after)s),
       head.position + (select count(*) from placed)
  from head
"""

# Up to where the events have been looked through for records, as far as the leaves tell.
SEALED_UP_TO = """
select coalesce((select p.position from audit_leaves l join positions p using (number)
                  order by l.position desc limit 1), 0),
       coalesce((select position from audit_leaves order by position desc limit 1), 0)
"""

TILES = "select coalesce(max(index) + 1, 0) from audit_tiles where level = %(level)s"

ADD_TILE = "insert into audit_tiles (level, index, root, hashes) values (%(level)s, %(index)s, %(root)s, %(hashes)s)"

# Neighbouring hashes of a level, which lie in one tile if that is full, else among the leaves or the roots below.
HASHES = """
select coalesce(
         (select substring(hashes from (w.first & 255)::integer * 32 + 1 for w.hashes * 32)
            from audit_tiles where level = w.level and index = w.first >> 8),
         case when w.level = 0
              then (select string_agg(leaf, ''::bytea order by position)
                      from audit_leaves where position between w.first + 1 and w.first + w.hashes)
              else (select string_agg(root, ''::bytea order by index)
                      from audit_tiles where level = w.level - 1 and index between w.first and w.first + w.hashes - 1)
         end)
  from unnest(%(levels)s::smallint[], %(firsts)s::bigint[], %(counts)s::integer[])
       with ordinality as w (level, first, hashes, place)
 order by place
"""

FOUND = """
select r.number, l.position, r.text
  from audit_records r left join audit_leaves l on l.number = r.number
 where {conditions}
 order by r.number
"""
CONDITIONS = {
    "actor": "r.actor = %(actor)s",
    "subject": "r.subject = %(subject)s",
    "action": "r.action = %(action)s",
    "correlation_id": "r.correlation_id = %(correlation_id)s",
    "since": "r.at >= %(since)s",
    "until": "r.at < %(until)s",
    "before": "r.number < %(before)s",
}

AT_POSITION = """
select r.number, l.position, r.text
  from audit_leaves l join audit_records r on r.number = l.number and r.at = l.at
 where l.position = %(position)s
"""

LEAF = "select leaf from audit_leaves where position = %(position)s"

KEPT = "select size, root, at, key_id, note from audit_checkpoints"

WAITING = f"""
select count(*), coalesce(extract(epoch from now() - min(r.at)), 0)
  from (select p.number from positions p
         where p.position > coalesce((select q.position from audit_leaves l join positions q using (number)
                                       order by l.position desc limit 1), 0)
         order by p.position limit {WAITING_COUNTED_MAX}) as w
  join appends a using (number)
  join audit_records r on r.number = a.number and r.at = a.recorded_at
"""

UNCOVERED = """
select head.position - covered.size,
       coalesce((select extract(epoch from now() - at) from audit_leaves where position = covered.size + 1), 0)
  from (select coalesce((select position from audit_leaves order by position desc limit 1), 0) as position) as head,
       (select coalesce((select size from audit_checkpoints order by size desc limit 1), 0) as size) as covered
"""

MONTHS_AHEAD = """
select count(*) from (
    select bool_and(to_regclass('audit_records_' || to_char(date_trunc('month', now() at time zone 'UTC')
                    + make_interval(months => ahead), 'YYYY_MM')) is not null) over (order by ahead) as there
      from generate_series(1, 24) as ahead) as months
 where there
"""


async def seal(tx: Transaction, *, after: int, limit: int) -> tuple[int, int, int]:
    """Give leaves to the records of the next events: how many appends were looked at, up to where, the tree's size."""
    row = await (await tx.execute(SEAL, {"after": after, "limit": limit})).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


async def sealed_up_to(tx: Transaction) -> tuple[int, int]:
    """The position of the last event that has a leaf, and the tree's size."""
    row = await (await tx.execute(SEALED_UP_TO)).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def tiles(tx: Transaction, *, level: int) -> int:
    """How many full tiles of a level there are."""
    row = await (await tx.execute(TILES, {"level": level})).fetchone()
    assert row is not None
    return int(row[0])


async def add_tile(tx: Transaction, *, level: int, index: int, root: bytes, hashes: bytes) -> None:
    """Keep a full tile."""
    await tx.execute(ADD_TILE, {"level": level, "index": index, "root": root, "hashes": hashes})


async def hashes(tx: Transaction, *, level: int, first: int, count: int) -> list[bytes]:
    """Some neighbouring hashes of a level."""
    return (await _hashes(tx, [(level, first, count)]))[0]


async def beneath(tx: Transaction, nodes: Collection[Node]) -> dict[Node, list[bytes]]:
    """The hashes from which each subtree is made that are kept: 1 to 128 neighbours of one level."""
    ordered = list(dict.fromkeys(nodes))
    asked = [
        (node.height // TILE_HEIGHT, node.before << node.height % TILE_HEIGHT, 1 << node.height % TILE_HEIGHT)
        for node in ordered
    ]
    return dict(zip(ordered, await _hashes(tx, asked), strict=True))


async def search(tx: Transaction, wanted: Wanted, *, before: int | None, limit: int) -> list[Record]:
    """Records from the newest back."""
    statement, values = _found(wanted, before=before)
    async with tx.cursor(row_factory=class_row(Record)) as cursor:
        await cursor.execute(f"{statement} desc limit %(limit)s".encode(), {**values, "limit": limit})
        return await cursor.fetchall()


def read_through(connection: "psycopg.Connection[TupleRow]", wanted: Wanted) -> Generator[Record, None, None]:
    """Every record wanted, from the oldest on, for a thread of its own."""
    statement, values = _found(wanted, before=None)
    with connection.transaction(), connection.cursor("audit_export", row_factory=class_row(Record)) as cursor:
        cursor.itersize = READ_AT_ONCE
        cursor.execute(statement.encode(), values)
        yield from cursor


async def at_position(tx: Transaction, position: int) -> Record | None:
    """The record at a leaf."""
    async with tx.cursor(row_factory=class_row(Record)) as cursor:
        await cursor.execute(AT_POSITION, {"position": position})
        return await cursor.fetchone()


async def leaf(tx: Transaction, position: int) -> bytes | None:
    """The hash of a leaf."""
    row = await (await tx.execute(LEAF, {"position": position})).fetchone()
    return None if row is None else bytes(row[0])


async def checkpoints(tx: Transaction, *, before: int | None, limit: int) -> list[Kept]:
    """Checkpoints from the newest back."""
    statement = f"{KEPT} where %(before)s::bigint is null or size < %(before)s order by size desc limit %(limit)s"
    async with tx.cursor(row_factory=class_row(Kept)) as cursor:
        await cursor.execute(statement, {"before": before, "limit": limit})
        return await cursor.fetchall()


async def checkpoint(tx: Transaction, size: int) -> Kept | None:
    """The checkpoint of the tree when it had this size."""
    async with tx.cursor(row_factory=class_row(Kept)) as cursor:
        await cursor.execute(f"{KEPT} where size = %(size)s", {"size": size})
        return await cursor.fetchone()


async def add_checkpoint(tx: Transaction, note: Note) -> None:
    """Keep a checkpoint; one of this size that is there already stays."""
    await tx.execute(
        """insert into audit_checkpoints (size, root, at, key_id, note)
           values (%(size)s, %(root)s, %(at)s, %(key_id)s, %(note)s) on conflict do nothing""",
        {
            "size": note.checkpoint.size, "root": note.checkpoint.root, "at": note.checkpoint.at,
            "key_id": note.key_id, "note": note.text,
        },
    )  # fmt: skip


async def newest_number(tx: Transaction) -> int | None:
    """The number of the newest record."""
    row = await (await tx.execute("select max(number) from audit_records")).fetchone()
    return None if row is None or row[0] is None else int(row[0])


async def covering(tx: Transaction, number: int) -> Kept | None:
    """The newest checkpoint, if it covers the record of this number."""
    statement = f"""
        {KEPT} where size >= (select position from audit_leaves where number = %(number)s) order by size desc limit 1
    """
    async with tx.cursor(row_factory=class_row(Kept)) as cursor:
        await cursor.execute(statement, {"number": number})
        return await cursor.fetchone()


async def keys(tx: Transaction) -> list[Verifier]:
    """The public keys that have been registered, the first one first."""
    rows = await (await tx.execute("select verifier from audit_keys order by registered_at, key_id")).fetchall()
    return [Verifier.read(text) for (text,) in rows]


async def add_key(tx: Transaction, key: Verifier, *, at: datetime) -> bool:
    """Register a public key; whether it was not there."""
    added = await tx.execute(
        """insert into audit_keys (key_id, verifier, registered_at) values (%(key_id)s, %(verifier)s, %(at)s)
           on conflict do nothing""",
        {"key_id": key.key_id, "verifier": str(key), "at": at},
    )
    return added.rowcount == 1


async def waiting(tx: Transaction) -> tuple[int, float]:
    """How many records wait for a leaf though their events have positions (up to 10,000), and the oldest's seconds."""
    row = await (await tx.execute(WAITING)).fetchone()
    assert row is not None
    return int(row[0]), float(row[1])


async def uncovered(tx: Transaction) -> tuple[int, float]:
    """How many leaves no checkpoint covers, and the age in seconds of the first of them."""
    row = await (await tx.execute(UNCOVERED)).fetchone()
    assert row is not None
    return int(row[0]), float(row[1])


async def ensure_months(tx: Transaction, *, months_ahead: int) -> int:
    """Create the partitions that are missing up to so many months ahead; how many were."""
    row = await (await tx.execute("select ensure_audit_months(%s)", (months_ahead,))).fetchone()
    assert row is not None
    return int(row[0])


async def months_ahead(tx: Transaction) -> int:
    """For how many months after this one there are partitions, without a gap."""
    row = await (await tx.execute(MONTHS_AHEAD)).fetchone()
    assert row is not None
    return int(row[0])


def _found(wanted: Wanted, *, before: int | None) -> tuple[str, Mapping[str, object]]:
    asked = {
        "actor": wanted.actor, "subject": wanted.subject, "action": wanted.action,
        "correlation_id": wanted.correlation_id, "since": wanted.since, "until": wanted.until, "before": before,
    }  # fmt: skip
    values = {name: value for name, value in asked.items() if value is not None}
    return FOUND.format(conditions=" and ".join(CONDITIONS[name] for name in values) or "true"), values


async def _hashes(tx: Transaction, asked: Sequence[tuple[int, int, int]]) -> list[list[bytes]]:
    """Raises: ValueError when some are not kept."""
    levels, firsts, counts = (list(column) for column in zip(*asked, strict=True)) if asked else ([], [], [])
    cursor = await tx.execute(HASHES, {"levels": levels, "firsts": firsts, "counts": counts}, binary=True)
    found = [bytes(row[0] or b"") for row in await cursor.fetchall()]
    for (level, first, count), whole in zip(asked, found, strict=True):
        if len(whole) != count * HASH_BYTES:
            raise ValueError(f"of the {count} hashes of level {level} from {first} on some are missing")
    return [[whole[at : at + HASH_BYTES] for at in range(0, len(whole), HASH_BYTES)] for whole in found]


assert TILE_WIDTH == 256  # as the table and its queries have it
