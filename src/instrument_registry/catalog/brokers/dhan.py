"""Dhan: the scrip master, compact (SEM_ and SM_ columns) or detailed (with ISIN and surveillance)."""

from typing import Final

import polars as pl

from instrument_registry.catalog.brokers.columns import sides
from instrument_registry.catalog.brokers.drafts import finish_parts
from instrument_registry.catalog.brokers.frame import Broker, Dump, Parsed, Source
from instrument_registry.catalog.brokers.kinds import cash_kind, contract_class
from instrument_registry.catalog.brokers.tables import header_of, read_csv_parts, text_of
from instrument_registry.catalog.model import AssetClass, Kind

COMPACT: Final = {
    "exchange": "SEM_EXM_EXCH_ID",
    "segment": "SEM_SEGMENT",
    "token": "SEM_SMST_SECURITY_ID",
    "instrument": "SEM_INSTRUMENT_NAME",
    "symbol": "SEM_TRADING_SYMBOL",
    "lot_size": "SEM_LOT_UNITS",
    "expiry_text": "SEM_EXPIRY_DATE",
    "strike": "SEM_STRIKE_PRICE",
    "side": "SEM_OPTION_TYPE",
    "tick_size": "SEM_TICK_SIZE",
    "type": "SEM_EXCH_INSTRUMENT_TYPE",
    "series": "SEM_SERIES",
    "name": "SM_SYMBOL_NAME",
}
COMPACT_EXTRA: Final = {"title": "SEM_CUSTOM_SYMBOL"}
DETAILED: Final = {
    "exchange": "EXCH_ID",
    "segment": "SEGMENT",
    "token": "SECURITY_ID",
    "instrument": "INSTRUMENT",
    "underlying": "UNDERLYING_SYMBOL",
    "name": "SYMBOL_NAME",
    "lot_size": "LOT_SIZE",
    "expiry_text": "SM_EXPIRY_DATE",
    "strike": "STRIKE_PRICE",
    "side": "OPTION_TYPE",
    "tick_size": "TICK_SIZE",
    "type": "INSTRUMENT_TYPE",
    "series": "SERIES",
}
DETAILED_EXTRA: Final = {
    "isin": "ISIN",
    "title": "DISPLAY_NAME",
    "flag": "ASM_GSM_FLAG",
    "category": "ASM_GSM_CATEGORY",
}

VENUES: dict[str, str] = {
    "NSE_E": "NSE",
    "NSE_I": "NSE",
    "NSE_D": "NFO",
    "NSE_C": "CDS",
    "NSE_M": "NCO",
    "BSE_E": "BSE",
    "BSE_I": "BSE",
    "BSE_D": "BFO",
    "BSE_C": "BCD",
    "MCX_M": "MCX",
    "NCDEX_M": "NCDEX",
}
CLASSES: dict[str, AssetClass] = {
    "STK": AssetClass.EQUITY,
    "IDX": AssetClass.INDEX,
    "COM": AssetClass.COMMODITY,
    "FUT": AssetClass.COMMODITY,
}
# The types that are right in every row measured; DBT, DEB, CB, GB and Other say less than series and ISIN do, and
# closed-ended funds are printed as ETF as often as MF.
TYPES: dict[str, Kind] = {
    "REIT": Kind.REIT,
    "INVITU": Kind.INVIT,
    "PS": Kind.PREFERENCE,
    "TB": Kind.TBILL,
}
FUNDS: Final = ("ETF", "MF")
CLOSED_ENDED: Final = ("F", "MF")
# NAME-Feb2026-79000-PE, NAME-28Aug2024-FUT: the name stands before the month.
CONTRACT_SYMBOL: Final = r"^(.+)-(?:\d{1,2})?[A-Z][a-z]{2}\d{4}-(?:FUT|[\d.]+-(?:CE|PE))$"
NO_EXPIRY: Final = "0001-01-01"
ROWS_OF_LOT_ONE: Final = ("MCX_M", "NSE_M", "NCDEX_M")  # a constant: an order is one lot, of whatever size
GIFT_NIFTY: Final = "GIFTNIFTY"


def parse(dump: Dump) -> Parsed:
    """Read a Dhan scrip master of one or of all segments.

    Raises:
        Unreadable: it is neither of the two formats.
    """
    detailed = "EXCH_ID" in header_of(text_of(dump))
    needed, extra = (DETAILED, DETAILED_EXTRA) if detailed else (COMPACT, COMPACT_EXTRA)
    names = {printed: name for name, printed in (needed | extra).items()}
    parts = read_csv_parts(dump, required=list(needed.values()), optional=list(extra.values()), open_end=True)
    dialect = "dhan-detailed" if detailed else "dhan-compact"
    return finish_parts(dialect, parts, lambda frame: _draft(frame.rename(names), detailed=detailed))


def _draft(frame: pl.DataFrame, *, detailed: bool) -> pl.DataFrame:
    instrument = pl.col("instrument")
    index, cash = instrument == "INDEX", pl.col("segment") == "E"
    future, option = instrument.str.starts_with("FUT"), instrument.str.starts_with("OPT")
    symbol = pl.when(index | cash).then("underlying").otherwise("name") if detailed else pl.col("symbol")
    in_symbol = symbol.str.extract(CONTRACT_SYMBOL, 1)
    plain = pl.col("underlying") if detailed else pl.lit(None, dtype=pl.String)
    draft = frame.select(
        "line",
        "strike",
        "tick_size",
        segment=pl.concat_str("exchange", "segment", separator="_"),
        token=pl.col("token"),
        exchange_token=pl.when(~index).then("token"),
        root=pl.when(index | cash).then(symbol).otherwise(pl.coalesce(in_symbol, plain)),
        series=pl.when(cash).then("series"),
        symbol=symbol,
        name=pl.when(cash).then("name").otherwise("title"),
        expiry=pl.col("expiry_text").str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False),
        expiry_text=pl.when(pl.col("expiry_text") != NO_EXPIRY).then("expiry_text"),
        option_type=sides(pl.col("side")),
        lot_size="lot_size",
        tick_in_paise=~index,
        isin=pl.col("isin") if detailed else pl.lit(None, dtype=pl.String),
        surveillance=_surveillance() if detailed else pl.lit(None, dtype=pl.String),
        hint=pl.when(cash).then(_hint(symbol)),
        stated_class=instrument.str.slice(3).replace_strict(CLASSES, default=None, return_dtype=pl.String),
        stated_kind=pl.when(index)
        .then(pl.lit(Kind.INDEX.value))
        .when(future)
        .then(pl.lit(Kind.FUTURE.value))
        .when(option)
        .then(pl.lit(Kind.OPTION.value)),
    )
    gift = pl.col("stated_kind").eq(Kind.INDEX.value).fill_null(value=False) & (pl.col("root") == GIFT_NIFTY)
    draft = draft.with_columns(
        venue=pl.when(gift)
        .then(pl.lit("GLOBAL"))
        .otherwise(pl.col("segment").replace_strict(VENUES, default=None, return_dtype=pl.String)),
        lot_size=pl.when(~pl.col("segment").is_in(ROWS_OF_LOT_ONE)).then("lot_size"),
    )
    draft = draft.with_columns(
        kind=pl.coalesce("stated_kind", pl.when(pl.col("series").is_not_null()).then(cash_kind(pl.col("hint"))))
    )
    return draft.with_columns(asset_class=pl.coalesce(_class(), contract_class()))


def _hint(symbol: pl.Expr) -> pl.Expr:
    closed_ended = pl.col("series").is_in(CLOSED_ENDED) & ~symbol.str.contains("ETF")
    return pl.coalesce(
        pl.col("type").str.to_uppercase().replace_strict(TYPES, default=None, return_dtype=pl.String),
        pl.when(pl.col("type").is_in(FUNDS)).then(
            pl.when(closed_ended).then(pl.lit(Kind.MUTUAL_FUND.value)).otherwise(pl.lit(Kind.ETF.value))
        ),
    )


def _class() -> pl.Expr:
    return pl.when(pl.col("kind").is_in([Kind.FUTURE.value, Kind.OPTION.value])).then("stated_class")


def _surveillance() -> pl.Expr:
    """The stage where one is printed, else the flag; N is none and R a measure that was lifted."""
    stage = pl.when(pl.col("category") != "NA").then("category")
    return pl.when(~pl.col("flag").is_in(["N", "R", "NA"])).then(pl.coalesce(stage, "flag"))


BROKER = Broker(
    id="dhan",
    title="Dhan",
    parse=parse,
    sources=(
        Source(
            url="https://images.dhan.co/api-data/api-scrip-master.csv",
            name="api-scrip-master.csv",
            content_types=("text/csv", "application/octet-stream"),
        ),
    ),
)
