"""ISO 10383: the market identifier codes (MIC) of the world."""

import polars as pl

from instrument_registry.catalog.brokers.drafts import rejected
from instrument_registry.catalog.brokers.frame import Broker, Declared, Dump, Source
from instrument_registry.catalog.brokers.tables import read_csv

COLUMNS = {
    "mic": "MIC",
    "operating_mic": "OPERATING MIC",
    "name": "MARKET NAME-INSTITUTION DESCRIPTION",
    "country": "ISO COUNTRY CODE (ISO 3166)",
    "status": "STATUS",
    "acronym": "ACRONYM",
}
SHAPE = r"^[A-Z0-9]{4}$"


def parse(dump: Dump) -> Declared:
    """Read the list of codes; expired ones stay in it with their status.

    Raises:
        Unreadable: it is not the list.
    """
    table = read_csv(dump, required=tuple(COLUMNS.values()))
    frame = table.frame.select("line", **{name: pl.col(column) for name, column in COLUMNS.items()})
    shapeless = ~(pl.col("mic").str.contains(SHAPE) & pl.col("operating_mic").str.contains(SHAPE)).fill_null(
        value=False
    )
    rejects = rejected(
        frame.filter(shapeless),
        field="MIC",
        value=pl.concat_str("mic", "operating_mic", separator=",", ignore_nulls=True),
        reason="A market identifier code is four letters or digits",
    )
    return Declared(
        dialect="iso10383",
        what="mics",
        rows=frame.filter(~shapeless).select(*COLUMNS),
        rejects=pl.concat([table.rejects, rejects]).sort("line"),
        read=table.read,
    )


BROKER = Broker(
    id="iso10383",
    title="ISO 10383 market identifier codes",
    parse=parse,
    official=True,
    sources=(
        Source(
            url="https://www.iso20022.org/sites/default/files/ISO10383_MIC/ISO10383_MIC.csv",
            name="iso10383.csv",
            content_types=("text/csv", "application/octet-stream"),
        ),
    ),
)
