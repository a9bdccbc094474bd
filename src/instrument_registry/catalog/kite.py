"""The instruments Zerodha has tokens for on a market date, as Kite's own dump prints them."""

from collections.abc import Generator
from datetime import date

import psycopg
from psycopg.rows import TupleRow

HEADER = (
    b"instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,"
    b"instrument_type,segment,exchange\n"
)
PIECE_BYTES = 256 * 1024

# What the broker itself said comes first, then the catalogue; a contract bears its underlying's name. Kite prints 0
# where there is no number, a lot of 1 for whatever is no lot and no index, and decimals with their point; an index's
# exchange token is its token without the last byte.
ROWS = """
copy (
select b.token, coalesce(b.exchange_token, (b.token::bigint / 256)::text), b.symbol,
       coalesce(b.name, case when v.asset_class is not null then v.root end, ''), '0.0', v.expiry, {strike}, {tick_size},
       coalesce(b.lot_size, v.lot_size, case when b.segment = 'INDICES' then 0 else 1 end),
       case v.kind when 'option' then v.option_type || 'E' when 'future' then 'FUT' else 'EQ' end,
       case when b.segment = 'INDICES' then 'INDICES' when v.kind = 'option' then b.venue || '-OPT' when v.kind = 'future' then b.venue || '-FUT'
            else b.venue end,
       b.venue
  from broker_tokens b
  join instrument_versions v on v.instrument_id = b.instrument_id and v.known_to = 'infinity' and v.valid_from <= %(day)s and v.valid_to > %(day)s
 where b.broker = 'zerodha' and b.known_to = 'infinity' and b.valid @> %(day)s::date and (%(exchange)s::text is null or b.venue = %(exchange)s)
 order by b.venue, b.segment <> 'INDICES', b.symbol, b.token
) to stdout (format csv)
"""


def _decimal(number: str) -> str:
    plain = f"trim_scale(coalesce({number}, 0))"
    return f"case when scale({plain}) = 0 then {plain} || '.0' else {plain}::text end"


STATEMENT = ROWS.format(strike=_decimal("v.strike"), tick_size=_decimal("b.tick_size, v.tick_size"))


def lines(connection: "psycopg.Connection[TupleRow]", day: date, *, exchange: str | None = None) -> Generator[bytes]:
    """The header and the rows of all exchanges or of one, in pieces."""
    held = bytearray(HEADER)
    with connection.cursor() as cursor, cursor.copy(STATEMENT.encode(), {"day": day, "exchange": exchange}) as copy:
        for line in copy:
            held += line
            if len(held) >= PIECE_BYTES:
                yield bytes(held)
                held.clear()
    yield bytes(held)
