"""One run's rows in a temporary table: what every later step compares with the catalogue."""

from collections.abc import Iterator

import polars as pl

from instrument_registry.catalog.brokers.frame import ROW_SCHEMA
from instrument_registry.database import Transaction

ROWS_PER_COPY = 20_000

# A contract is described by its key; what brokers print as its name is the underlying's, each in its own way.
_name_of_cash = pl.when(pl.col("asset_class").is_null()).then(pl.col("name"))

# row_hash covers everything the broker says but the line it says it on, so an unchanged row is one integer equal.
CREATE = r"""
create temporary table staged (
    file smallint not null, line integer not null, segment text collate "C" not null, token text collate "C" not null, exchange_token text collate "C",
    venue text collate "C" not null, kind text collate "C" not null, asset_class text collate "C", root text collate "C" not null, series text collate "C", expiry date,
    strike numeric, option_type text collate "C", key text collate "C" not null, symbol text collate "C" not null, name text collate "C", isin text collate "C", currency text collate "C",
    lot_size bigint, multiplier numeric, quote_unit text collate "C", tick_size numeric, freeze_qty bigint, face_value numeric,
    surveillance text collate "C", is_test boolean not null, streamable boolean not null, suspended boolean not null,
    token_key bigint not null generated always as
        (hashtextextended(%(broker)s || E'\x1f' || segment || E'\x1f' || token, 0)) stored,
    row_hash bigint not null generated always as (hashtextextended(
        coalesce(exchange_token, '') || E'\x1f' || kind || E'\x1f' || key || E'\x1f' || symbol || E'\x1f' ||
        coalesce(name, '') || E'\x1f' || coalesce(isin, '') || E'\x1f' || coalesce(series, '') || E'\x1f' ||
        coalesce(lot_size::text, '') || E'\x1f' || coalesce(multiplier::text, '') || E'\x1f' ||
        coalesce(quote_unit, '') || E'\x1f' || coalesce(tick_size::text, '') || E'\x1f' ||
        coalesce(freeze_qty::text, '') || E'\x1f' || coalesce(face_value::text, '') || E'\x1f' ||
        coalesce(surveillance, '') || E'\x1f' || streamable::text || suspended::text || is_test::text, 0)) stored
) on commit drop
"""


async def stage(tx: Transaction, frames: list[pl.DataFrame], *, broker: str) -> None:
    """Copy the frames of one run into `staged`; the frames are emptied on the way to save memory."""
    await tx.execute(CREATE.replace("%(broker)s", f"'{broker}'"))
    columns = ", ".join(["file", *ROW_SCHEMA])
    async with tx.cursor() as cursor, cursor.copy(f"copy staged ({columns}) from stdin (format csv)") as copy:
        for file in range(len(frames)):
            for chunk in csv_chunks(frames[file], file=file):
                await copy.write(chunk)
            frames[file] = frames[file].clear()
    await tx.execute("create index on staged (token_key)")
    await tx.execute("analyze staged (token_key, key, segment)")


def csv_chunks(frame: pl.DataFrame, *, file: int) -> Iterator[bytes]:
    """The rows as CSV for COPY, in bounded pieces; an empty field is null, an empty text is quoted."""
    for start in range(0, len(frame), ROWS_PER_COPY):
        piece = frame.slice(start, ROWS_PER_COPY).select(
            pl.lit(file, pl.Int16).alias("file"),
            *(_name_of_cash if name == "name" else pl.col(name) for name in ROW_SCHEMA),
        )
        yield piece.write_csv(include_header=False).encode()
