"""Alice Blue: a contract master per exchange, whose columns and even their order differ from one to the next."""

import polars as pl

from instrument_registry.catalog.brokers.columns import sides
from instrument_registry.catalog.brokers.contracts import coded_class, coded_kind
from instrument_registry.catalog.brokers.drafts import finish_parts
from instrument_registry.catalog.brokers.frame import Broker, Dump, Parsed, Source
from instrument_registry.catalog.brokers.kinds import cash_kind
from instrument_registry.catalog.brokers.tables import read_csv_parts
from instrument_registry.catalog.model import NSE_SERIES_FAMILIES, Kind

REQUIRED = (
    "Exch",
    "Exchange Segment",
    "Symbol",
    "Token",
    "Instrument Type",
    "Formatted Ins Name",
    "Trading Symbol",
    "Lot Size",
    "Tick Size",
)
OPTIONAL = (
    "Group Name",
    "Instrument Name",
    "Option Type",
    "Strike Price",
    "Expiry Date",
    "freeze_qty",
    "Board Lot Qty",
)
VENUES = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX")

# NSE's instrument type of a cash row. 2 is debt, which the series tells better; 4 is "other", and of the series of
# shares only exchange traded funds are in it.
SHARE, PREFERENCE, WARRANT, OTHER = "0", "1", "3", "4"


def parse(dump: Dump) -> Parsed:
    """Read the contract master of one exchange.

    Raises:
        Unreadable: it is not one.
    """
    return finish_parts("aliceblue", read_csv_parts(dump, required=REQUIRED, optional=OPTIONAL), _draft)


def _draft(frame: pl.DataFrame) -> pl.DataFrame:
    draft = frame.select(**_identity(), **_contract(), **_facts())
    draft = draft.with_columns(
        kind=pl.coalesce(coded_kind(pl.col("type")), _cash()), asset_class=coded_class(pl.col("type"))
    )
    index = pl.col("kind") == Kind.INDEX
    return draft.with_columns(pl.when(~index).then(pl.col(name)).alias(name) for name in ("lot_size", "tick_size"))


def _identity() -> dict[str, pl.Expr]:
    return {
        "line": pl.col("line"),
        "segment": pl.col("Exch"),
        "token": pl.col("Token"),
        "exchange_token": pl.col("Token"),
        "venue": pl.when(pl.col("Exch").is_in(VENUES)).then("Exch"),
        "root": pl.col("Symbol"),
        "series": pl.col("Group Name"),
        "symbol": pl.coalesce("Trading Symbol", "Formatted Ins Name"),
        "name": pl.col("Instrument Name"),
        "isin": pl.lit(None, dtype=pl.String),
        "type": pl.col("Instrument Type"),
    }


def _contract() -> dict[str, pl.Expr]:
    return {
        "expiry": pl.col("Expiry Date").str.to_date("%Y-%m-%d", strict=False),
        "expiry_text": pl.col("Expiry Date"),
        "strike": pl.col("Strike Price"),
        "option_type": sides(pl.col("Option Type")),
    }


def _facts() -> dict[str, pl.Expr]:
    return {
        "lot_size": pl.coalesce("Board Lot Qty", "Lot Size"),  # of MCX contracts the lot itself is always printed as 1
        "tick_size": pl.col("Tick Size"),
        "freeze_qty": pl.col("freeze_qty"),
    }


def _cash() -> pl.Expr:
    """The kind of a row of the cash segment; NSE's type goes before what the words of the name suggest."""
    shares = pl.col("series").is_in(list(NSE_SERIES_FAMILIES))
    plain = shares & (pl.col("type") == SHARE) & ~pl.col("root").str.ends_with("-RE")
    hint = pl.when(pl.col("venue") == "NSE").then(
        pl.when(plain)
        .then(pl.lit(Kind.EQUITY.value))
        .when(shares & (pl.col("type") == OTHER))
        .then(pl.lit(Kind.ETF.value))
        .when(pl.col("type") == PREFERENCE)
        .then(pl.lit(Kind.PREFERENCE.value))
        .when(pl.col("type") == WARRANT)
        .then(pl.lit(Kind.WARRANT.value))
    )
    return pl.when(pl.col("venue").is_in(["NSE", "BSE"]) & pl.col("series").is_not_null()).then(cash_kind(hint))


BROKER = Broker(
    id="aliceblue",
    title="Alice Blue",
    parse=parse,
    sources=tuple(
        Source(
            url=f"https://v2api.aliceblueonline.com/restpy/static/contract_master/{exchange}.csv",
            name=f"alice_{exchange}.csv",
            content_types=("text/csv", "application/octet-stream"),
        )
        for exchange in VENUES
    ),
)
