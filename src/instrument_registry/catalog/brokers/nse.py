"""NSE's own lists: equities, symbol changes, and the lots of F&O underlyings; which one it is, its content tells."""

import polars as pl

from instrument_registry.catalog.brokers.columns import index_name, integers
from instrument_registry.catalog.brokers.drafts import finish, rejected
from instrument_registry.catalog.brokers.frame import Broker, Declared, Dump, Parsed, Source
from instrument_registry.catalog.brokers.kinds import cash_kind
from instrument_registry.catalog.brokers.tables import read_csv, text_of

EQUITIES = ("SYMBOL", "NAME OF COMPANY", "SERIES", "MARKET LOT", "ISIN NUMBER", "FACE VALUE")
LOTS = ("Symbol", "Lot Size")
CHANGES = ("name", "old_symbol", "new_symbol", "effective_date")  # the file has no header


def parse(dump: Dump) -> Parsed | Declared:
    """Read one of the three lists.

    Raises:
        Unreadable: it is none of them.
    """
    first = text_of(dump).split(b"\n", 1)[0].decode().rstrip("\r")
    header = [name.strip() for name in first.split(",")]
    if header[: len(LOTS)] == list(LOTS):
        return _lots(dump)
    if len(header) == len(CHANGES) and header[0] != EQUITIES[0] and header[-1][:2].isdigit():
        return _changes(dump)
    return _equities(dump)


def _equities(dump: Dump) -> Parsed:
    table = read_csv(dump, required=EQUITIES)
    draft = table.frame.select(
        line=pl.col("line"),
        segment=pl.lit("EQUITY_L"),
        token=pl.col("SYMBOL"),  # the list has no scrip numbers
        venue=pl.lit("NSE"),
        root=pl.col("SYMBOL"),
        series=pl.col("SERIES"),
        symbol=pl.col("SYMBOL"),
        name=pl.col("NAME OF COMPANY"),
        isin=pl.col("ISIN NUMBER"),
        lot_size=pl.col("MARKET LOT"),
        face_value=pl.col("FACE VALUE"),
    )
    draft = draft.with_columns(kind=cash_kind())
    return finish("nse-equity-list", draft, read=table.read, rejects=table.rejects)


def _changes(dump: Dump) -> Declared:
    table = read_csv(dump, required=CHANGES, names=CHANGES)
    frame = table.frame.with_columns(
        day=pl.col("effective_date").str.to_date("%d-%b-%Y", strict=False),
    )
    halved = pl.any_horizontal(pl.col("old_symbol", "new_symbol", "day").is_null())
    itself = pl.col("old_symbol") == pl.col("new_symbol")
    whole = pl.concat_str("old_symbol", "new_symbol", "effective_date", separator=",", ignore_nulls=True)
    rejects = pl.concat(
        [
            table.rejects,
            rejected(
                frame.filter(halved),
                field="effective_date",
                value=whole,
                reason="A change needs an old symbol, a new one and a day of the calendar",
            ),
            rejected(
                frame.filter(~halved & itself),
                field="new_symbol",
                value=whole,
                reason="The symbol is changed into itself",
            ),
        ]
    ).sort("line")
    rows = frame.filter(~halved & ~itself).select(
        "old_symbol", "new_symbol", pl.col("day").alias("effective_date"), "name"
    )
    return Declared(dialect="nse-symbol-changes", what="symbol_changes", rows=rows, rejects=rejects, read=table.read)


def _lots(dump: Dump) -> Declared:
    table = read_csv(dump, required=LOTS)
    frame = table.frame.with_columns(lot_size=integers(table.frame["Lot Size"]))
    bad = pl.col("Symbol").is_null() | pl.col("lot_size").is_null() | (pl.col("lot_size") == 0)
    rejects = rejected(
        frame.filter(bad),
        field="Lot Size",
        value=pl.concat_str("Symbol", "Lot Size", separator=",", ignore_nulls=True),
        reason="An underlying needs a name and a lot above zero",
    )
    names = {printed: index_name("NSE", printed) for printed in frame["Symbol"].drop_nulls().unique().to_list()}
    rows = frame.filter(~bad).select(pl.col("Symbol").replace(names).alias("underlying"), "lot_size")
    return Declared(
        dialect="nse-underlying-lots",
        what="underlying_lots",
        rows=rows,
        rejects=pl.concat([table.rejects, rejects]).sort("line"),
        read=table.read,
    )


BROKER = Broker(
    id="nse",
    title="NSE official lists",
    parse=parse,
    official=True,
    sources=tuple(
        Source(
            url=f"https://nsearchives.nseindia.com/content/equities/{file}",
            name=f"nse_{file}",
            content_types=("text/csv", "application/octet-stream"),
        )
        for file in ("EQUITY_L.csv", "symbolchange.csv")
    ),
)
