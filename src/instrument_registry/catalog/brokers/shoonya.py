"""Shoonya: one text file per exchange, in which columns come and go with the exchange."""

import polars as pl

from instrument_registry.catalog.brokers.columns import contract_root, decimals, sides
from instrument_registry.catalog.brokers.contracts import coded_class, coded_kind
from instrument_registry.catalog.brokers.drafts import finish_parts
from instrument_registry.catalog.brokers.frame import Broker, Dump, Parsed, Source
from instrument_registry.catalog.brokers.kinds import cash_kind
from instrument_registry.catalog.brokers.tables import read_csv_parts
from instrument_registry.catalog.model import Kind

REQUIRED = ("Exchange", "Token", "LotSize", "Symbol", "TradingSymbol", "Instrument", "TickSize")
OPTIONAL = ("Expiry", "OptionType", "StrikePrice", "Multiplier", "GNGD")
VENUES = ("NSE", "BSE", "NFO", "BFO", "CDS", "MCX")
CASH = ("NSE", "BSE")
CONTRADICTED = "Its symbol does not end in the day, strike and side that its columns say"
TORN = "A colon stands in its symbol: the row is torn and its fields are not what their columns say"


def parse(dump: Dump) -> Parsed:
    """Read the file of one exchange.

    Raises:
        Unreadable: it is not one.
    """
    return finish_parts("shoonya", read_csv_parts(dump, required=REQUIRED, optional=OPTIONAL), _draft)


def _draft(frame: pl.DataFrame) -> pl.DataFrame:
    draft = frame.select(**_identity(), **_contract(), **_facts())
    draft = draft.with_columns(plain_strike=decimals(draft["strike"]))
    coded = pl.col("venue") == "BFO"  # codes are printed there for the underlying: BSXOPT, ZOMAFUT
    named = contract_root(
        pl.col("symbol"), expiry=pl.col("expiry"), strike=pl.col("plain_strike"), side=pl.col("option_type")
    )
    sound = pl.col("expiry").is_not_null() & (pl.col("option_type").is_null() | pl.col("plain_strike").is_not_null())
    draft = draft.with_columns(
        root=pl.when(coded).then(named).otherwise("root"),
        unfit=pl.coalesce("unfit", pl.when(coded & sound & named.is_null()).then(pl.lit(CONTRADICTED))),
        kind=pl.coalesce(coded_kind(pl.col("code")), _cash()),
    )
    return draft.with_columns(lot_size=pl.when(pl.col("kind") != Kind.INDEX).then("lot_size"))


def _identity() -> dict[str, pl.Expr]:
    cash = pl.col("Exchange").is_in(CASH)
    torn = pl.col("TradingSymbol").str.contains(":", literal=True)
    return {
        "line": pl.col("line"),
        "segment": pl.col("Exchange"),
        "token": pl.col("Token"),
        "exchange_token": pl.col("Token"),
        "venue": pl.when(pl.col("Exchange").is_in(VENUES)).then("Exchange"),
        "root": pl.col("Symbol"),
        "series": pl.when(cash).then("Instrument"),
        "symbol": pl.col("TradingSymbol"),
        "name": pl.lit(None, dtype=pl.String),
        "isin": pl.lit(None, dtype=pl.String),
        "code": pl.when(~cash | (pl.col("Instrument") == "INDEX")).then("Instrument"),
        "asset_class": pl.when(~cash).then(coded_class(pl.col("Instrument"))),
        "unfit": pl.when(torn).then(pl.lit(TORN)),
    }


def _contract() -> dict[str, pl.Expr]:
    return {
        "expiry": pl.col("Expiry").str.to_date("%d-%b-%Y", strict=False),
        "expiry_text": pl.col("Expiry"),
        "strike": pl.col("StrikePrice"),
        "option_type": sides(pl.col("OptionType")),
    }


def _facts() -> dict[str, pl.Expr]:
    return {
        "lot_size": pl.col("LotSize"),
        "multiplier": pl.coalesce("Multiplier", "GNGD"),
        "tick_size": pl.col("TickSize"),
    }


def _cash() -> pl.Expr:
    return pl.when(pl.col("segment").is_in(CASH) & pl.col("series").is_not_null()).then(cash_kind())


BROKER = Broker(
    id="shoonya",
    title="Shoonya (Finvasia)",
    parse=parse,
    sources=tuple(
        Source(
            url=f"https://api.shoonya.com/{exchange}_symbols.txt.zip",
            name=f"shoonya_{exchange}.txt.zip",
            content_types=("application/zip", "application/octet-stream"),
        )
        for exchange in VENUES
    ),
)
