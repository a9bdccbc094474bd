"""BSE: the official list of scrips, whose rows are padded and end in more commas than the header."""

import polars as pl

from instrument_registry.catalog.brokers.drafts import finish
from instrument_registry.catalog.brokers.frame import Broker, Dump, Parsed, Source
from instrument_registry.catalog.brokers.kinds import cash_kind
from instrument_registry.catalog.brokers.tables import read_csv

REQUIRED = ("Security Code", "Security Id", "Security Name", "Status", "Group", "Face Value", "ISIN No")
OPTIONAL = ("Issuer Name",)
DELISTED = "The scrip is delisted: this is history, not an instrument"


def parse(dump: Dump) -> Parsed:
    """Read the list of scrips.

    Raises:
        Unreadable: it is not one.
    """
    table = read_csv(dump, required=REQUIRED, optional=OPTIONAL)
    draft = table.frame.select(
        line=pl.col("line"),
        segment=pl.lit("BSE"),
        token=pl.col("Security Code"),
        exchange_token=pl.col("Security Code"),
        venue=pl.lit("BSE"),
        root=pl.col("Security Id"),
        series=pl.col("Group"),
        symbol=pl.col("Security Id"),
        name=pl.coalesce("Security Name", "Issuer Name"),
        isin=pl.col("ISIN No"),
        face_value=pl.col("Face Value"),
        suspended=(pl.col("Status") != "Active").fill_null(value=False),
        unfit=pl.when(pl.col("Status") == "Delisted").then(pl.lit(DELISTED)),
    )
    draft = draft.with_columns(kind=cash_kind())
    return finish("bse-scrips", draft, read=table.read, rejects=table.rejects)


BROKER = Broker(
    id="bse",
    title="BSE list of scrips",
    parse=parse,
    official=True,
    sources=(
        Source(
            url="https://api.bseindia.com/BseIndiaAPI/api/LitsOfScripCSVDownload/w?segment=Equity&status=Active&Group=&Scripcode=",
            name="bse_list_of_scrips.csv",
            content_types=("text/csv", "application/octet-stream"),
        ),
    ),
)
