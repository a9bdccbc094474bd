"""Fyers: symbol details without a header, known by position; one file a segment."""

from typing import Final

import polars as pl

from instrument_registry.catalog.brokers.columns import ist_date, sides
from instrument_registry.catalog.brokers.drafts import finish_parts
from instrument_registry.catalog.brokers.frame import Broker, Dump, Parsed, Source, Unreadable
from instrument_registry.catalog.brokers.kinds import cash_kind
from instrument_registry.catalog.brokers.tables import read_csv_parts
from instrument_registry.catalog.model import AssetClass, Kind

COLUMNS: Final = (
    "fytoken",
    "details",
    "type",
    "lot",
    "tick",
    "isin",
    "sessions",
    "updated",
    "expiry",
    "symbol",
    "exchange",
    "segment",
    "scrip",
    "underlying",
    "underlying_scrip",
    "strike",
    "side",
    "underlying_fytoken",
    "reserved",
    "margin",
    "leverage",
)
READ: Final = (
    "fytoken",
    "details",
    "type",
    "lot",
    "tick",
    "isin",
    "expiry",
    "symbol",
    "exchange",
    "segment",
    "scrip",
    "underlying",
    "strike",
    "side",
)

SEGMENTS: dict[str, str] = {
    "10 10": "NSE_CM",
    "10 11": "NSE_FO",
    "10 12": "NSE_CD",
    "10 20": "NSE_COM",
    "11 20": "MCX_COM",
    "12 10": "BSE_CM",
    "12 11": "BSE_FO",
    "12 12": "BSE_CD",
}
VENUES: dict[str, str] = {
    "NSE_CM": "NSE",
    "NSE_FO": "NFO",
    "NSE_CD": "CDS",
    "NSE_COM": "NCO",
    "MCX_COM": "MCX",
    "BSE_CM": "BSE",
    "BSE_FO": "BFO",
    "BSE_CD": "BCD",
}
FUTURES: dict[str, AssetClass] = {
    "11": AssetClass.INDEX,
    "12": AssetClass.INDEX,
    "13": AssetClass.EQUITY,
    "16": AssetClass.CURRENCY,
    "17": AssetClass.RATE,
    "18": AssetClass.RATE,
    "25": AssetClass.RATE,
    "30": AssetClass.COMMODITY,
    "33": AssetClass.COMMODITY,
    "34": AssetClass.COMMODITY,
    "35": AssetClass.COMMODITY,
}
OPTIONS: dict[str, AssetClass] = {
    "14": AssetClass.INDEX,
    "15": AssetClass.EQUITY,
    "19": AssetClass.CURRENCY,
    "31": AssetClass.COMMODITY,
    "32": AssetClass.COMMODITY,
    "36": AssetClass.COMMODITY,
    "37": AssetClass.COMMODITY,
}
OTHERS: dict[str, Kind] = {"10": Kind.INDEX, "20": Kind.SPOT_CURRENCY}
HINTS: dict[str, Kind] = {"8": Kind.MUTUAL_FUND, "9": Kind.ETF}
CASH_SYMBOL: Final = r"^[A-Z]+:(.+)-([A-Z0-9]+)$"
OWN_NUMBERS: Final = r"^999\d{3}$"  # of indices for which Fyers does not print the exchange's


def parse(dump: Dump) -> Parsed:
    """Read one file of symbol details.

    Raises:
        Unreadable: its columns are not those of Fyers.
    """

    def draft(frame: pl.DataFrame) -> pl.DataFrame:
        ours = frame["symbol"].str.contains(r"^[A-Z]+:") & frame["fytoken"].str.contains(r"^\d+$")
        if frame.height and 2 * int(ours.fill_null(value=False).sum()) < frame.height:
            raise Unreadable(f"{dump.name}: its columns are not those of Fyers symbol details", file=dump.name)
        return _draft(frame)

    return finish_parts("fyers", read_csv_parts(dump, required=READ, names=COLUMNS), draft)


def _draft(frame: pl.DataFrame) -> pl.DataFrame:
    segment = pl.concat_str("exchange", "segment", separator=" ").replace_strict(
        SEGMENTS, default=None, return_dtype=pl.String
    )
    cash = pl.col("segment") == "10"
    contract = pl.col("type").is_in([*FUTURES, *OPTIONS]) & ~cash
    listed = cash & ~pl.col("type").is_in(list(OTHERS))
    draft = frame.select(
        "line",
        "symbol",
        "isin",
        "strike",
        segment=segment,
        venue=segment.replace_strict(VENUES, default=None, return_dtype=pl.String),
        token=pl.col("fytoken"),
        exchange_token=pl.when((pl.col("type") != "10") | ~pl.col("scrip").str.contains(OWN_NUMBERS)).then("scrip"),
        root=pl.when(listed).then(pl.col("symbol").str.extract(CASH_SYMBOL, 1)).otherwise("underlying"),
        series=pl.when(listed).then(pl.col("symbol").str.extract(CASH_SYMBOL, 2)),
        name=pl.col("details"),
        lot_size=pl.col("lot"),
        tick_size=pl.col("tick"),
        expiry=ist_date(pl.col("expiry"), unit="s"),
        expiry_text=pl.col("expiry"),
        option_type=sides(pl.col("side")),
        hint=pl.when(listed).then(_look_up(HINTS)),
        asset_class=pl.when(contract).then(_look_up(FUTURES | OPTIONS)),
        stated=pl.coalesce(
            _look_up(OTHERS),
            pl.when(contract & pl.col("type").is_in(list(FUTURES))).then(pl.lit(Kind.FUTURE.value)),
            pl.when(contract).then(pl.lit(Kind.OPTION.value)),
        ),
    )
    return draft.with_columns(
        kind=pl.coalesce("stated", pl.when(pl.col("series").is_not_null()).then(cash_kind(pl.col("hint"))))
    )


def _look_up(types: dict[str, AssetClass] | dict[str, Kind]) -> pl.Expr:
    return pl.col("type").replace_strict(types, default=None, return_dtype=pl.String)


BROKER = Broker(
    id="fyers",
    title="Fyers",
    parse=parse,
    sources=tuple(
        Source(
            url=f"https://public.fyers.in/sym_details/{segment}.csv",
            name=f"{segment}.csv",
            content_types=("text/csv", "application/octet-stream"),
        )
        for segment in ("NSE_CM", "NSE_FO", "NSE_CD", "NSE_COM", "BSE_CM", "BSE_FO", "MCX_COM")
    ),
)
