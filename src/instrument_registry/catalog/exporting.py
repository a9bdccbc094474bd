"""The living instruments of a market date as they are shown in answers, one after the other, in constant memory."""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import TupleRow

from instrument_registry.catalog.cfi import cfi_of
from instrument_registry.catalog.feed import expires_at
from instrument_registry.catalog.keys import Key, parse_key, symbol_of
from instrument_registry.catalog.model import DERIVATIVES, VENUES, AssetClass, Kind
from instrument_registry.database import Transaction

BATCH = 5_000

# In the order of the keys, so that the index on them gives the rows one by one and nothing has to be sorted.
ROWS = """
with overridden as (
    select instrument_id, jsonb_object_agg(field, value) as said from overrides
     where valid_from <= %(day)s and valid_to > %(day)s
       and created_at <= %(known_at)s and (withdrawn_at is null or withdrawn_at > %(known_at)s)
     group by instrument_id)
select i.ulid, v.key, v.root, v.name, v.kind, v.venue, v.series, v.isin, v.expiry, trim_scale(v.strike)::text, v.option_type,
       v.lot_size, trim_scale(v.tick_size)::text, v.freeze_qty, trim_scale(v.multiplier)::text, v.suspended, v.is_test, v.streamable,
       v.asset_class, v.currency, trim_scale(v.face_value)::text, v.quote_unit, v.surveillance, o.said, t.tokens
  from instrument_versions v
  join instruments i on i.id = v.instrument_id
  left join overridden o on o.instrument_id = v.instrument_id
  left join lateral (
       select array_agg(array[b.broker, b.token] order by b.broker, b.segment, (b.series is distinct from 'EQ'), b.token) as tokens
         from broker_tokens b
        where b.instrument_id = v.instrument_id and b.valid @> %(day)s::date {known_tokens}
          and (%(brokers)s::text[] is null or b.broker = any(%(brokers)s))) t on true
 where v.valid_from <= %(day)s and v.valid_to > %(day)s {known}
   and (%(venues)s::text[] is null or v.venue = any(%(venues)s))
   and (%(kinds)s::text[] is null or v.kind = any(%(kinds)s))
   and (%(underlyings)s::text[] is null or (v.root = any(%(underlyings)s) and v.asset_class is not null))
   and (%(expiry_from)s::date is null or v.expiry >= %(expiry_from)s)
   and (%(expiry_to)s::date is null or v.expiry <= %(expiry_to)s)
   and (%(include_test)s or not v.is_test)
   and (%(brokers)s::text[] is null or t.tokens is not null)
 order by v.key
"""
# The index on keys holds what is known now; of what was known earlier every row is read and sorted by the server.
NOW = ROWS.format(known="and v.known_to = 'infinity'", known_tokens="and b.known_to = 'infinity'")
THEN = ROWS.format(
    known="and v.known_from <= %(known_at)s and v.known_to > %(known_at)s",
    known_tokens="and b.known_from <= %(known_at)s and b.known_to > %(known_at)s",
)

# The last expiry that each chain has in each month: what ends then is monthly, what ends before is weekly.
LAST_OF_MONTHS = """
select venue, root, kind, max(expiry) from instrument_versions
 where asset_class is not null and expiry >= %(day)s and valid_from <= %(day)s and valid_to > %(day)s
   and known_from <= %(known_at)s and coalesce(nullif(known_to, 'infinity') > %(known_at)s, true) and not is_test
 group by venue, root, kind, date_trunc('month', expiry)
"""
Monthlies = frozenset[tuple[str, str, str, date]]

BROKERS = "select distinct broker from ingestion_segments order by broker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which instruments, as of which market date, as known at which instant; without one, as known now."""

    day: date
    known_at: datetime | None = None
    venues: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    underlyings: tuple[str, ...] = ()
    brokers: tuple[str, ...] = ()
    expiry_from: date | None = None
    expiry_to: date | None = None
    include_test: bool = False


class Row(NamedTuple):
    """One instrument with the members it has in answers."""

    id: str
    key: str
    symbol: str
    name: str | None
    kind: str
    venue: str
    mic: str | None
    segment: str
    exchange: str
    series: str | None
    isin: str | None
    underlying: str | None
    expiry: date | None
    strike: str | None
    option_type: str | None
    lot_size: int | None
    tick_size: str | None
    freeze_qty: int | None
    multiplier: str | None
    status: str
    is_test: bool
    streamable: bool
    asset_class: str | None
    currency: str | None
    cfi: str
    expires_at: str | None
    cycle: str | None
    face_value: str | None
    quote_unit: str | None
    surveillance: str | None
    overridden: dict[str, str | int | None] | None
    tokens: dict[str, str]


async def brokers_heard(tx: Transaction) -> list[str]:
    """Every broker that ever brought an instrument."""
    return [row[0] for row in await (await tx.execute(BROKERS)).fetchall()]


def read(connection: "psycopg.Connection[TupleRow]", wanted: Wanted) -> Generator[list[Row]]:
    """The instruments by key, some thousands at a time, all from one snapshot of the catalogue."""
    values = {
        "day": wanted.day, "known_at": wanted.known_at or "infinity", "venues": list(wanted.venues) or None,
        "kinds": list(wanted.kinds) or None, "underlyings": list(wanted.underlyings) or None,
        "brokers": list(wanted.brokers) or None, "expiry_from": wanted.expiry_from, "expiry_to": wanted.expiry_to,
        "include_test": wanted.include_test,
    }  # fmt: skip
    with connection.transaction(), connection.cursor(name="export") as cursor:
        monthlies = frozenset(connection.execute(LAST_OF_MONTHS, values).fetchall())
        cursor.execute((THEN if wanted.known_at else NOW).encode(), values)
        while batch := cursor.fetchmany(BATCH):
            yield [_row(row, monthlies) for row in batch]


def _row(row: TupleRow, monthlies: Monthlies) -> Row:
    (
        ulid, key, root, name, kind, venue, series, isin, expiry, strike, option_type, lot_size, tick_size, freeze_qty, multiplier,
        suspended, is_test, streamable, asset_class, currency, face_value, quote_unit, surveillance, said, tokens,
    ) = row  # fmt: skip
    mic, exchange, segment = VENUES[venue]
    contract = Kind(kind) in DERIVATIVES
    cycle = "monthly" if (venue, root, kind, expiry) in monthlies else "weekly"
    # Only a crypto key holds names that no column has; the others need not be read again.
    named = (
        parse_key(key) if "/" in key else Key(venue=venue, name=root, expiry=expiry, strike=strike, side=option_type)
    )
    shown = Row(
        id=ulid, key=key, symbol=symbol_of(named), name=name, kind=kind, venue=venue, mic=mic, segment=segment, exchange=exchange,
        series=series, isin=isin, underlying=root if asset_class else None, expiry=expiry, strike=strike, option_type=option_type,
        lot_size=lot_size, tick_size=tick_size, freeze_qty=freeze_qty, multiplier=multiplier,
        status="suspended" if suspended else "active", is_test=is_test, streamable=streamable, asset_class=asset_class,
        currency=currency,
        cfi=cfi_of(Kind(kind), asset_class=AssetClass(asset_class) if asset_class else None, option_type=option_type),
        expires_at=expires_at(venue, root, expiry) if contract else None,
        cycle=cycle if contract and not is_test else None, face_value=face_value, quote_unit=quote_unit, surveillance=surveillance, overridden=None,
        tokens=dict(reversed(tokens or ())),  # the first that is told
    )  # fmt: skip
    return shown if said is None else _overridden(shown, said)


def _overridden(row: Row, said: dict[str, str]) -> Row:
    """The row with an operator's word in place of the files', which stay visible."""
    counts = {field: int(value) if field in ("lot_size", "freeze_qty") else value for field, value in said.items()}
    return row._replace(overridden={field: getattr(row, field) for field in sorted(said)}, **counts)  # type: ignore[arg-type]
