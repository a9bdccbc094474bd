"""The log's tables: SQL in, appends and events out."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from psycopg import sql
from psycopg.rows import TupleRow

from instrument_registry.database import Transaction
from instrument_registry.events import model
from instrument_registry.events.audit.recording import Draft
from instrument_registry.events.model import Append, Event, Interval, Metadata

COLUMNS = """a.number, a.event_id, a.stream, a.version, a.facts, a.recorded_at,
       a.actor, a.correlation_id, a.causation_id, a.source, a.traceparent"""

# How an instant stands in the audit's texts, in UTC.
INSTANT = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'

# One statement and one round trip. The row of the stream is taken first and held until the transaction ends; only then
# is the number drawn: so the order of numbers is the order of versions, whenever the transactions began.
APPEND = """
with head as (
    insert into stream_heads as head (stream, version)
    select %(stream)s, %(facts)s
     where coalesce(%(expected)s::bigint, 0) = 0 or exists (select from stream_heads where stream = %(stream)s)
        on conflict (stream) do update set version = head.version + excluded.version
     where %(expected)s::bigint is null or head.version = %(expected)s
    returning version
), opened as (
    insert into appends as a (number, event_id, stream, version, facts, actor, correlation_id, causation_id, source,
                              traceparent)
    select nextval('append_numbers') << {place_bits}, coalesce(%(event_id)s, new_event_id()), %(stream)s, head.version,
           %(facts)s, %(actor)s, %(correlation_id)s, %(causation_id)s, %(source)s, %(traceparent)s
      from head
    returning *
), queued as (
    insert into pending (number, facts) select number, facts from opened
), told as (
    insert into events (number, subject, type, schema_version, data, occurred_at, recorded_at)
    select a.number + fact.place, fact.subject, fact.type, fact.schema_version, fact.data, fact.occurred_at,
           a.recorded_at
      from opened a, {facts} as fact
){more}
select {columns}, null::bigint as position from opened a
"""

# The audit's record comes with the append: same number, same time, same transaction, no further round trip.
AUDITED = f""", audited as (
    insert into audit_records (number, at, action, actor, subject, correlation_id, text)
    select a.number, a.recorded_at, %(action)s, a.actor, %(subject)s, a.correlation_id,
           %(before_at)s || to_char(a.recorded_at at time zone 'UTC', '{INSTANT}')
           || %(before_number)s || a.number || %(after_number)s
      from opened a
)"""

LISTED = """
(select subject, type, schema_version, data, occurred_at, place - 1 as place
   from unnest(%(subjects)b::text[], %(types)b::text[], %(schema_versions)b::smallint[], %(data)b::text[],
               %(occurred)b::timestamptz[])
        with ordinality as one (subject, type, schema_version, data, occurred_at, place))
"""
# Arrays cost a caller with one fact a tenth of its time.
SINGLE = """
(select %(subjects)s::text as subject, %(types)s::text as type, %(schema_versions)s::smallint as schema_version,
        %(data)s::text as data, %(occurred)s::timestamptz as occurred_at, 0 as place)
"""
DRAFTED = "(select subject, type, schema_version, data, occurred_at, row_number() over () - 1 as place from {table})"


def _append_from(facts: str, more: str = "") -> str:
    return APPEND.format(place_bits=model.PLACE_BITS, columns=COLUMNS, facts=facts, more=more)


# By whether there is more than one fact, and whether the audit keeps a record.
APPEND_TOLD = {
    (several, audited): _append_from(LISTED if several else SINGLE, AUDITED if audited else "")
    for several in (False, True)
    for audited in (False, True)
}
APPEND_DRAFTED = _append_from(DRAFTED)
FACT_COLUMNS = ("subjects", "types", "schema_versions", "data", "occurred")
PIECES = ("before_at", "before_number", "after_number")

CREATE_DRAFT = """
create temporary table {table} (
    subject        text collate "C",
    type           text collate "C" not null,
    schema_version smallint not null default 1,
    data           text not null,
    occurred_at    timestamptz not null default now()
) on commit drop
"""

FIND = f"""
select {COLUMNS}, p.position from appends a left join positions p using (number) where a.event_id = any(%(ids)s)
"""

HEAD_VERSION = "select version from stream_heads where stream = %(stream)s"

HEAD_POSITION = "select position + facts - 1 from positions order by position desc limit 1"

PLACED = f"""
select {COLUMNS}, p.position, w.wanted
  from unnest(%(wanted)s::bigint[]) as w (wanted)
 cross join lateral (
       select number, position, facts from positions where position <= w.wanted order by position desc limit 1) as p
  join appends a on a.number = p.number
 where w.wanted < p.position + p.facts
"""

SEQUENCED = f"""
select {COLUMNS}, p.position
  from positions p cross join lateral (select * from appends where number = p.number offset 0) as a
 where p.position between coalesce((select max(position) from positions where position <= %(first)s), 1) and %(last)s
 order by p.position
"""

STREAM = f"""
select {COLUMNS}, p.position
  from appends a left join positions p using (number)
 where a.stream = %(stream)s and a.version > %(after)s and a.version - a.facts < %(last)s
 order by a.version limit %(limit)s
"""

EVENTS = """
select e.number, e.subject, e.type, e.schema_version, e.data, e.occurred_at
  from unnest(%(firsts)s::bigint[], %(lasts)s::bigint[], %(earliest)s::timestamptz[], %(latest)s::timestamptz[])
       as part (first, last, earliest, latest)
 cross join lateral (
       select number, subject, type, schema_version, data, occurred_at from events
        where number between part.first and part.last and recorded_at between part.earliest and part.latest
          and (%(types)s::text[] is null or type = any(%(types)s))
        order by number) as e
"""

TOLD = """
select count(*), coalesce(array_agg(distinct e.type), '{}'),
       coalesce(array_agg(distinct e.subject) filter (where e.subject is not null), '{}')
  from unnest(%(firsts)s::bigint[], %(lasts)s::bigint[], %(earliest)s::timestamptz[], %(latest)s::timestamptz[])
       as part (first, last, earliest, latest)
 cross join lateral (
       select subject, type from events
        where number between part.first and part.last and recorded_at between part.earliest and part.latest) as e
"""

SUBJECT = f"""
select e.number, e.subject, e.type, e.schema_version, e.data, e.occurred_at, {COLUMNS}, p.position
  from events e
  join appends a on a.number = e.number >> {model.PLACE_BITS} << {model.PLACE_BITS}
  left join positions p on p.number = a.number
 where e.subject = %(subject)s and e.number > %(after)s
 order by e.number limit %(limit)s
"""

WAITING = """
select count(*), coalesce(extract(epoch from now() - min(a.recorded_at)), 0) from pending join appends a using (number)
"""

# Sorted by number, and of everything that is visible: a transaction that is still open delays its own facts only.
ADVANCE = """
with taken as (
    delete from pending where number in (select number from pending order by number limit %(limit)s)
    returning number, facts
), head as (
    select coalesce((select position + facts - 1 from positions order by position desc limit 1), 0) as position
), placed as (
    insert into positions (position, number, facts)
    select head.position + 1 + sum(taken.facts) over (order by taken.number) - taken.facts, taken.number, taken.facts
      from taken, head
    returning facts
)
select count(*), coalesce(sum(facts), 0) from placed
"""

# Nothing of it has to outlive a crash; and its commit holds a lock of the whole server, so that waiting for the disk
# there would let as many notifications through a second as the disk syncs.
NOTIFY = "select pg_notify(%s, %s), set_config('synchronous_commit', 'off', true)"

MONTHS_AHEAD = """
select count(*) from (
    select bool_and(to_regclass('events_' || to_char(date_trunc('month', now() at time zone 'UTC')
                    + make_interval(months => ahead), 'YYYY_MM')) is not null) over (order by ahead) as there
      from generate_series(1, 24) as ahead) as months
 where there
"""


# number, subject, type, schema version, data, occurred at
Told = tuple[int, str | None, str, int, str, datetime]


async def append(
    tx: Transaction,
    facts: Sequence[tuple[str | None, str, int, str, datetime]],
    *,
    stream: str,
    metadata: Metadata,
    expected_version: int | None,
    event_id: UUID | None,
    record: Draft | None = None,
) -> Append | None:
    """Write facts given as (subject, type, schema version, data, occurred at); None when the version is another."""
    several = len(facts) > 1
    columns = map(list, zip(*facts, strict=True)) if several else facts[0]
    values = _values(len(facts), stream, metadata, expected_version, event_id) | dict(
        zip(FACT_COLUMNS, columns, strict=True)
    )
    if record is not None:
        values |= {"action": record.action, "subject": record.subject} | dict(zip(PIECES, record.pieces, strict=True))
    row = await (await tx.execute(APPEND_TOLD[several, record is not None], values)).fetchone()
    return None if row is None else _append(row)


async def append_drafted(
    tx: Transaction,
    table: str,
    *,
    facts: int,
    stream: str,
    metadata: Metadata,
    expected_version: int | None,
    event_id: UUID | None,
) -> Append | None:
    """Write the facts of a draft table, in the order of its rows; None when the version is another."""
    statement = sql.SQL(APPEND_DRAFTED.replace("{table}", "{}")).format(sql.Identifier(table))
    row = await (await tx.execute(statement, _values(facts, stream, metadata, expected_version, event_id))).fetchone()
    return None if row is None else _append(row)


async def create_draft(tx: Transaction, table: str) -> None:
    """Make a temporary table of facts, which goes with the transaction."""
    await tx.execute(sql.SQL(CREATE_DRAFT).format(table=sql.Identifier(table)))


async def samples(tx: Transaction, table: str) -> list[tuple[str, int, int, str]]:
    """Of each type and schema version in a draft table: how many there are, and the data of one."""
    statement = """
        with kinds as (select type, schema_version, count(*) as facts, min(ctid) as one from {table} group by 1, 2)
        select k.type, k.schema_version, k.facts, d.data from kinds k join {table} d on d.ctid = k.one order by 1, 2
    """
    rows = await (await tx.execute(sql.SQL(statement).format(table=sql.Identifier(table)))).fetchall()
    return [(kind, version, facts, data) for kind, version, facts, data in rows]


async def find(tx: Transaction, event_id: UUID) -> tuple[Append, int] | None:
    """The append that brought the event with this id, and the event's place in it."""
    cursor = await tx.execute(FIND, {"ids": [event_id, model.append_id(event_id)]})
    for found in map(_append, await cursor.fetchall()):
        place = event_id.int - found.event_id.int
        if place < found.facts:
            return found, place
    return None


async def head_version(tx: Transaction, stream: str) -> int:
    """The version of a stream; 0 before its first fact."""
    row = await (await tx.execute(HEAD_VERSION, {"stream": stream})).fetchone()
    return 0 if row is None else int(row[0])


async def head_position(tx: Transaction) -> int:
    """The position of the newest event that has one; 0 in an empty log."""
    row = await (await tx.execute(HEAD_POSITION)).fetchone()
    return 0 if row is None else int(row[0])


async def placed(tx: Transaction, positions: Sequence[int]) -> list[tuple[Append, int]]:
    """The appends that have facts at these positions, each with such a position."""
    cursor = await tx.execute(PLACED, {"wanted": list(positions)})
    return [(_append(row[:-1]), row[-1]) for row in await cursor.fetchall()]


async def sequenced(tx: Transaction, *, first: int, last: int) -> list[Append]:
    """The appends that have facts at the positions `first` to `last`, in that order."""
    cursor = await tx.execute(SEQUENCED, {"first": first, "last": last})
    return [_append(row) for row in await cursor.fetchall()]


async def of_stream(tx: Transaction, stream: str, *, after: int, last: int) -> list[Append]:
    """The appends that have facts with the versions of a stream beyond `after` and up to `last`, in that order."""
    values = {"stream": stream, "after": after, "last": last, "limit": last - after}
    return [_append(row) for row in await (await tx.execute(STREAM, values)).fetchall()]


async def events(tx: Transaction, parts: Sequence[Interval], *, types: Sequence[str] | None) -> list[Told]:
    """The facts of these numbers; those of one interval follow each other in order."""
    values = _bounds(parts) | {"types": None if types is None else list(types)}
    rows: list[Told] = await (await tx.execute(EVENTS, values)).fetchall()
    return rows


async def told(tx: Transaction, parts: Sequence[Interval]) -> tuple[int, list[str], list[str]]:
    """How many facts have these numbers, of which types, and about whom."""
    row = await (await tx.execute(TOLD, _bounds(parts))).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _bounds(parts: Sequence[Interval]) -> dict[str, object]:
    return {
        "firsts": [part.first for part in parts],
        "lasts": [part.last for part in parts],
        "earliest": [part.earliest for part in parts],
        "latest": [part.latest for part in parts],
    }


async def about(tx: Transaction, subject: str, *, after_number: int, limit: int) -> list[Event]:
    """The events about one subject, in the order in which they were written."""
    cursor = await tx.execute(SUBJECT, {"subject": subject, "after": after_number, "limit": limit})
    return [Event(_append(row[6:]), row[0] & model.PLACES, *row[1:6]) for row in await cursor.fetchall()]


async def waiting(tx: Transaction) -> tuple[int, float]:
    """How many appends have no position yet, and for how many seconds the oldest has waited."""
    row = await (await tx.execute(WAITING)).fetchone()
    assert row is not None
    return int(row[0]), float(row[1])


async def advance(tx: Transaction, *, appends_max: int) -> tuple[int, int]:
    """Give positions to what is visible and pending; how many appends and facts got one."""
    row = await (await tx.execute(ADVANCE, {"limit": appends_max})).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def locked(session: Transaction, key: int) -> bool:
    """Whether this session now holds a lock that at most one session has."""
    row = await (await session.execute("select pg_try_advisory_lock(%s)", (key,))).fetchone()
    return row == (True,)


async def notice_silence(session: Transaction) -> None:
    """Let the server end this session, and free its locks, within a minute of losing sight of its machine."""
    for setting, value in (("idle", 30), ("interval", 10), ("count", 3)):
        await session.execute(sql.SQL("set tcp_keepalives_{} = {}").format(sql.SQL(setting), value))


async def listen(session: Transaction, channel: str) -> None:
    """Hear from now on what is sent to a channel."""
    await session.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))


async def notify(tx: Transaction, channel: str, payload: str = "") -> None:
    """Wake whoever listens to a channel, with a text for them; for a transaction that does nothing else."""
    await tx.execute(NOTIFY, (channel, payload))


async def heard(session: Transaction, *, timeout_seconds: float) -> None:
    """Wait until something is sent to a channel this session listens to, or until the time is over."""
    async for _ in session.notifies(timeout=timeout_seconds, stop_after=1):
        pass


async def ensure_months(tx: Transaction, *, months_ahead: int) -> int:
    """Create the partitions that are missing up to so many months ahead; how many were."""
    row = await (await tx.execute("select ensure_event_months(%s)", (months_ahead,))).fetchone()
    assert row is not None
    return int(row[0])


async def months_ahead(tx: Transaction) -> int:
    """For how many months after this one there are partitions, without a gap."""
    row = await (await tx.execute(MONTHS_AHEAD)).fetchone()
    assert row is not None
    return int(row[0])


def _values(
    facts: int, stream: str, metadata: Metadata, expected_version: int | None, event_id: UUID | None
) -> dict[str, object]:
    return {
        "facts": facts, "stream": stream, "expected": expected_version, "event_id": event_id, "actor": metadata.actor,
        "correlation_id": metadata.correlation_id, "causation_id": metadata.causation_id, "source": metadata.source,
        "traceparent": metadata.traceparent,
    }  # fmt: skip


def _append(row: TupleRow) -> Append:
    number, event_id, stream, version, facts, recorded_at, *caused, position = row
    actor, correlation_id, causation_id, source, traceparent = caused
    metadata = Metadata(
        actor=actor, correlation_id=correlation_id, causation_id=causation_id, source=source, traceparent=traceparent
    )
    return Append(
        number=number, event_id=event_id, stream=stream, version=version, facts=facts, metadata=metadata,
        recorded_at=recorded_at, position=position,
    )  # fmt: skip
