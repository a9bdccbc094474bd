"""Upstox: the JSON array of today, its fields as a csv, and the older csv with `tradingsymbol`."""

from collections.abc import Iterator
from typing import Final

import msgspec
import polars as pl

from instrument_registry.catalog.brokers.columns import contract_root, decimals, ist_date, sides
from instrument_registry.catalog.brokers.drafts import finish_parts
from instrument_registry.catalog.brokers.frame import REJECT_SCHEMA, Broker, Dump, Parsed, Source, Unreadable
from instrument_registry.catalog.brokers.kinds import cash_kind
from instrument_registry.catalog.brokers.tables import Table, header_of, json_elements, read_csv_parts, text_of, trimmed
from instrument_registry.catalog.model import AssetClass, Kind

VENUES: dict[str, str] = {
    "NSE_EQ": "NSE",
    "NSE_INDEX": "NSE",
    "NSE_FO": "NFO",
    "NCD_FO": "CDS",
    "NSE_COM": "NCO",
    "BSE_EQ": "BSE",
    "BSE_INDEX": "BSE",
    "BSE_FO": "BFO",
    "BCD_FO": "BCD",
    "MCX_FO": "MCX",
    "MCX_INDEX": "MCX",
    "GLOBAL_INDEX": "GLOBAL",
    "GLOBAL_INDICATOR": "GLOBAL",
}
CASH: Final = ("NSE_EQ", "BSE_EQ")
CLASSES: dict[str, AssetClass] = {
    "EQUITY": AssetClass.EQUITY,
    "INDEX": AssetClass.INDEX,
    "CUR": AssetClass.CURRENCY,
    "COM": AssetClass.COMMODITY,
    "IRD": AssetClass.RATE,
}
OLD_CLASSES: dict[str, AssetClass] = {
    "STK": AssetClass.EQUITY,
    "IDX": AssetClass.INDEX,
    "CUR": AssetClass.CURRENCY,
    "COM": AssetClass.COMMODITY,
    "FUT": AssetClass.COMMODITY,
    "IRD": AssetClass.RATE,
    "IRC": AssetClass.RATE,
}
INDICATORS: dict[str, Kind] = {"USDINR": Kind.SPOT_CURRENCY}
OLD_IN_RUPEES: Final = ("NSE_EQ", "BSE_EQ", "NSE_FO", "BSE_FO")
# The old csv does not print the series. These kinds have one of their own at NSE; shares and funds have theirs as an
# attribute; the rest is listed under many, and without it the name is that of several listings.
SERIES_OF_KIND: dict[str, str] = {
    Kind.SDL: "SG",
    Kind.GSEC: "GS",
    Kind.TBILL: "TB",
    Kind.SGB: "GB",
    Kind.INVIT: "IV",
    Kind.REIT: "RR",
}
SEVERAL_SERIES: Final = (Kind.BOND.value, Kind.WARRANT.value, Kind.PREFERENCE.value)
NO_SERIES: Final = "This format does not print the series, without which the name means several listings"
ROWS_AT_ONCE: Final = 20_000


class Row(msgspec.Struct, gc=False):
    """One element of the array; keys come and go between builds."""

    segment: str
    instrument_key: str
    trading_symbol: str
    name: str | None = None
    isin: str | None = None
    instrument_type: str | None = None
    exchange_token: str | None = None
    underlying_symbol: str | None = None
    asset_type: str | None = None
    expiry: float | None = None
    strike_price: float | None = None
    lot_size: float | None = None
    tick_size: float | None = None
    qty_multiplier: float | None = None
    freeze_quantity: float | None = None
    price_quote_unit: str | None = None
    security_type: str | None = None


NEEDED: Final = ("segment", "instrument_key", "trading_symbol")
OLD: Final = (
    "instrument_key",
    "exchange_token",
    "tradingsymbol",
    "name",
    "expiry",
    "strike",
    "tick_size",
    "lot_size",
    "instrument_type",
    "option_type",
    "exchange",
)


def parse(dump: Dump) -> Parsed:
    """Read an Upstox dump of one or of all exchanges.

    Raises:
        Unreadable: it is none of the three formats.
    """
    content = text_of(dump)
    if content[:64].lstrip()[:1] in (b"[", b"{"):
        return finish_parts("upstox-json", _json_parts(content, name=dump.name), _draft)
    if "tradingsymbol" in header_of(content):
        return finish_parts("upstox-old-csv", read_csv_parts(dump, required=OLD), _old_draft)
    fields = [field for field in Row.__struct_fields__ if field not in NEEDED]
    return finish_parts("upstox-csv", read_csv_parts(dump, required=NEEDED, optional=fields), _draft)


def _json_parts(content: bytes, *, name: str) -> Iterator[Table]:
    elements = json_elements(content, name=name)
    if not elements:
        raise Unreadable(f"{name} is an empty array", file=name)
    decoder = msgspec.json.Decoder(Row)
    for start in range(0, len(elements), ROWS_AT_ONCE):
        part = elements[start : start + ROWS_AT_ONCE]
        lines, rows, rejects = [], [], []
        for line, element in enumerate(part, start=start + 1):
            try:
                rows.append(decoder.decode(element))
                lines.append(line)
            except msgspec.DecodeError as error:
                rejects.append((line, "element", bytes(element)[:200].decode(errors="replace"), str(error), True))
        if not rows:
            raise Unreadable(f"{name}: its elements are not instruments ({rejects[0][3]})", file=name)
        aside = pl.DataFrame(rejects, schema=REJECT_SCHEMA, orient="row")
        yield Table(frame=_as_text(rows, lines), rejects=aside, read=len(part))


def _as_text(rows: list[Row], lines: list[int]) -> pl.DataFrame:
    columns = zip(*map(msgspec.structs.astuple, rows), strict=True)
    printed = [pl.Series(field, column) for field, column in zip(Row.__struct_fields__, columns, strict=True)]
    frame = trimmed(pl.DataFrame(printed).cast(pl.String))
    return frame.insert_column(0, pl.Series("line", lines, dtype=pl.UInt32))


def _draft(frame: pl.DataFrame) -> pl.DataFrame:
    segment, kind = pl.col("segment"), pl.col("instrument_type")
    contract = kind.is_in(["FUT", "CE", "PE"]) & ~segment.is_in(CASH)
    cash = segment.is_in(CASH)
    mcx = segment == "MCX_FO"
    draft = frame.select(
        "line",
        "segment",
        "exchange_token",
        "name",
        "isin",
        "lot_size",
        "tick_size",
        token=pl.col("instrument_key"),
        venue=_venue(segment),
        root=pl.when(contract).then("underlying_symbol").when(kind == "COM").then("name").otherwise("trading_symbol"),
        series=pl.when(cash).then("instrument_type"),
        asset_class=pl.when(contract).then(
            pl.col("asset_type").replace_strict(CLASSES, default=None, return_dtype=pl.String)
        ),
        symbol="trading_symbol",
        expiry=ist_date(pl.col("expiry").cast(pl.Float64, strict=False), unit="ms"),
        expiry_text="expiry",
        strike="strike_price",
        option_type=sides(kind),
        tick_in_paise=pl.lit(value=True),
        multiplier=pl.when(~mcx).then("qty_multiplier"),
        point_value=pl.when(mcx).then("qty_multiplier"),
        quote_unit="price_quote_unit",
        freeze_qty="freeze_quantity",
        currency=pl.when(~segment.str.starts_with("GLOBAL")).then(pl.lit("INR")),
        surveillance=pl.when(pl.col("security_type") == "PCA").then("security_type"),
        kind=pl.when(segment.str.ends_with("_INDEX"))
        .then(pl.lit(Kind.INDEX.value))
        .when(segment == "GLOBAL_INDICATOR")
        .then(pl.col("trading_symbol").replace_strict(INDICATORS, default=Kind.SPOT_COMMODITY, return_dtype=pl.String))
        .when(contract & (kind == "FUT"))
        .then(pl.lit(Kind.FUTURE.value))
        .when(contract)
        .then(pl.lit(Kind.OPTION.value))
        .when(kind == "COM")
        .then(pl.lit(Kind.SPOT_COMMODITY.value)),
    )
    return draft.with_columns(
        kind=pl.coalesce("kind", pl.when(pl.col("segment").is_in(CASH)).then(cash_kind())),
        multiplier=pl.coalesce("multiplier", _per_lot_unit()),
    )


def _per_lot_unit() -> pl.Expr:
    """MCX prints what one point of the quote is worth in a whole lot: divided by the lot it is the multiplier."""
    point_value = pl.col("point_value").cast(pl.Float64, strict=False)
    return (point_value / pl.col("lot_size").cast(pl.Float64, strict=False)).cast(pl.String)


def _venue(segment: pl.Expr) -> pl.Expr:
    return segment.replace_strict(VENUES, default=None, return_dtype=pl.String)


def _old_draft(frame: pl.DataFrame) -> pl.DataFrame:
    """The csv of 2023 to 2025: no series, the underlying only inside the symbol, ticks in rupees or in paise."""
    kind, segment = pl.col("instrument_type"), pl.col("exchange")
    side = sides(pl.col("option_type"))
    frame = frame.with_columns(strike_text=decimals(frame["strike"]), side=side).with_columns(
        expiry_day=pl.col("expiry").str.to_date("%Y-%m-%d", strict=False),
    )
    contract, option = kind.str.contains("^(?:FUT|OPT)"), kind.str.starts_with("OPT")
    spot = pl.col("option_type") == "COM"
    root = contract_root(
        pl.col("tradingsymbol"),
        expiry=pl.col("expiry_day"),
        strike=pl.when(option).then("strike_text"),
        side=pl.when(option).then("side"),
    )
    cash = segment.is_in(CASH)
    draft = frame.select(
        "line",
        "exchange_token",
        "name",
        "strike",
        "lot_size",
        "tick_size",
        segment=segment,
        token=pl.col("instrument_key"),
        venue=_venue(segment),
        root=pl.when(contract).then(root).when(spot).then("name").otherwise("tradingsymbol"),
        asset_class=pl.when(contract).then(
            kind.str.slice(3).replace_strict(OLD_CLASSES, default=None, return_dtype=pl.String)
        ),
        symbol="tradingsymbol",
        isin=pl.when(cash).then(pl.col("instrument_key").str.extract(r"\|(.*)$", 1)),
        expiry=pl.col("expiry_day"),
        expiry_text="expiry",
        option_type="side",
        tick_in_paise=~segment.is_in(OLD_IN_RUPEES),
        series=pl.lit(None, dtype=pl.String),
        kind=pl.when(kind == "INDEX")
        .then(pl.lit(Kind.INDEX.value))
        .when(spot)
        .then(pl.lit(Kind.SPOT_COMMODITY.value))
        .when(option)
        .then(pl.lit(Kind.OPTION.value))
        .when(contract)
        .then(pl.lit(Kind.FUTURE.value)),
    )
    draft = draft.with_columns(kind=pl.coalesce("kind", pl.when(pl.col("segment").is_in(CASH)).then(cash_kind())))
    nse = pl.col("venue") == "NSE"
    series = pl.col("kind").replace_strict(SERIES_OF_KIND, default=None, return_dtype=pl.String)
    return draft.with_columns(
        series=pl.when(nse).then(series),
        unfit=pl.when(nse & pl.col("kind").is_in(SEVERAL_SERIES)).then(pl.lit(NO_SERIES)),
    )


BROKER = Broker(
    id="upstox",
    title="Upstox",
    parse=parse,
    sources=(
        Source(
            url="https://assets.upstox.com/market-quote/instruments/exchange/complete.json.gz",
            name="complete.json.gz",
            content_types=("application/json", "application/gzip", "application/octet-stream"),
        ),
    ),
)
