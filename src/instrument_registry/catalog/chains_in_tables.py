"""Contracts as the tables have them, for processes without an index: option chains, filters, and when contracts end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from instrument_registry.catalog.calendars import CalendarUnknown, expiry_instant, market_today
from instrument_registry.catalog.model import VENUES, Kind
from instrument_registry.clock import MARKET_ZONE
from instrument_registry.database import Transaction

DAY = timedelta(days=1)

LIVE = """v.known_to = 'infinity' and v.valid_from <= %(day)s and v.valid_to > %(day)s and not v.is_test
   and not v.suspended"""

OPTIONS = f"""
with live as materialized (
    select v.instrument_id, v.venue, v.root, v.expiry, v.strike, v.option_type
      from instrument_versions v
     where v.root = %(root)s and v.venue = any(%(venues)s) and v.kind = 'option' and v.expiry >= %(day)s and {LIVE})
select * from live
 where expiry in (select distinct expiry from live order by expiry limit %(expiries)s)
 order by expiry, strike, option_type, instrument_id
"""

MATCHING = f"""
with live as (
    select v.instrument_id, v.venue, v.root, v.expiry, v.strike, v.option_type,
           dense_rank() over (partition by v.venue, v.root, v.kind order by v.expiry) as nth
      from instrument_versions v
     where (%(root)s::text is null or v.root = %(root)s) and v.venue = any(%(venues)s)
       and (%(kind)s::text is null or v.kind = %(kind)s) and {LIVE}
       and not ((v.venue, v.root, v.expiry) in (select * from unnest(%(ended_venues)s::text[], %(ended_roots)s::text[],
                                                                    %(ended_days)s::date[]))) is true)
select instrument_id, venue, root, expiry, strike, option_type from live
 where (%(expiry)s::date is null or expiry = %(expiry)s)
   and (%(expiries)s::int is null or (expiry is not null and nth <= %(expiries)s))
   and (%(side)s::text is null or option_type = %(side)s)
   and (%(strike_from)s::numeric is null or strike >= %(strike_from)s)
   and (%(strike_to)s::numeric is null or strike <= %(strike_to)s)
 order by expiry nulls first, root, strike, option_type, instrument_id limit %(limit)s
"""

# What ends on this day may have ended already: its session closes before midnight.
ENDING = f"""
select distinct v.venue, v.root, v.expiry from instrument_versions v
 where (%(root)s::text is null or v.root = %(root)s) and v.venue = any(%(venues)s)
   and v.expiry = %(day)s and {LIVE}
"""

CONTRACTS = """
select distinct on (v.instrument_id) v.instrument_id, v.venue, v.root, v.expiry from instrument_versions v
 where v.instrument_id = any(%(ids)s) and v.known_to = 'infinity' and v.expiry is not null
 order by v.instrument_id, v.valid_from desc
"""

NAMES = """
select i.id, i.ulid, v.key from instruments i
  left join lateral (select key from instrument_versions v where v.instrument_id = i.id and v.known_to = 'infinity'
                      order by v.valid_from <= %(day)s desc, v.valid_from desc limit 1) v on true
 where i.id = any(%(ids)s)
"""

TRADED = f"""
select distinct one.called from unnest(%(called)s::text[], %(venues)s::text[], %(roots)s::text[])
         as one (called, venue, root)
  join instrument_versions v on v.root = one.root and v.venue = one.venue and {LIVE}
"""


@dataclass(frozen=True, slots=True)
class Contract:
    """One live instrument as rules look at it; `ends_at` is when it ends, none for what has no end."""

    id: int
    venue: str
    expiry: date | None
    strike: Decimal | None
    side: str | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Name:
    """What an instrument is called outside: its permanent id, and its key."""

    id: str
    key: str


async def options(tx: Transaction, *, exchange: str, root: str, expiries: int, at: datetime) -> list[Contract]:
    """The live options of an underlying that end on its nearest expiries, so many of these or one more.

    By expiry, strike and side; on one venue of its exchange: the first that has any, should two have some.
    """
    venues = venues_of(exchange)
    where = {
        "root": root,
        "venues": venues,
        "day": market_today(at),
        "expiries": expiries + 1,
    }  # today's may have ended
    found = await _contracts(tx, OPTIONS, where, at=at)
    first = min((venues.index(one.venue) for one in found), default=0)
    return [one for one in found if one.venue == venues[first]]


async def matching(
    tx: Transaction,
    *,
    at: datetime,
    limit: int,
    kind: Kind | None = None,
    exchange: str | None = None,
    root: str | None = None,
    venue: str | None = None,
    expiry: date | None = None,
    expiries: int | None = None,
    side: str | None = None,
    strike_from: Decimal | None = None,
    strike_to: Decimal | None = None,
) -> list[Contract]:
    """Live instruments by what they are: the nearest expiries first, then by name and strike; at most so many.

    `expiries` takes the nearest ones of each underlying and kind.
    """
    venues = [venue] if venue else venues_of(exchange) if exchange else list(VENUES)
    day = market_today(at)
    where: dict[str, object] = {"root": root, "venues": venues, "day": day}
    ending = await (await tx.execute(ENDING.encode(), where)).fetchall()
    ended = [row for row in ending if not _lives(*row, at=at)]
    columns = {
        name: [row[place] for row in ended] for place, name in enumerate(("ended_venues", "ended_roots", "ended_days"))
    }
    values = where | columns | {
        "kind": kind and kind.value, "expiry": expiry, "expiries": expiries, "side": side,
        "strike_from": strike_from, "strike_to": strike_to, "limit": limit,
    }  # fmt: skip
    return await _contracts(tx, MATCHING, values, at=at)


async def traded(tx: Transaction, named: Mapping[str, tuple[str, str]], *, at: datetime) -> set[str]:
    """Which names stand for something that lives at an exchange, given each one's exchange and root."""
    asked = [(name, venue, root) for name, (exchange, root) in named.items() for venue in venues_of(exchange)]
    columns = {what: [one[place] for one in asked] for place, what in enumerate(("called", "venues", "roots"))}
    rows = await (await tx.execute(TRADED.encode(), columns | {"day": market_today(at)})).fetchall()
    return {row[0] for row in rows}


async def ends(tx: Transaction, ids: Iterable[int]) -> dict[int, datetime]:
    """When those of some instruments end that do."""
    rows = await (await tx.execute(CONTRACTS.encode(), {"ids": list(ids)})).fetchall()
    return {id_: ends_at(venue, root, expiry) for id_, venue, root, expiry in rows}


async def names(tx: Transaction, ids: Iterable[int], *, day: date) -> Mapping[int, Name]:
    """What instruments are called, by their numbers."""
    rows = await (await tx.execute(NAMES.encode(), {"ids": list(ids), "day": day})).fetchall()
    return {id_: Name(ulid, key or "") for id_, ulid, key in rows}


@lru_cache(maxsize=50_000)
def ends_at(venue: str, root: str, expiry: date) -> datetime:
    """The instant at which a contract ends; the end of its day where the venue's hours are not known."""
    try:
        return expiry_instant(venue, root, expiry)
    except CalendarUnknown:
        return datetime.combine(expiry + DAY, datetime.min.time(), MARKET_ZONE)


def venues_of(exchange: str) -> list[str]:
    """The venues of an exchange, contracts' own ones after its cash market."""
    return [venue for venue, (_, one, _) in VENUES.items() if one == exchange]


def _lives(venue: str, root: str, expiry: date | None, *, at: datetime) -> bool:
    return expiry is None or ends_at(venue, root, expiry) > at


async def _contracts(tx: Transaction, statement: str, values: Mapping[str, object], *, at: datetime) -> list[Contract]:
    rows: Sequence[tuple] = await (await tx.execute(statement.encode(), values)).fetchall()  # type: ignore[type-arg]
    return [
        Contract(id_, venue, expiry, strike, side, expiry and ends_at(venue, root, expiry))
        for id_, venue, root, expiry, strike, side in rows
        if _lives(venue, root, expiry, at=at)
    ]
