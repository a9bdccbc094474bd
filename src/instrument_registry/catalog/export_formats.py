"""Instruments as CSV, JSON Lines, an Arrow stream or Parquet: pieces of bytes as the rows come, never the whole."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from instrument_registry.catalog.exporting import Row

if TYPE_CHECKING:
    import pyarrow as pa

# A row group of Parquet is held until it is whole: this many batches.
BATCHES_A_GROUP = 10
OPTIONAL = (
    "expires_at",
    "cycle",
    "face_value",
    "quote_unit",
    "surveillance",
    "overridden",
)  # left out of JSON where nothing is told
PLAIN = tuple(name for name in Row._fields if name not in ("overridden", "tokens"))

Batches = Iterable[list[Row]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How rows become bytes, and what such a file is called."""

    media_type: str
    suffix: str
    encode: Callable[[Batches, Sequence[str]], Iterator[bytes]]  # the brokers that have a column of tokens


def as_csv(batches: Batches, brokers: Sequence[str]) -> Iterator[bytes]:
    """A header, then one line an instrument; absent facts are empty."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_columns(brokers))
    for batch in batches:
        lines.writerows(_cells(row, brokers) for row in batch)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()  # the header alone where there was no row


def as_json_lines(batches: Batches, brokers: Sequence[str]) -> Iterator[bytes]:
    """One line an instrument, with the members it has in answers."""
    encoder = msgspec.json.Encoder()
    for batch in batches:
        yield encoder.encode_lines([_members(row) for row in batch])


def as_arrow(batches: Batches, brokers: Sequence[str]) -> Iterator[bytes]:
    """An Arrow IPC stream, one record batch at a time."""
    import pyarrow as pa

    sink, schema = _Sink(), _schema(brokers)
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), schema) as writer:
        yield sink.taken()
        for batch in batches:
            writer.write_batch(_record_batch(batch, brokers, schema))
            yield sink.taken()
    yield sink.taken()


def as_parquet(batches: Batches, brokers: Sequence[str]) -> Iterator[bytes]:
    """A Parquet file, one row group at a time."""
    import pyarrow as pa
    from pyarrow import parquet

    sink, schema = _Sink(), _schema(brokers)
    with parquet.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        group: list[pa.RecordBatch] = []
        for batch in batches:
            group.append(_record_batch(batch, brokers, schema))
            if len(group) == BATCHES_A_GROUP:
                writer.write_table(pa.Table.from_batches(group, schema))
                group.clear()
                yield sink.taken()
        if group:
            writer.write_table(pa.Table.from_batches(group, schema))
    yield sink.taken()


FORMATS = {
    "csv": Format(media_type="text/csv; charset=utf-8", suffix="csv", encode=as_csv),
    "jsonl": Format(media_type="application/x-ndjson", suffix="jsonl", encode=as_json_lines),
    "arrow": Format(media_type="application/vnd.apache.arrow.stream", suffix="arrows", encode=as_arrow),
    "parquet": Format(media_type="application/vnd.apache.parquet", suffix="parquet", encode=as_parquet),
}


class _Sink(io.RawIOBase):
    """Holds what was written until it is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        part = bytes(data)
        self._parts.append(part)
        self._written += len(part)
        return len(part)

    def tell(self) -> int:
        return self._written

    def taken(self) -> bytes:
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole


def _columns(brokers: Sequence[str]) -> list[str]:
    return [*PLAIN, "overridden", *(f"token_{broker}" for broker in brokers)]


def _cells(row: Row, brokers: Sequence[str]) -> list[object]:
    cells: list[object] = [_cell(value) for value in row[: len(PLAIN)]]
    cells.append(_overridden(row) or "")
    return cells + [row.tokens.get(broker, "") for broker in brokers]


def _cell(value: object) -> object:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _members(row: Row) -> dict[str, object]:
    members = row._asdict()
    for name in OPTIONAL:
        if members[name] is None:
            del members[name]
    return members


def _overridden(row: Row) -> str | None:
    """The fields an operator set, with what the files say, as JSON."""
    return None if row.overridden is None else msgspec.json.encode(row.overridden).decode()


def _schema(brokers: Sequence[str]) -> "pa.Schema":
    import pyarrow as pa

    types = dict.fromkeys(("lot_size", "freeze_qty"), pa.int64()) | dict.fromkeys(("is_test", "streamable"), pa.bool_())
    types["expiry"] = pa.date32()
    return pa.schema([(name, types.get(name, pa.string())) for name in _columns(brokers)])


def _record_batch(batch: list[Row], brokers: Sequence[str], schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    columns = list(zip(*batch, strict=True))
    columns = [*columns[: len(PLAIN)], tuple(_overridden(row) for row in batch)]
    columns += [tuple(row.tokens.get(broker) for row in batch) for broker in brokers]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)
