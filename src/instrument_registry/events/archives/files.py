"""Archives as Parquet files: a batch at a time, never the whole."""

import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from instrument_registry.events.archives.model import COLUMNS, MORE, ArchiveDamaged, Digest, Kind, Row

BATCH = 20_000
MANIFEST = b"instrument_registry"
INSTANT = pa.timestamp("us", tz="UTC")
TYPES = {
    "number": pa.int64(), "schema_version": pa.int16(), "position": pa.int64(), "stream_version": pa.int64(),
    "leaf": pa.int64(), "occurred_at": INSTANT, "recorded_at": INSTANT, "at": INSTANT,
}  # fmt: skip


def schema(kind: Kind, manifest: Mapping[str, object] | None = None) -> pa.Schema:
    """The columns of an archive's file, which also says of itself what it holds."""
    columns = [(name, TYPES.get(name, pa.string())) for name in (*COLUMNS[kind], *MORE[kind])]
    made = pa.schema(columns)
    return made.with_metadata({MANIFEST: json.dumps(manifest).encode()}) if manifest is not None else made


async def write(path: Path, kind: Kind, batches: AsyncIterator[list[Row]], manifest: Mapping[str, object]) -> None:
    """Write rows to a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    made = schema(kind, manifest)
    try:
        with draft.open("wb") as file:
            with pq.ParquetWriter(file, made, compression="zstd") as writer:
                async for rows in batches:
                    columns = list(zip(*rows, strict=True))
                    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, made, strict=True)]
                    writer.write_batch(pa.record_batch(arrays, schema=made))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path, kind: Kind) -> Iterator[list[Row]]:
    """The rows of a file as their table had them; Raises: ArchiveDamaged."""
    names = list(COLUMNS[kind])
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH, columns=names):
                yield list(zip(*(batch.column(name).to_pylist() for name in names), strict=True))
    except (OSError, pa.ArrowException) as error:
        raise ArchiveDamaged(f"{path} cannot be read: {error}", file=str(path)) from error


def digest(path: Path, kind: Kind) -> Digest:
    """What the rows of a file amount to; Raises: ArchiveDamaged."""
    made = Digest(kind)
    for rows in read(path, kind):
        made.add(rows)
    return made


def sha256(path: Path) -> str:
    """The digest of a file's bytes; Raises: ArchiveDamaged."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArchiveDamaged(f"{path} cannot be read: {error}", file=str(path)) from error
