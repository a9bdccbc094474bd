"""Reads the audit of a database from one end to the other and compares it with what was signed."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, cast

from psycopg.rows import TupleRow

from instrument_registry.events.audit.checkpoints import (
    BadCheckpoint,
    Checkpoint,
    Note,
    Verifier,
    by_id,
    checked,
    read_note,
)
from instrument_registry.events.audit.verification import Inspection, Row, Tampered, Verdict

if TYPE_CHECKING:
    import psycopg

ROWS_AT_ONCE = 4_000
SNAPSHOT = "set transaction isolation level repeatable read, read only"

CHECKPOINTS = "select size, root, at, key_id, note from audit_checkpoints order by size"

LEAVES = """
select l.position, l.number, l.at, l.leaf, r.action, r.actor, r.subject, r.correlation_id, convert_to(r.text, 'UTF8')
  from audit_leaves l
  left join lateral (select action, actor, subject, correlation_id, text from audit_records
                      where number = l.number and at = l.at offset 0) as r on true
 order by l.position
"""
TILES = "select level, index, root, hashes from audit_tiles order by level, index"
RECORDS = "select count(*) from audit_records"

# Records that nobody sealed though their turn has been: put there later, or by another way than with an event.
STRAY = """
select r.number, r.at, r.action
  from audit_records r left join audit_leaves l on l.number = r.number and l.at = r.at
  left join appends a on a.number = r.number and a.recorded_at = r.at
  left join positions p on p.number = a.number
 where l.number is null
   and (a.number is null
        or p.position <= (select q.position from audit_leaves k join positions q using (number)
                           order by k.position desc limit 1))
 order by r.number limit 1
"""


def inspect(
    connection: "psycopg.Connection[TupleRow]",
    *,
    keys: Sequence[Verifier],
    outside: Iterable[Note] = (),
    archived: Sequence[range] = (),
    sample_offset: int = 0,
) -> Verdict:
    """Verify everything, in one snapshot, by these keys and with the checkpoints known outside.

    Raises: Tampered, saying the first thing that is wrong; BadCheckpoint.
    """
    trusted = by_id(keys)
    with connection.transaction():
        connection.execute(SNAPSHOT)
        connection.execute("set local cursor_tuple_fraction = 1")
        inside = list(_checkpoints(connection, trusted))
        beyond = [checked(note.text, trusted) for note in outside]
        inspection = Inspection(inside, outside=beyond, archived=archived, sample_offset=sample_offset)
        with closing(_read(connection, LEAVES)) as leaves:
            inspection.take(cast("Iterator[Row]", leaves))
        with closing(_read(connection, TILES)) as tiles:
            for level, index, root, hashes in tiles:
                inspection.take_tile(level, index, root, hashes)
        verdict = inspection.finish()
        records = connection.execute(RECORDS).fetchone()
        # Counting is quick; only when there are more than have leaves is it asked which.
        unsealed = records != (verdict.records - verdict.archived,)
        stray = connection.execute(STRAY).fetchone() if unsealed else None
    if stray is not None:
        number, at, action = stray
        raise Tampered(f"Record number {number} ({action}, {at:%F %T} UTC) was put in beside the log", number=number)
    return verdict


def _checkpoints(connection: "psycopg.Connection[TupleRow]", trusted: "dict[str, Verifier]") -> Iterator[Checkpoint]:
    for size, root, at, key_id, note in connection.execute(CHECKPOINTS):
        try:
            signed = checked(note, trusted)
        except BadCheckpoint as error:
            raise Tampered(f"Checkpoint {size}: {error}", size=size) from error
        if (signed.size, signed.root, signed.at, read_note(note).key_id) != (size, root, at, key_id):
            raise Tampered(f"Checkpoint {size} shows something else than what was signed", size=size)
        yield signed


def _read(connection: "psycopg.Connection[TupleRow]", statement: str) -> Generator[TupleRow, None, None]:
    """The rows of a query, the next ones being fetched while these are looked at."""
    with (
        connection.cursor("audit_inspection", binary=True) as cursor,
        ThreadPoolExecutor(1, thread_name_prefix="audit-inspection") as ahead,
    ):
        cursor.execute(statement.encode())
        coming = ahead.submit(cursor.fetchmany, ROWS_AT_ONCE)
        while rows := coming.result():
            coming = ahead.submit(cursor.fetchmany, ROWS_AT_ONCE)
            yield from rows
