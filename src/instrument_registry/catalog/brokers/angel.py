"""Angel One: the scrip master, a JSON array of objects whose every value is text."""

import msgspec
import polars as pl

from instrument_registry.catalog.brokers.columns import decimals, sides, split_series
from instrument_registry.catalog.brokers.contracts import coded_class, coded_kind
from instrument_registry.catalog.brokers.drafts import finish, rejected
from instrument_registry.catalog.brokers.frame import REJECT_SCHEMA, Broker, Dump, Parsed, Source, Unreadable
from instrument_registry.catalog.brokers.kinds import bse_debt_group, cash_kind
from instrument_registry.catalog.brokers.tables import json_elements, text_of
from instrument_registry.catalog.model import Kind

VENUES = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX", "NCO", "NCDEX")
CASH = ("NSE", "BSE")
COLUMNS = (
    "token",
    "symbol",
    "name",
    "expiry",
    "strike",
    "lotsize",
    "instrumenttype",
    "exch_seg",
    "tick_size",
)

# Strikes are printed in paise, of currency contracts in ten-millionths of a rupee; a currency strike far outside of
# what currencies cost tells that this has changed.
PAISE, CURRENCY_UNIT = 100, 10_000_000
CURRENCY = ("CDS", "BCD")
CURRENCY_STRIKES = (0.1, 1_000.0)

INDEX_PREFIX = "999"  # of NSE's index tokens: 99926000 is 26000


class Scrip(msgspec.Struct):
    token: str
    symbol: str
    name: str
    expiry: str
    strike: str
    lotsize: str
    instrumenttype: str
    exch_seg: str
    tick_size: str


def parse(dump: Dump) -> Parsed:
    """Read the scrip master.

    Raises:
        Unreadable: it is not the broker's array with all nine fields.
    """
    rows, misshapen, read = _rows(dump)
    rows = rows.with_columns(pl.all().exclude("line").str.strip_chars().replace("", None))
    rows = rows.with_columns(printed="strike", strike=_strikes(rows))
    low, high = CURRENCY_STRIKES
    odd = pl.col("exch_seg").is_in(CURRENCY) & (pl.col("instrumenttype") == "OPTCUR")
    odd = (odd & ~pl.col("strike").cast(pl.Float64, strict=False).is_between(low, high)).fill_null(value=False)
    strange = rejected(
        rows.filter(odd),
        field="strike",
        value=pl.col("printed"),
        reason="No currency costs that much: its strikes are not printed in ten-millionths of a rupee any more",
    )
    draft = rows.filter(~odd).select(**_identity(), **_contract(), **_facts())
    draft = draft.with_columns(kind=pl.coalesce(coded_kind(pl.col("code")), _cash()))
    index = pl.col("kind") == Kind.INDEX
    draft = draft.with_columns(
        lot_size=pl.when(~index).then("lot_size"),
        exchange_token=pl.when(~index)
        .then("token")
        .when(pl.col("venue") == "NSE")
        .then(pl.col("token").str.extract(rf"^{INDEX_PREFIX}(\d+)$", 1)),
    )
    return finish("angel", draft, read=read, rejects=pl.concat([misshapen, strange]))


def _rows(dump: Dump) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """The scrips as text, the elements that are none, and how many elements there are."""
    content = text_of(dump)
    start = content[:64].lstrip()[:1]
    if start == b"{":
        raise Unreadable(
            f"{dump.name} is an object, not the broker's array: keyed by name it has lost every other row of a name",
            file=dump.name,
        )
    if start != b"[":
        raise Unreadable(f"{dump.name} is not the broker's JSON array of objects with nine fields", file=dump.name)
    elements = json_elements(content, name=dump.name)
    scrips: dict[int, Scrip] = {}
    rejects: list[tuple[int, str, str, str, bool]] = []
    read_scrip = msgspec.json.Decoder(Scrip).decode
    for line, element in enumerate(elements, start=1):
        try:
            scrips[line] = read_scrip(element)
        except msgspec.DecodeError as error:
            rejects.append((line, "element", bytes(element)[:200].decode(errors="replace"), f"No scrip: {error}", True))
    if len(scrips) <= len(rejects):
        reason = rejects[0][3] if rejects else "it is empty"
        raise Unreadable(f"{dump.name} is not the broker's array of scrips: {reason}", file=dump.name)
    columns = {name: [getattr(scrip, name) for scrip in scrips.values()] for name in COLUMNS}
    rows = pl.DataFrame(
        {"line": list(scrips), **columns}, schema={"line": pl.UInt32} | dict.fromkeys(COLUMNS, pl.String)
    )
    return rows, pl.DataFrame(rejects, schema=REJECT_SCHEMA, orient="row"), len(elements)


def _strikes(rows: pl.DataFrame) -> pl.Series:
    rupees = rows.select(
        "exch_seg",
        paise=decimals(rows["strike"], divisor=PAISE),
        fine=decimals(rows["strike"], divisor=CURRENCY_UNIT),
        printed="strike",
    )
    currency = pl.col("exch_seg").is_in(CURRENCY)
    return rupees.select(
        strike=pl.coalesce(pl.when(currency).then("fine").otherwise("paise"), "printed")  # what is no number stays
    )["strike"]


def _identity() -> dict[str, pl.Expr]:
    cash = pl.col("exch_seg").is_in(CASH) & pl.col("instrumenttype").is_null()
    nse = cash & (pl.col("exch_seg") == "NSE")
    name, series = split_series(pl.col("symbol"))
    return {
        "line": pl.col("line"),
        "segment": pl.col("exch_seg"),
        "token": pl.col("token"),
        "venue": pl.when(pl.col("exch_seg").is_in(VENUES)).then("exch_seg"),
        "root": pl.when(nse)
        .then(name)
        .when(cash | pl.col("instrumenttype").eq("AMXIDX"))
        .then("symbol")
        .otherwise("name"),
        "series": pl.when(nse).then(series).when(cash).then(bse_debt_group(pl.col("token"))),
        "symbol": pl.col("symbol"),
        "name": pl.lit(None, dtype=pl.String),  # the column called name is the symbol again
        "isin": pl.lit(None, dtype=pl.String),
        "code": pl.col("instrumenttype"),
        "asset_class": coded_class(pl.col("instrumenttype")),
    }


def _contract() -> dict[str, pl.Expr]:
    return {
        "expiry": pl.col("expiry").str.to_date("%d%b%Y", strict=False),
        "expiry_text": pl.col("expiry"),
        "strike": pl.col("strike"),
        "option_type": sides(pl.col("symbol").str.extract(r"(CE|PE)$", 1)),  # told nowhere else
    }


def _facts() -> dict[str, pl.Expr]:
    return {
        "lot_size": pl.col("lotsize"),
        "tick_size": pl.col("tick_size"),
        "tick_in_paise": pl.lit(value=True),
    }


def _cash() -> pl.Expr:
    return pl.when(pl.col("segment").is_in(CASH) & pl.col("code").is_null()).then(cash_kind())


BROKER = Broker(
    id="angel",
    title="Angel One",
    parse=parse,
    sources=(
        Source(
            url="https://margincalculator.angelone.in/OpenAPI_File/files/OpenAPIScripMaster.json",
            name="angel_scrip_master.json",
            content_types=("application/json", "application/octet-stream"),
        ),
    ),
)
