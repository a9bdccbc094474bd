"""Reading text dumps: what is no dump at all is refused, and lines that are not whole are set aside."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl

from instrument_registry.catalog.brokers.frame import REJECT_SCHEMA, Dump, Unreadable

COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstandard", b"BZh": "bzip2"}
BOM = b"\xef\xbb\xbf"
NEWLINE, RETURN, COMMA, QUOTE = 10, 13, 44, 34

BLOCK_BYTES = 4 * 2**20  # scanned at once, and so the longest line there may be
PART_ROWS = 20_000  # parsed at once: bounds what a large dump takes in memory
MOST_LINES = 5_000_000  # the largest real dump has 273,027
MOST_FIELDS = 1_000
MOST_COMMAS = 10_000_000  # in JSON, and so of its elements; the largest real dump has 2.6 million

NO_REJECTS = pl.DataFrame(schema=REJECT_SCHEMA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of a dump or of a part of it, every value trimmed text or null, with the line each row stands on."""

    frame: pl.DataFrame
    rejects: pl.DataFrame
    read: int  # rows, those set aside included


@dataclass(frozen=True, slots=True)
class _Lines:
    """Where the lines of a text end, how many fields each has, and which are whole rows."""

    ends: np.ndarray
    fields: np.ndarray
    unbalanced: np.ndarray
    rows: np.ndarray
    good: np.ndarray
    width: int

    def bounds(self, line: int) -> tuple[int, int]:
        return (int(self.ends[line - 1]) + 1 if line else 0), int(self.ends[line]) + 1


def read_csv(
    dump: Dump,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    names: Sequence[str] | None = None,
    open_end: bool = False,
) -> Table:
    """`read_csv_parts` in one piece, for a dump of moderate size."""
    parts = list(read_csv_parts(dump, required=required, optional=optional, names=names, open_end=open_end))
    return Table(
        frame=pl.concat([part.frame for part in parts]),
        rejects=pl.concat([part.rejects for part in parts]),
        read=sum(part.read for part in parts),
    )


def read_csv_parts(
    dump: Dump,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    names: Sequence[str] | None = None,
    open_end: bool = False,
) -> Iterator[Table]:
    """Read the named columns of a comma-separated file; an optional column that is absent comes back as nulls.

    `names` are given for a file without a header, `open_end` for a publisher whose last line has no newline: then that
    line must at least have all its fields. A line with another number of fields than the rest, or with an unbalanced
    quote, is set aside.

    Raises:
        Unreadable: the file is not such a table at all.
    """
    content = text_of(dump)
    closed = content.endswith(b"\n")
    if not closed and not open_end:
        raise Unreadable(f"{dump.name} is cut off: its last line has no end", file=dump.name)
    header = list(names) if names else header_of(content)
    missing = [name for name in required if name not in header]
    if missing:
        raise Unreadable(f"{dump.name}: the header lacks {', '.join(missing)}", file=dump.name, missing=missing)
    lines = _lines(content, header, headless=bool(names), name=dump.name)
    if not closed and not lines.good[-1]:
        raise Unreadable(f"{dump.name} is cut off in its last line", file=dump.name)
    wanted = [name for name in dict.fromkeys([*required, *optional]) if name in header]
    absent = [name for name in optional if name not in header]
    for first, last in pairwise([*range(0, len(lines.ends), PART_ROWS), len(lines.ends)]):
        yield _part(content, lines, range(first, last), header=header, wanted=wanted, absent=absent)


def text_of(dump: Dump) -> bytes:
    """The content of a text dump, without a byte order mark.

    Raises:
        Unreadable: it is empty, compressed, binary, in another encoding, or a web page.
    """
    content = dump.content.removeprefix(BOM)
    if not content or content.isspace():
        raise Unreadable(f"{dump.name} is empty", file=dump.name)
    for magic, name in COMPRESSED.items():
        if content.startswith(magic):
            raise Unreadable(f"{dump.name} is still compressed ({name})", file=dump.name)
    if b"\x00" in content:
        raise Unreadable(f"{dump.name} is binary, not text", file=dump.name)
    if content[:64].lstrip()[:1] == b"<":
        raise Unreadable(f"{dump.name} is a web page or XML, not a dump", file=dump.name)
    if not content.isascii():
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise Unreadable(f"{dump.name} is not UTF-8 at byte {error.start}", file=dump.name) from error
    return content


def header_of(content: bytes) -> list[str]:
    """The column names in the first line, without empty ones at its end.

    Raises:
        Unreadable: the line is no list of names at all.
    """
    first = content[: content.find(b"\n") + 1 or None].decode(errors="replace")
    try:
        header = [name.strip() for name in next(csv.reader(io.StringIO(first)), [])]
    except csv.Error as error:
        raise Unreadable(f"The first line is no header: {error}") from error
    while header and not header[-1]:
        header.pop()
    return header


def json_elements(content: bytes, *, name: str) -> list[msgspec.Raw]:
    """The elements of a JSON array, unread.

    Raises:
        Unreadable: it is no whole array, or one too large or too deep for a dump.
    """
    check_json_size(content, name=name)
    try:
        return msgspec.json.decode(content, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(f"{name} is not a whole JSON array: {error}", file=name) from error


def check_json_size(content: bytes, *, name: str) -> None:
    """Raises: Unreadable for JSON of so many values that taking it apart would fill the memory."""
    if content.count(b",") > MOST_COMMAS:
        raise Unreadable(f"{name} has more values than any dump: over {MOST_COMMAS:,} commas", file=name)


def trimmed(frame: pl.DataFrame) -> pl.DataFrame:
    """The text columns without blanks around the values and with null for nothing; untouched ones are not copied."""
    columns = []
    for column in frame:
        if column.dtype == pl.String and column.str.contains(r"^\s|\s$|^$").any():
            column = column.str.strip_chars()
            column = column.set(column == "", None)
        columns.append(column)
    return pl.DataFrame(columns)


def _part(
    content: bytes, lines: _Lines, part: range, *, header: list[str], wanted: list[str], absent: list[str]
) -> Table:
    good = lines.good[part.start : part.stop]
    number = np.arange(part.start + 1, part.stop + 1, dtype=np.uint32)
    if good.all():
        body = content[lines.bounds(part.start)[0] : lines.bounds(part.stop - 1)[1]]
    else:
        body = b"".join(content[slice(*lines.bounds(part.start + int(i)))] for i in np.flatnonzero(good))
    if body:
        columns = [header[place] if place < len(header) else f"surplus {place}" for place in range(lines.width)]
        try:
            frame = pl.read_csv(
                body,
                has_header=False,
                new_columns=columns,
                columns=[columns.index(name) for name in wanted],
                infer_schema=False,
            )
        except pl.exceptions.ComputeError as error:
            places = f"{part.start + 1} to {part.stop}"
            raise Unreadable(f"Between lines {places} text stands before or behind a quoted field") from error
    else:
        frame = pl.DataFrame(schema=dict.fromkeys(wanted, pl.String))
    frame = trimmed(frame).select(
        pl.Series("line", number[good]),
        *wanted,
        *(pl.lit(None, dtype=pl.String).alias(name) for name in absent),
    )
    return Table(frame=frame, rejects=_broken(content, lines, part), read=int(lines.rows[part.start : part.stop].sum()))


def _broken(content: bytes, lines: _Lines, part: range) -> pl.DataFrame:
    found = []
    for i in np.flatnonzero((lines.rows & ~lines.good)[part.start : part.stop]):
        line = part.start + int(i)
        start, end = lines.bounds(line)
        text = content[start : min(end - 1, start + 200)].decode(errors="replace")
        reason = (
            "A quote is opened and not closed"
            if lines.unbalanced[line]
            else f"It has {lines.fields[line]} fields instead of {lines.width}"
        )
        found.append((line + 1, "line", text, reason, True))
    return pl.DataFrame(found, schema=REJECT_SCHEMA, orient="row")


def _lines(content: bytes, header: list[str], *, headless: bool, name: str) -> _Lines:
    ends, fields, unbalanced, blank = (np.concatenate(found) for found in zip(*_scan(content, name=name), strict=True))
    rows = ~blank
    if not headless:
        rows[0] = False
    read = int(rows.sum())
    if not read:
        raise Unreadable(f"{name} has a header and no rows", file=name)
    whole = rows & ~unbalanced
    width = int(np.bincount(fields[whole]).argmax()) if whole.any() else 0
    if width > MOST_FIELDS:
        raise Unreadable(f"{name}: its rows have {width} fields; no dump has over {MOST_FIELDS}", file=name)
    if width < len(header):
        raise Unreadable(f"{name}: its rows have {width} fields, its header {len(header)}", file=name)
    good = whole & (fields == width)
    if 2 * int(good.sum()) < read:
        raise Unreadable(f"{name}: most of its lines do not have {width} fields", file=name)
    return _Lines(ends, fields, unbalanced, rows, good, width)


def _scan(content: bytes, *, name: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Ends, fields, unbalanced quotes and blankness of the lines, block by block."""
    start = lines = 0
    while start < len(content):
        stop = content.rfind(b"\n", start, start + BLOCK_BYTES) + 1
        if not stop and len(content) - start < BLOCK_BYTES:
            stop = len(content)
        if not stop:
            raise Unreadable(f"{name} has a line of more than {BLOCK_BYTES // 2**20} MB", file=name)
        octets = np.frombuffer(content, dtype=np.uint8, count=stop - start, offset=start)
        ends = np.flatnonzero(octets == NEWLINE)
        if octets[-1] != NEWLINE:  # the last line of all, left open
            ends = np.append(ends, len(octets))
        lines += len(ends)
        if lines > MOST_LINES:
            raise Unreadable(f"{name} has more than {MOST_LINES:,} lines", file=name)
        length = np.diff(ends, prepend=-1) - 1
        blank = length <= (octets[np.clip(ends - 1, 0, None)] == RETURN)
        fields, unbalanced = _fields(octets, ends)
        yield ends + start, fields, unbalanced, blank
        start = stop


def _fields(octets: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fields of each line, commas inside quotes not counted, and which lines have an odd number of quotes."""
    commas = np.flatnonzero(octets == COMMA)
    quotes = np.flatnonzero(octets == QUOTE)
    upto = np.searchsorted(quotes, ends)
    unbalanced = np.diff(upto, prepend=0) % 2 == 1
    if len(quotes):
        line = np.searchsorted(ends, commas)
        before = np.searchsorted(quotes, commas) - np.concatenate(([0], upto))[line]
        commas = commas[before % 2 == 0]
    return np.diff(np.searchsorted(commas, ends), prepend=0) + 1, unbalanced
