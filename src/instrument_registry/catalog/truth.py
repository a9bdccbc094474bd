"""The catalogue as the tables have it, read apart from what feeds the index: no slip of that one is repeated here."""

import json
from collections.abc import Generator
from dataclasses import dataclass
from datetime import date

import msgspec
import psycopg
from psycopg.rows import TupleRow, class_row

from instrument_registry.catalog.calendars import CalendarUnknown, expiry_instant
from instrument_registry.catalog.cfi import cfi_of
from instrument_registry.catalog.keys import parse_key, symbol_of
from instrument_registry.catalog.model import VENUES, AssetClass, Kind
from instrument_registry.catalog.search import IndexRow, TokenRow

CHUNK = 4_096
ENDED_WITHIN_DAYS = 7
COUNTS = ("lot_size", "freeze_qty")

# The version of the day, else the last one of what ended in the days before it.
SHOWN = """
with latest as (
    select distinct on (instrument_id) * from instrument_versions
     where known_to = 'infinity' and valid_from <= %(day)s and valid_to > %(day)s::date - %(ended_within)s::int
     order by instrument_id, valid_to desc),
called as (
    select instrument_id, jsonb_agg(jsonb_build_array(broker, segment, token, exchange_token, symbol)
           order by broker, segment, series is distinct from 'EQ', token)::text as tokens
      from broker_tokens
     where known_to = 'infinity' and lower(valid) <= %(day)s and coalesce(upper(valid) > %(day)s, true)
     group by instrument_id),
said as (
    select instrument_id, jsonb_object_agg(field, value)::text as overridden from overrides
     where valid_from <= %(day)s and valid_to > %(day)s and withdrawn_at is null
     group by instrument_id)
select i.id, i.ulid, l.key, l.root, l.name, l.kind, l.venue, l.series, l.isin, l.expiry, l.option_type, l.lot_size,
       l.freeze_qty, l.is_test, l.streamable, l.asset_class, l.currency, l.quote_unit, l.surveillance,
       trim_scale(l.strike)::text as strike, trim_scale(l.tick_size)::text as tick_size,
       trim_scale(l.multiplier)::text as multiplier, trim_scale(l.face_value)::text as face_value,
       case when l.valid_to <= %(day)s then coalesce(i.ended_as, 'expired')
            when l.suspended then 'suspended' else 'active' end as status,
       coalesce(c.tokens, '[]') as tokens, coalesce(s.overridden, '{}') as overridden
  from latest l join instruments i on i.id = l.instrument_id
  left join called c on c.instrument_id = i.id
  left join said s on s.instrument_id = i.id
"""


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    ulid: str
    key: str
    root: str
    name: str | None
    kind: str
    venue: str
    series: str | None
    isin: str | None
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
    face_value: str | None
    quote_unit: str | None
    surveillance: str | None
    tokens: str  # JSON, as is what operators set
    overridden: str


_tokens = msgspec.json.Decoder(tuple[TokenRow, ...])


def read(connection: "psycopg.Connection[TupleRow]", day: date) -> Generator[IndexRow]:
    """Every instrument shown on a day as known now; in the snapshot of the connection's transaction."""
    connection.execute("set local work_mem = '64MB'")
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        for row in cursor.stream(SHOWN, {"day": day, "ended_within": ENDED_WITHIN_DAYS}, size=CHUNK):
            yield _row(row)


def _row(row: _Row) -> IndexRow:
    mic, exchange, segment = VENUES[row.venue]
    overridden: dict[str, str] = json.loads(row.overridden)
    kept = {field: getattr(row, field) for field in ("name", "lot_size", "tick_size", "freeze_qty", "multiplier")}
    put = {field: int(value) if field in COUNTS else value for field, value in overridden.items()}
    return IndexRow(
        id=row.id, ulid=row.ulid, key=row.key, symbol=symbol_of(parse_key(row.key)), kind=row.kind, venue=row.venue,
        mic=mic, segment=segment, exchange=exchange, series=row.series, isin=row.isin,
        underlying=row.root if row.asset_class else None, expiry=row.expiry, strike=row.strike,
        option_type=row.option_type, status=row.status, is_test=row.is_test, streamable=row.streamable,
        asset_class=row.asset_class, currency=row.currency, tokens=_tokens.decode(row.tokens),
        extra=_extra(row, {field: kept[field] for field in sorted(overridden)}), **(kept | put),
    )  # fmt: skip


def _extra(row: _Row, replaced: dict[str, object]) -> str:
    asset_class = AssetClass(row.asset_class) if row.asset_class else None
    members = {
        "cfi": cfi_of(Kind(row.kind), asset_class=asset_class, option_type=row.option_type),
        "expires_at": _expires_at(row), "face_value": row.face_value, "quote_unit": row.quote_unit,
        "surveillance": row.surveillance,
    }  # fmt: skip
    told = [_member(name, value) for name, value in members.items() if value is not None]
    return ",".join(told) + (f',"overridden":{json.dumps(replaced, ensure_ascii=False)}' if replaced else "")


def _member(name: str, value: str) -> str:
    return f'"{name}":{json.dumps(value, ensure_ascii=False)}'


def _expires_at(row: _Row) -> str | None:
    try:
        return expiry_instant(row.venue, row.root, row.expiry).isoformat() if row.expiry else None
    except CalendarUnknown:
        return None
