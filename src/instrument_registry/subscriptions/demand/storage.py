"""The table of wants: one row is one reference."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from psycopg.rows import TupleRow

from instrument_registry.database import Transaction
from instrument_registry.subscriptions.demand.summing import COPIES_AT, ID_AT, MODE_AT, PRIORITY_AT
from instrument_registry.subscriptions.demand.wants import DemandSource, Reference, Want
from instrument_registry.subscriptions.planner.model import Ints, Mode

COLUMNS = "source, owner, rule, user_id, instrument_id, mode, priority, copies, pinned, expires_at"

LOCK = "select pg_advisory_xact_lock(hashtextextended('subscription_wants:' || %(source)s || ':' || %(owner)s, 0))"

RELEASE = """
delete from subscription_wants
 where source = %(source)s and owner = %(owner)s and rule = %(rule)s and instrument_id <> all(%(ids)s::bigint[])
returning instrument_id, user_id
"""

KEEP = """
insert into subscription_wants as w (source, owner, rule, instrument_id, user_id, mode, priority, copies, pinned,
    expires_at)
select %(source)s, %(owner)s, %(rule)s, one.instrument_id, %(user_id)s, one.mode, one.priority, one.copies, one.pinned,
       one.expires_at
  from unnest(%(ids)s::bigint[], %(modes)s::smallint[], %(priorities)s::smallint[], %(copies)s::smallint[],
              %(pinned)s::boolean[], %(expiries)s::timestamptz[])
       as one (instrument_id, mode, priority, copies, pinned, expires_at)
    on conflict (source, owner, rule, instrument_id) do update set
       user_id = excluded.user_id, mode = excluded.mode, priority = excluded.priority, copies = excluded.copies,
       pinned = excluded.pinned, expires_at = excluded.expires_at
 where (w.user_id, w.mode, w.priority, w.copies, w.pinned, w.expires_at) is distinct from
       (excluded.user_id, excluded.mode, excluded.priority, excluded.copies, excluded.pinned, excluded.expires_at)
returning w.instrument_id, xmax = 0
"""

# One row comes back, with as many bytes as there are wants: the driver makes no Python object of any of them.
COUNTING = f"""
select array_agg((instrument_id << {ID_AT}) | (mode::bigint << {MODE_AT}) | (priority::bigint << {PRIORITY_AT})
                 | ((copies - 1)::bigint << {COPIES_AT}) | pinned::int::bigint),
       array_agg(hashtextextended(user_id, 0)),
       extract(epoch from min(expires_at))::float8
  from subscription_wants
 where source <> 'historical' and (expires_at is null or expires_at > %(at)s)
"""

# What somebody else writes now is left for the next time.
EXPIRED = """
with gone as (
    select source, owner, rule, instrument_id from subscription_wants where expires_at <= %(at)s
     order by source, owner, rule, instrument_id for update skip locked)
delete from subscription_wants w using gone g
 where (w.source, w.owner, w.rule, w.instrument_id) = (g.source, g.owner, g.rule, g.instrument_id)
returning w.source, w.owner, w.user_id, w.instrument_id
"""

LIST = f"""
select {COLUMNS} from subscription_wants
 where (%(instrument)s::bigint is null or instrument_id = %(instrument)s)
   and (%(user_id)s::text is null or user_id = %(user_id)s) and (%(source)s::text is null or source = %(source)s)
   and (%(owner)s::text is null or owner = %(owner)s)
   and (%(after_source)s::text is null
        or (source, owner, rule, instrument_id) > (%(after_source)s, %(after_owner)s, %(after_rule)s, %(after_id)s))
 order by source, owner, rule, instrument_id limit %(limit)s
"""

OF_INSTRUMENT = f"select {COLUMNS} from subscription_wants where instrument_id = %(id)s order by source, owner, rule"

# Of PostgreSQL's binary arrays: dimensions, flag and type, then length and lower bound; each element follows its size.
ARRAY_HEADER = struct.Struct(">iiIii")
ELEMENT = np.dtype([("size", ">i4"), ("value", ">i8")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What writing somebody's wants has changed: the instruments' numbers."""

    added: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    released: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.released)


@dataclass(frozen=True, slots=True)
class Counting:
    """The wants that reach the wire, packed, with the hashes of their users, and when the first of them ends."""

    wants: Ints
    users: Ints
    next_edge: float | None  # seconds since 1970


async def lock(tx: Transaction, source: DemandSource, owner: str) -> None:
    """Let nobody else write this owner's wants until the transaction ends."""
    await tx.execute(LOCK, {"source": source, "owner": owner})


async def replace(
    tx: Transaction, source: DemandSource, owner: str, *, rule: int, user_id: str, wants: Sequence[Want]
) -> tuple[Differences, str | None]:
    """Let these be the wants of one rule of an owner, all of them; what has changed, and who wanted what is gone.

    Only rows that differ are written. The owner must be locked.
    """
    whose: dict[str, object] = {"source": source, "owner": owner, "rule": rule, "ids": [w.instrument_id for w in wants]}
    gone = await (await tx.execute(RELEASE, whose)).fetchall()
    written: list[TupleRow] = []
    if wants:
        columns = whose | {
            "user_id": user_id, "modes": [int(w.mode) for w in wants], "priorities": [w.priority for w in wants],
            "copies": [w.copies for w in wants], "pinned": [w.pinned for w in wants],
            "expiries": [w.expires_at for w in wants],
        }  # fmt: skip
        written = await (await tx.execute(KEEP, columns)).fetchall()
    differences = Differences(
        added=tuple(sorted(id_ for id_, added in written if added)),
        changed=tuple(sorted(id_ for id_, added in written if not added)),
        released=tuple(sorted(row[0] for row in gone)),
    )
    return differences, gone[0][1] if gone else None


async def counting(tx: Transaction, *, at: datetime) -> Counting:
    """All wants that reach the wire at an instant, in whatever order the table has them."""
    async with tx.cursor(binary=True) as cursor:
        await cursor.execute(COUNTING.encode(), {"at": at})
        result = cursor.pgresult
        assert result is not None
        wants, users, edge = (result.get_value(0, column) for column in range(3))
    return Counting(_array(wants), _array(users), None if edge is None else struct.unpack(">d", edge)[0])


async def users_of(tx: Transaction, source: DemandSource, owner: str) -> list[str]:
    """For whom an owner wants what it wants."""
    statement = "select distinct user_id from subscription_wants where source = %s and owner = %s order by 1"
    return [row[0] for row in await (await tx.execute(statement, (source, owner))).fetchall()]


async def any_ended(tx: Transaction, *, at: datetime) -> bool:
    """Whether there are wants that have ended; an index finds the first."""
    statement = "select 1 from subscription_wants where expires_at <= %s limit 1"
    return await (await tx.execute(statement, (at,))).fetchone() is not None


async def expired(tx: Transaction, *, at: datetime) -> list[tuple[DemandSource, str, str, int]]:
    """Let go of the wants that have ended: source, owner, user and instrument of each."""
    rows = await (await tx.execute(EXPIRED, {"at": at})).fetchall()
    return [(DemandSource(source), owner, user, id_) for source, owner, user, id_ in rows]


async def listed(
    tx: Transaction,
    *,
    limit: int,
    after: tuple[str, str, int, int] | None = None,
    instrument: int | None = None,
    user_id: str | None = None,
    source: DemandSource | None = None,
    owner: str | None = None,
) -> list[Reference]:
    """References by source, owner, rule and instrument."""
    values = dict(zip(("after_source", "after_owner", "after_rule", "after_id"), after or (None,) * 4, strict=True))
    values |= {"limit": limit, "instrument": instrument, "user_id": user_id, "source": source, "owner": owner}
    return [_reference(row) for row in await (await tx.execute(LIST.encode(), values)).fetchall()]


async def of_instrument(tx: Transaction, instrument: int) -> Iterable[Reference]:
    """Every reference to an instrument."""
    rows = await (await tx.execute(OF_INSTRUMENT.encode(), {"id": instrument})).fetchall()
    return (_reference(row) for row in rows)


def _array(content: bytes | None) -> Ints:
    if content is None:
        return np.zeros(0, np.int64)
    (dimensions, _, _, length, _) = ARRAY_HEADER.unpack_from(content)
    assert dimensions == 1
    elements = np.frombuffer(content, ELEMENT, count=length, offset=ARRAY_HEADER.size)
    return elements["value"].astype(np.int64)


def _reference(row: TupleRow) -> Reference:
    source, owner, rule, user_id, instrument_id, mode, priority, copies, pinned, expires_at = row
    want = Want(
        instrument_id=instrument_id, mode=Mode(mode), priority=priority, copies=copies, pinned=pinned,
        expires_at=expires_at,
    )  # fmt: skip
    return Reference(source=DemandSource(source), owner=owner, rule=rule, user_id=user_id, want=want)
