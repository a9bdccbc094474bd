"""Zerodha Kite: the instruments csv of twelve columns, and a reduced one of eight with constants for lot and tick."""

import polars as pl

from instrument_registry.catalog.brokers.columns import sides, split_series
from instrument_registry.catalog.brokers.drafts import finish
from instrument_registry.catalog.brokers.frame import Broker, Dump, Parsed, Source
from instrument_registry.catalog.brokers.kinds import bse_debt_group, cash_kind, contract_class
from instrument_registry.catalog.brokers.tables import header_of, read_csv, text_of
from instrument_registry.catalog.model import VENUES, Kind

REQUIRED = (
    "instrument_token",
    "tradingsymbol",
    "name",
    "tick_size",
    "lot_size",
    "instrument_type",
    "segment",
    "exchange",
)
CONTRACTS = ("FUT", "CE", "PE")
CONTRACT = ("exchange_token", "expiry", "strike")  # absent from the reduced dialect

INDICES = "INDICES"
INDEX_FEED = 9  # the last byte of a Kite token names its feed; 9 is that of the indices, in every dump we have


def parse(dump: Dump) -> Parsed:
    """Read a Kite dump of one or of all exchanges.

    Raises:
        Unreadable: it is not one.
    """
    reduced = not set(CONTRACT) & set(header_of(text_of(dump)))
    table = (
        read_csv(dump, required=REQUIRED, optional=CONTRACT)
        if reduced
        else read_csv(dump, required=[*REQUIRED, *CONTRACT])
    )
    draft = table.frame.select(**_identity(), **_contract(), **_facts(reduced=reduced))
    draft = draft.with_columns(kind=_kind()).with_columns(asset_class=contract_class())
    return finish("kite-reduced" if reduced else "kite", draft, read=table.read, rejects=table.rejects)


def _identity() -> dict[str, pl.Expr]:
    number = pl.col("instrument_token").cast(pl.Int64, strict=False)
    index = (pl.col("segment") == INDICES) | (number % 256 == INDEX_FEED)  # the reduced dialect says NSE of an index
    derivative = pl.col("instrument_type").is_in(CONTRACTS)
    cash = (pl.col("exchange") == "NSE") & ~index & ~derivative
    name, series = split_series(pl.col("tradingsymbol"))
    bse = (pl.col("exchange") == "BSE") & ~index & ~derivative
    exchange_token = pl.coalesce("exchange_token", (number // 256).cast(pl.String))
    return {
        "line": pl.col("line"),
        "segment": pl.when(index).then(pl.lit(INDICES)).otherwise("exchange"),
        "token": pl.col("instrument_token"),
        "exchange_token": pl.when(~index).then(exchange_token),
        "venue": pl.when(pl.col("exchange").is_in(list(VENUES))).then("exchange"),
        "root": pl.when(derivative).then("name").when(cash).then(name).otherwise("tradingsymbol"),
        "series": pl.when(cash).then(series).when(bse).then(bse_debt_group(exchange_token)),
        "symbol": pl.col("tradingsymbol"),
        "name": pl.col("name"),
        "type": pl.when(index).then(pl.lit(INDICES)).otherwise("instrument_type"),
    }


def _contract() -> dict[str, pl.Expr]:
    return {
        "expiry": pl.col("expiry").str.to_date("%Y-%m-%d", strict=False),
        "expiry_text": pl.col("expiry"),
        "strike": pl.col("strike"),
        "option_type": sides(pl.col("instrument_type")),
    }


def _facts(*, reduced: bool) -> dict[str, pl.Expr]:
    """Lot and tick; the reduced dialect prints the same two constants in every row, which say nothing."""
    told = pl.lit(not reduced)
    return {
        "lot_size": pl.when(told).then("lot_size"),
        "tick_size": pl.when(told).then("tick_size"),
        "isin": pl.lit(None, dtype=pl.String),
    }


def _kind() -> pl.Expr:
    return (
        pl.when(pl.col("type") == INDICES)
        .then(pl.lit(Kind.INDEX.value))
        .when(pl.col("type") == "FUT")
        .then(pl.lit(Kind.FUTURE.value))
        .when(pl.col("type").is_in(["CE", "PE"]))
        .then(pl.lit(Kind.OPTION.value))
        .when(pl.col("type") == "EQ")
        .then(cash_kind())
    )


BROKER = Broker(
    id="zerodha",
    title="Zerodha Kite",
    parse=parse,
    sources=(Source(url="https://api.kite.trade/instruments", name="instruments.csv", content_types=("text/csv",)),),
)
