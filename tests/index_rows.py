"""Rows for the search index without a database: from what an adapter read, or written by hand."""

from collections.abc import Iterator
from datetime import date
from urllib.parse import unquote

from instrument_registry.catalog.brokers.frame import Parsed
from instrument_registry.catalog.keys import symbol_expr
from instrument_registry.catalog.model import VENUES, Kind
from instrument_registry.catalog.search import IndexRow, TokenRow

CONTRACTS = (Kind.FUTURE, Kind.OPTION, Kind.CRYPTO_FUTURE)


def index_rows(broker: str, parsed: Parsed, *, first: int = 1) -> Iterator[IndexRow]:
    """One row a key; ids are given in the order of the file."""
    frame = parsed.rows.with_columns(symbol_expr().alias("compact")).unique("key", keep="first", maintain_order=True)
    for number, row in enumerate(frame.iter_rows(named=True), first):
        mic, exchange, segment = VENUES[row["venue"]]
        yield IndexRow(
            id=number,
            ulid=ulid_of(number),
            key=row["key"],
            symbol=row["compact"],
            name=row["name"],
            kind=row["kind"],
            venue=row["venue"],
            mic=mic,
            segment=segment,
            exchange=exchange,
            series=row["series"],
            isin=row["isin"],
            underlying=row["root"] if row["kind"] in CONTRACTS else None,
            expiry=row["expiry"],
            strike=row["strike"],
            option_type=row["option_type"],
            lot_size=row["lot_size"],
            tick_size=row["tick_size"],
            freeze_qty=row["freeze_qty"],
            multiplier=row["multiplier"],
            status="suspended" if row["suspended"] else "active",
            is_test=bool(row["is_test"]),
            streamable=row["streamable"] is not False,
            asset_class=row["asset_class"],
            currency=row["currency"],
            tokens=(TokenRow(broker, row["segment"], row["token"], row["exchange_token"], row["symbol"]),),
        )


def ulid_of(number: int) -> str:
    """A ULID text that tells the number."""
    return f"{number:026}"


def cash(key: str, *, name: str | None = None, number: int, **fields: object) -> IndexRow:
    """A cash listing or an index, as its key says."""
    venue, _, body = key.partition(":")
    symbol, _, series = body.partition(";")
    mic, exchange, segment = VENUES[venue]
    kinds = {"IDX": "index", "SPOT": "spot_commodity", "W1": "warrant", "GB": "sgb", "F": "bond"}
    row = IndexRow(
        id=number,
        ulid=ulid_of(number),
        key=key,
        symbol=unquote(symbol),
        name=name,
        kind=kinds.get(series, "equity"),
        venue=venue,
        mic=mic,
        segment=segment,
        exchange=exchange,
        series=series or "EQ",
        isin=None,
        underlying=None,
        expiry=None,
        strike=None,
        option_type=None,
        lot_size=1,
        tick_size="0.05",
        freeze_qty=None,
        multiplier=None,
        status="active",
        is_test=False,
        streamable=True,
        asset_class=None,
        currency="INR",
        tokens=(TokenRow("upstox", f"{venue}_EQ", f"{venue}_EQ|{number}", str(number), symbol),),
    )
    return row._replace(**fields)


def contract(key: str, *, number: int, lot_size: int = 50, **fields: object) -> IndexRow:
    """A future or an option, as its key says."""
    venue, _, body = key.partition(":")
    underlying, *parts = body.split(";")
    option = parts[0] != "F"
    expiry = date.fromisoformat(parts[0] if option else parts[1])
    day = expiry.strftime("%d%b%y").upper()
    return cash(f"{venue}:{underlying}", number=number)._replace(
        key=key,
        symbol=unquote(underlying) + (f"{day}{parts[1]}{parts[2]}E" if option else f"{day}FUT"),
        kind="option" if option else "future",
        series=None,
        underlying=unquote(underlying),
        expiry=expiry,
        strike=parts[1] if option else None,
        option_type=parts[2] if option else None,
        lot_size=lot_size,
        asset_class="index",
        tokens=(TokenRow("upstox", f"{venue}_FO", f"{venue}_FO|{number}", str(number), None),),
        **fields,
    )
