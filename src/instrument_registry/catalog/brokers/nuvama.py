"""Nuvama: one file for every exchange, tokens marked with the exchange, ISINs where the symbol should be."""

import polars as pl

from instrument_registry.catalog.brokers.columns import sides
from instrument_registry.catalog.brokers.contracts import coded_class, coded_kind
from instrument_registry.catalog.brokers.drafts import finish_parts
from instrument_registry.catalog.brokers.frame import Broker, Dump, Parsed, Source
from instrument_registry.catalog.brokers.kinds import cash_kind, contract_class
from instrument_registry.catalog.brokers.tables import read_csv_parts

REQUIRED = (
    "exchangetoken",
    "tradingsymbol",
    "symbolname",
    "description",
    "expiry",
    "strikeprice",
    "ticksize",
    "lotsize",
    "optiontype",
    "series",
    "assettype",
    "exchange",
    "isin",
    "multiplier",
)
OPTIONAL = ("prcunits", "prcqtn", "asmgsmflag", "asmgsmmsg")
VENUES = ("NSE", "BSE", "NFO", "BFO", "CDS", "MCX", "NCDEX")
EQUITY, INDEX = "EQUITY", "INDEX"
PLACEHOLDER_MULTIPLIER = ("MCX", "NCDEX")  # always 1 there, also where a lot is quoted by another unit
GARBLED = "Its token is garbled: it holds no number or name of the exchange"
CHATTER = r"^Security is under -\s*|\s*Would you like to continue\?$"


def parse(dump: Dump) -> Parsed:
    """Read the dump of all exchanges.

    Raises:
        Unreadable: it is not one.
    """
    return finish_parts("nuvama", read_csv_parts(dump, required=REQUIRED, optional=OPTIONAL), _draft)


def _draft(frame: pl.DataFrame) -> pl.DataFrame:
    draft = frame.select(**_identity(), **_contract(), **_facts())
    draft = draft.with_columns(kind=pl.coalesce(coded_kind(pl.col("code")), _cash()))
    return draft.with_columns(  # futures on an MCX index are called FUTCOM like the rest
        asset_class=pl.when(pl.col("venue") == "MCX").then(contract_class()).otherwise("asset_class")
    )


def _identity() -> dict[str, pl.Expr]:
    cash, index = pl.col("assettype") == EQUITY, pl.col("assettype") == INDEX
    nse = pl.col("exchange") == "NSE"
    suffix = pl.concat_str(pl.lit("-"), "series")
    dated = (pl.col("exchange") == "NCDEX") & (pl.col("assettype") == "OPTFUT")
    root = (
        pl.when(cash & nse)
        .then(pl.col("symbolname").str.strip_suffix(suffix))
        .when(index)
        .then("tradingsymbol")
        .when(dated)  # the future an option is on: GUARSEED1018JUL2025
        .then(pl.col("symbolname").str.replace(r"\d{2}[A-Z]{3}\d{4}$", ""))
        .otherwise("symbolname")
    )
    return {
        "line": pl.col("line"),
        "segment": pl.col("exchange"),
        "token": pl.col("exchangetoken"),
        "exchange_token": pl.col("exchangetoken").str.extract(r"^(\d+)_", 1),
        "venue": pl.when(pl.col("exchange").is_in(VENUES)).then("exchange"),
        "root": root,
        "series": pl.when(cash).then("series"),
        "symbol": pl.when(cash).then("symbolname").otherwise("tradingsymbol"),  # of a cash row that is the ISIN
        "name": pl.when(cash | index).then("description"),
        "isin": pl.col("isin"),
        "code": pl.when(~cash).then("assettype"),
        "asset_class": coded_class(pl.col("assettype")),
        "unfit": pl.when(pl.col("exchangetoken").str.contains(r"[^ -~]|^_")).then(pl.lit(GARBLED)),
    }


def _contract() -> dict[str, pl.Expr]:
    return {
        "expiry": pl.col("expiry").str.to_date("%d/%b/%y", strict=False),
        "expiry_text": pl.col("expiry"),
        "strike": pl.col("strikeprice"),
        "option_type": sides(pl.col("optiontype")),
    }


def _facts() -> dict[str, pl.Expr]:
    unit = pl.col("prcunits").str.replace(r"(?i)^rs\.?/", "")
    return {
        "lot_size": pl.col("lotsize"),
        "multiplier": pl.when(~pl.col("exchange").is_in(PLACEHOLDER_MULTIPLIER)).then("multiplier"),
        "quote_unit": pl.concat_str("prcqtn", unit, separator=" ", ignore_nulls=True).replace("", None),
        "tick_size": pl.col("ticksize"),
        "surveillance": pl.when(pl.col("asmgsmflag") == "true").then(
            pl.coalesce(pl.col("asmgsmmsg").str.replace_all(CHATTER, ""), pl.lit("flagged"))
        ),
    }


def _cash() -> pl.Expr:
    return pl.when(pl.col("code").is_null()).then(cash_kind())


BROKER = Broker(
    id="nuvama",
    title="Nuvama",
    parse=parse,
    sources=(
        Source(
            url="https://nc.nuvamawealth.com/app/toccontracts/instruments.zip",
            name="nuvama_instruments.zip",
            content_types=("application/zip", "application/octet-stream"),
        ),
    ),
)
