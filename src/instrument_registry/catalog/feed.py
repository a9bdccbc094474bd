"""The catalogue as the search index wants it: one row an instrument, as of a market date."""

import json
from collections.abc import Generator, Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache

import psycopg
from psycopg.rows import TupleRow

from instrument_registry.catalog.calendars import CalendarUnknown, expiry_instant
from instrument_registry.catalog.cfi import cfi_of
from instrument_registry.catalog.history import Version
from instrument_registry.catalog.keys import MONTHS, parse_key, symbol_of
from instrument_registry.catalog.model import VENUES, AssetClass, Kind
from instrument_registry.catalog.search import IndexRow, TokenRow
from instrument_registry.database import Transaction

# Instruments that ended within these days can still be asked for; of earlier ones a past date tells.
ENDED_WITHIN = timedelta(days=7)

# The indexes of the tables hold what is known now.
KNOWN_NOW = "{0}.known_to = 'infinity'"
KNOWN_THEN = "{0}.known_from <= %(known_at)s and {0}.known_to > %(known_at)s"

CURRENT = """
    select v.*, case when v.suspended then 'suspended' else 'active' end as status
      from instrument_versions v
     where {known_v} and v.valid_from <= {day} and v.valid_to > {day} {only}
"""
ENDED = """
    select * from (
        select distinct on (v.instrument_id) v.*, coalesce(i.ended_as, 'expired') as status
          from instrument_versions v join instruments i on i.id = v.instrument_id
         where {known_v} and v.valid_to > {day}::date - {ended} and v.valid_to <= {day} {only}
           and not exists (select 1 from instrument_versions w where w.instrument_id = v.instrument_id and {known_w}
                              and w.valid_from <= {day} and w.valid_to > {day})
         order by v.instrument_id, v.valid_to desc) gone
"""
ROWS = """
with shown as ({shown}),
token as (
    select b.instrument_id, string_agg(concat_ws(E'\\x1f', b.broker, b.segment, b.token, coalesce(b.exchange_token, ''), b.symbol), E'\\x1e'
           order by b.broker, b.segment, (b.series is distinct from 'EQ'), b.token) as tokens
      from broker_tokens b
     where {known_b} and b.valid @> {day}::date {only_tokens}
     group by b.instrument_id)
select s.instrument_id, i.ulid, s.key, s.root, s.name, s.kind, s.venue, s.series, s.isin, s.expiry, trim_scale(s.strike)::text, s.option_type,
       s.lot_size, trim_scale(s.tick_size)::text, s.freeze_qty, trim_scale(s.multiplier)::text, s.status, s.is_test, s.streamable,
       s.asset_class, s.currency, trim_scale(s.face_value)::text, s.quote_unit, s.surveillance, t.tokens
  from shown s join {instruments} on i.id = s.instrument_id left join token t on t.instrument_id = s.instrument_id
"""

OVERRIDES = """
select instrument_id, jsonb_object_agg(field, value)::text from overrides
 where valid_from <= %(day)s and valid_to > %(day)s
   and created_at <= %(known_at)s and (withdrawn_at is null or withdrawn_at > %(known_at)s)
 group by instrument_id
"""

OVERRIDES_KNOWN = """
select field, value from overrides
 where instrument_id = %(id)s and valid_from <= %(day)s and valid_to > %(day)s
   and created_at <= %(known_at)s and (withdrawn_at is null or withdrawn_at > %(known_at)s)
"""

# Just after a run the planner knows nothing of its rows, and may take thousands for one: then it would join each with each.
MANY = 100
JOINED = "set local enable_nestloop = off"
CHUNK = 4_096  # rows that the server sends at once, while it goes on with the next
Overrides = dict[int, dict[str, str]]


def read_all(
    connection: "psycopg.Connection[TupleRow]", day: date, *, known_at: datetime | None = None
) -> Generator[IndexRow]:
    """Every instrument shown on a day, as known at an instant, streamed; in the snapshot of the connection's transaction."""
    values = {"day": day, "ended": ENDED_WITHIN.days, "known_at": known_at or "infinity"}
    overrides: Overrides = {row[0]: json.loads(row[1]) for row in connection.execute(OVERRIDES, values)}
    connection.execute("set local work_mem = '64MB'")
    statement = _statement(f"{CURRENT} union all {ENDED}", only=False, then=known_at is not None)
    for row in connection.cursor().stream(statement, values, size=CHUNK):
        yield _row(row, overrides)


async def read_some(tx: Transaction, day: date, *, named: Mapping[int, str]) -> list[IndexRow]:
    """Those of some instruments, given as permanent ids by inner ids, that are shown on a day."""
    values: dict[str, object] = {"day": day, "ended": ENDED_WITHIN.days, "known_at": "infinity"}
    cursor = await tx.execute(OVERRIDES, values)
    overrides: Overrides = {row[0]: json.loads(row[1]) for row in await cursor.fetchall()}
    if len(named) > MANY:
        await tx.execute(JOINED)
    rows: list[IndexRow] = []
    left = dict(named)
    for statement in SOME:  # few have ended, and to look for all of them there takes longer than everything else
        if not left:
            break
        found = await tx.execute(statement, values | {"ids": list(left), "ulids": list(left.values())})
        rows += [_row(row, overrides) for row in await found.fetchall()]
        left = {identifier: left[identifier] for identifier in left.keys() - {row.id for row in rows}}
    return rows


def read_many(
    connection: "psycopg.Connection[TupleRow]", day: date, *, named: Mapping[int, str]
) -> Generator[IndexRow]:
    """As `read_some`, streamed; in the snapshot of the connection's transaction."""
    values: dict[str, object] = {"day": day, "ended": ENDED_WITHIN.days, "known_at": "infinity"}
    overrides: Overrides = {row[0]: json.loads(row[1]) for row in connection.execute(OVERRIDES, values)}
    connection.execute("set local work_mem = '64MB'")
    connection.execute(JOINED)
    left = dict(named)
    for statement in SOME:
        asked = values | {"ids": list(left), "ulids": list(left.values())}
        for row in connection.cursor().stream(statement, asked, size=CHUNK):
            left.pop(row[0], None)
            yield _row(row, overrides)


async def overrides_known(tx: Transaction, identifier: int, day: date, *, known_at: datetime) -> dict[str, str]:
    """What operators had set of an instrument for a day, as known at an instant: value by field."""
    cursor = await tx.execute(OVERRIDES_KNOWN, {"id": identifier, "day": day, "known_at": known_at})
    return dict(await cursor.fetchall())


async def ids_of(tx: Transaction, ulids: Iterable[str]) -> dict[int, str]:
    """Permanent ids by their inner ids."""
    cursor = await tx.execute("select id, ulid from instruments where ulid = any(%s)", (list(ulids),))
    return dict(await cursor.fetchall())


def _statement(shown: str, *, only: bool, then: bool) -> bytes:
    known = KNOWN_THEN if then else KNOWN_NOW
    instruments = "unnest(%(ids)s::bigint[], %(ulids)s::text[]) as i (id, ulid)" if only else "instruments i"
    return ROWS.replace("{shown}", shown).format(
        instruments=instruments, day="%(day)s", ended="%(ended)s::int",
        known_v=known.format("v"), known_w=known.format("w"), known_b=known.format("b"),
        only="and v.instrument_id = any(%(ids)s)" if only else "",
        only_tokens="and b.instrument_id = any(%(ids)s)" if only else "",
    ).encode()  # fmt: skip


SOME = tuple(_statement(shown, only=True, then=False) for shown in (CURRENT, ENDED))


def _row(row: tuple, overrides: Overrides) -> IndexRow:  # type: ignore[type-arg]
    (
        identifier, ulid, key, root, name, kind, venue, series, isin, expiry, strike, option_type, lot_size, tick_size, freeze_qty,
        multiplier, status, is_test, streamable, asset_class, currency, face_value, quote_unit, surveillance, tokens,
    ) = row  # fmt: skip
    mic, exchange, segment = VENUES[venue]
    contract = (venue, root, expiry) if expiry else None
    extra = extra_members(kind, asset_class, option_type, face_value, quote_unit, surveillance, contract)
    if overridden := overrides.get(identifier):
        said = {
            "lot_size": lot_size,
            "freeze_qty": freeze_qty,
            "tick_size": tick_size,
            "multiplier": multiplier,
            "name": name,
        }
        lot_size = int(overridden.get("lot_size", lot_size or 0)) or None
        freeze_qty = int(overridden.get("freeze_qty", freeze_qty or 0)) or None
        tick_size = overridden.get("tick_size", tick_size)
        multiplier = overridden.get("multiplier", multiplier)
        name = overridden.get("name", name)
        # What the files say of them, so that nobody takes an operator's word for theirs.
        replaced = {field: said[field] for field in sorted(overridden)}
        extra += f',"overridden":{json.dumps(replaced, ensure_ascii=False)}'
    return IndexRow(  # by position, which is twice as fast: in the order of its fields
        identifier, ulid, key, _symbol(key, root, expiry, strike, option_type), name, kind, venue, mic, segment, exchange, series, isin,
        root if asset_class else None, expiry, strike, option_type, lot_size, tick_size, freeze_qty, multiplier, status, is_test,
        streamable, asset_class, currency, tuple(map(_token, tokens.split("\x1e"))) if tokens else (), extra,
    )  # fmt: skip


def row_of(
    version: Version, *, identifier: int, ulid: str, status: str, overridden: dict[str, str]
) -> dict[str, object]:
    """A version as the members an instrument has in answers, without its tokens."""
    row = _row(
        (
            identifier, ulid, version.key, version.root, version.name, version.kind, version.venue, version.series, version.isin,
            version.expiry, plain(version.strike), version.option_type, version.lot_size, plain(version.tick_size), version.freeze_qty,
            plain(version.multiplier), status, version.is_test, version.streamable, version.asset_class, version.currency,
            plain(version.face_value), version.quote_unit, version.surveillance, None,
        ),
        {identifier: overridden},
    )  # fmt: skip
    members: dict[str, object] = row._asdict() | {"id": row.ulid} | json.loads("{" + row.extra + "}")
    return {name: value for name, value in members.items() if name not in ("ulid", "extra", "tokens")}


@lru_cache(maxsize=20_000)
def expires_at(venue: str, root: str, expiry: date) -> str | None:
    """The instant at which a contract ends, in the exchange's zone; None where the venue's hours are not known."""
    try:
        return expiry_instant(venue, root, expiry).isoformat()
    except CalendarUnknown:
        return None


def plain(value: object) -> object:
    """A decimal as plain text, everything else as it is."""
    return format(value, "f") if isinstance(value, Decimal) else value


@lru_cache(maxsize=50_000)
def extra_members(
    kind: str,
    asset_class: str | None,
    option_type: str | None,
    face_value: str | None,
    quote_unit: str | None,
    surveillance: str | None,
    contract: tuple[str, str, date] | None,
) -> str:
    """Further members of the answer as JSON; rows alike in all of them share the text."""
    cfi = cfi_of(Kind(kind), asset_class=AssetClass(asset_class) if asset_class else None, option_type=option_type)
    members = {
        "cfi": cfi, "expires_at": expires_at(*contract) if contract else None, "face_value": face_value,
        "quote_unit": quote_unit, "surveillance": surveillance,
    }  # fmt: skip
    told = {name: value for name, value in members.items() if value is not None}
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)[1:-1]


def _symbol(key: str, root: str, expiry: date | None, strike: str | None, option_type: str | None) -> str:
    # What keys.symbol_of says, without reading the key again: this runs for every row of the catalogue.
    if "/" in key:
        return symbol_of(parse_key(key))
    if expiry is None:
        return root
    return f"{root}{_day_text(expiry)}{strike}{option_type}E" if option_type else f"{root}{_day_text(expiry)}FUT"


@cache
def _day_text(day: date) -> str:
    return f"{day.day:02}{MONTHS[day.month - 1]}{day.year % 100:02}"


def _token(part: str) -> TokenRow:
    broker, segment, token, exchange_token, symbol = part.split("\x1f")
    return TokenRow(broker, segment, token, exchange_token or None, symbol)
