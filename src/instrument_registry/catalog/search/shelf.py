"""Where the rows of the index lie: an append-only arena of JSON beside narrow numpy columns.

No Python object is kept per row. Readers hold a `Columns` and slices of an arena that only grows, so a writer never
disturbs them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import chain, compress, islice
from urllib.parse import unquote

import msgspec
import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.search.codes import Codes
from instrument_registry.catalog.search.cohorts import CohortBook
from instrument_registry.catalog.search.exact import Buckets, TokenBuckets
from instrument_registry.catalog.search.printing import Own, other_names, own_json, own_texts, row_hashes
from instrument_registry.catalog.search.rows import IndexRow, TokenRow

CHUNK = 1_024  # rows taken apart at once: few enough that the garbage collector hardly meets them
MAX_BROKERS = 31
NO_STRIKE = float("nan")
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Masks = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Columns:
    """One element a row, in the order they were shelved; a changed row is shelved again and its old one is dead."""

    id: npt.NDArray[np.int64]
    cohort: npt.NDArray[np.int32]
    name: npt.NDArray[np.int32]  # what the key begins with, a number of the book's names
    strike: npt.NDArray[np.float64]
    brokers: Masks  # one bit a broker that has a token
    digest: npt.NDArray[np.uint64]
    size: npt.NDArray[np.int32]  # bytes of JSON; what follows until `end` are the row's other names
    end: npt.NDArray[np.int64]  # where the row ends in the arena

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True)
class Exact:
    """From an exact text to rows, dead ones included."""

    ulid: Buckets
    key: Buckets
    symbol: Buckets
    isin: Buckets
    exchange_token: Buckets
    token: TokenBuckets


class Title(msgspec.Struct):
    """The part of a row's JSON that search reads back."""

    name: str | None


_TITLE = msgspec.json.Decoder(Title)


class Shelf:
    """The arena, the cohorts and the codes that every view of one index shares."""

    def __init__(self) -> None:
        self.arena = bytearray()
        self.book = CohortBook()
        self.brokers = Codes()
        self.broker_segments = Codes()

    def add(self, rows: Iterable[IndexRow], *, first: int) -> tuple[Columns, Exact]:
        """Shelve rows and number them from `first`; the answer holds these rows alone."""
        chunks: list[tuple[Columns, Exact]] = []
        source, written = iter(rows), len(self.arena)
        try:
            while chunk := list(islice(source, CHUNK)):
                chunks.append(self._chunk(chunk, first=first))
                first += len(chunk)
        except BaseException:  # the next row begins where the last one ends
            del self.arena[written:]
            raise
        if not chunks:
            chunks.append(self._nothing())
        columns, exact = zip(*chunks, strict=True)
        return joined(list(columns)), gathered(list(exact))

    def text(self, columns: Columns, row: int) -> bytes:
        """The members of a row's JSON that it shares with no other, from the opening brace, without the closing one."""
        start = columns.end.item(row - 1) if row else 0
        return bytes(self.arena[start : start + columns.size.item(row)])

    def holds(self, columns: Columns, row: int, member: bytes) -> bool:
        """Whether a row's own JSON has exactly this member."""
        start = columns.end.item(row - 1) if row else 0
        return self.arena.find(member, start, start + columns.size.item(row)) >= 0

    def texts(self, columns: Columns, rows: Rows) -> list[bytearray]:
        """The same of several rows."""
        arena, end, size = self.arena, columns.end, columns.size
        return [
            arena[(start := end.item(row - 1) if row else 0) : start + size.item(row)]  # a page is too short for arrays
            for row in rows.tolist()
        ]

    def titles(self, columns: Columns, row: int) -> list[str]:
        """The names a row is known by besides the one in its key."""
        start = columns.end.item(row - 1) if row else 0
        middle, end = start + columns.size.item(row), columns.end.item(row)
        title = _TITLE.decode(bytes(self.arena[start:middle]) + b"}")
        others = self.arena[middle:end].decode().split("\x1f") if end > middle else []
        return [title.name, *others] if title.name else others

    def without_waste(self, columns: Columns, exact: Exact, *, present: Bools) -> "tuple[Shelf, Columns, Exact]":
        """A shelf with the present rows alone, numbered anew; cohorts and codes stay."""
        rows = np.flatnonzero(present)
        starts = np.concatenate([np.zeros(1, np.int64), columns.end[:-1]])[rows]
        spans = zip(starts.tolist(), columns.end[rows].tolist(), strict=True)
        shelf = Shelf()
        shelf.book, shelf.brokers, shelf.broker_segments = self.book, self.brokers, self.broker_segments
        shelf.arena = bytearray(b"".join([self.arena[start:end] for start, end in spans]))
        fewer = Columns(**{field.name: getattr(columns, field.name)[rows] for field in fields(Columns)})
        numbers = np.full(len(columns), -1, np.int32)
        numbers[rows] = np.arange(len(rows), dtype=np.int32)
        buckets = {field.name: getattr(exact, field.name).renumbered(numbers) for field in fields(Exact)}
        return shelf, replace(fewer, end=np.cumsum(columns.end[rows] - starts)), Exact(**buckets)

    def _nothing(self) -> tuple[Columns, Exact]:
        none = np.array([], np.int64)
        columns = Columns(
            id=none,
            cohort=none.astype(np.int32),
            name=none.astype(np.int32),
            strike=none.astype(np.float64),
            brokers=none.astype(np.uint32),
            digest=none.astype(np.uint64),
            size=none.astype(np.int32),
            end=none,
        )
        empty = Buckets.of([], [])
        return columns, Exact(empty, empty, empty, empty, empty, TokenBuckets.of([], [], []))

    def _chunk(self, rows: list[IndexRow], *, first: int) -> tuple[Columns, Exact]:
        shared, own, underlyings = _apart(rows)
        cohorts = list(map(self.book.number, shared))
        texts = own_texts(own)
        sizes, ends = self._write(own, texts, underlyings)
        numbers = range(first, first + len(rows))
        masks, by_token, by_exchange_token = self._tokens(own.tokens, first=first)
        columns = Columns(
            id=np.array(own.ids, np.int64),
            cohort=np.array(cohorts, np.int32),
            name=np.array(list(map(self._name, own.keys, underlyings)), np.int32),
            strike=np.array([float(strike) if strike else NO_STRIKE for strike in own.strikes], np.float64),
            brokers=masks,
            digest=row_hashes(map(self.book.texts.__getitem__, cohorts), texts),
            size=sizes,
            end=ends,
        )
        exact = Exact(
            ulid=Buckets.of(map(hash, own.ulids), numbers),
            key=Buckets.of(map(hash, own.keys), numbers),
            symbol=Buckets.of(map(hash, map(str.upper, own.symbols)), numbers),
            isin=Buckets.of(map(hash, filter(None, own.isins)), compress(numbers, own.isins)),
            exchange_token=by_exchange_token,
            token=by_token,
        )
        return columns, exact

    def _name(self, key: str, underlying: str | None) -> int:
        name = name_in_key(key) if underlying is None or "/" in key else underlying
        return self.book.names.number(name)

    def _write(self, own: Own, texts: list[str], underlyings: tuple[str | None, ...]) -> tuple[Int32s, Int64s]:
        pieces = own_json(own, texts)
        others = [
            "" if underlying else other_names(symbol, name, tokens)
            for symbol, name, tokens, underlying in zip(own.symbols, own.names, own.tokens, underlyings, strict=True)
        ]
        written = "".join(chain.from_iterable(zip(pieces, others, strict=True)))
        length = len if written.isascii() else _encoded_length
        sizes = np.fromiter(map(length, pieces), np.int32, len(pieces))
        lengths = sizes.astype(np.int64) + np.fromiter(map(length, others), np.int64, len(others))
        ends = np.cumsum(lengths) + len(self.arena)
        self.arena += written.encode()
        return sizes, ends

    def _tokens(self, tokens: tuple[tuple[TokenRow, ...], ...], *, first: int) -> tuple[Masks, TokenBuckets, Buckets]:
        counts = np.fromiter(map(len, tokens), np.int32, len(tokens))
        masks = np.zeros(len(tokens), np.uint32)
        if not counts.any():
            return masks, TokenBuckets.of([], [], []), Buckets.of([], [])
        brokers, segments, names, exchange_tokens, _ = zip(*chain.from_iterable(tokens), strict=True)
        places = np.repeat(np.arange(len(tokens), dtype=np.int32), counts)
        bits = np.fromiter(map(self.brokers.number, brokers), np.uint32, len(brokers))
        if len(self.brokers) > MAX_BROKERS + 1:
            raise OverflowError(f"The index tells {MAX_BROKERS} brokers apart")
        np.bitwise_or.at(masks, places, np.uint32(1) << bits)
        rows = places + np.int32(first)
        by_token = TokenBuckets.of(
            map(hash, zip(brokers, names, strict=True)), rows, map(self.broker_segments.number, segments)
        )
        hashes = np.fromiter((hash(token) if token else 0 for token in exchange_tokens), np.int64, len(rows))
        told = hashes != 0
        told[1:] &= (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
        return masks, by_token, Buckets.of(hashes[told], rows[told])


def digest_of(rows: Iterable[IndexRow]) -> int:
    """What the digest of an index is that holds exactly these rows."""
    book, total = CohortBook(), 0
    source = iter(rows)
    while chunk := list(islice(source, CHUNK)):
        shared, own, _ = _apart(chunk)
        cohorts = [book.texts[number] for number in map(book.number, shared)]
        total += int(row_hashes(cohorts, own_texts(own)).sum(dtype=np.uint64))
    return total % 2**64


def _apart(rows: list[IndexRow]) -> tuple[Iterator[tuple[object, ...]], Own, tuple[str | None, ...]]:
    """Of each row what it shares with its cohort, what is its own, and its underlying."""
    (ids, ulids, keys, symbols, names, kinds, venues, mics, segments, exchanges, series, isins, underlyings,
     expiries, strikes, option_types, lots, ticks, freezes, multipliers, statuses, tests, streamables,
     asset_classes, currencies, tokens, extras) = zip(*rows, strict=True)  # fmt: skip
    shared = zip(
        kinds, venues, mics, segments, exchanges, series, underlyings, expiries, option_types, lots, ticks,
        freezes, multipliers, statuses, tests, streamables, asset_classes, currencies, extras, strict=True,
    )  # fmt: skip
    return shared, Own(ids, ulids, keys, symbols, names, isins, strikes, tokens), underlyings


def _encoded_length(text: str) -> int:
    return len(text.encode())


def name_in_key(key: str) -> str:
    """The name a key begins with, unescaped; of a crypto pair base and quote together."""
    body = key.partition(":")[2].partition(";")[0]
    base, slash, pair = body.partition("/")
    if slash:
        base += pair.partition(":")[0]
    return unquote(base) if "%" in base else base


def joined(parts: list[Columns]) -> Columns:
    """The rows of several columns behind each other."""
    names = (field.name for field in fields(Columns))
    return Columns(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def gathered(parts: list[Exact]) -> Exact:
    """Several exact tables as one."""
    return Exact(
        ulid=Buckets.merged([part.ulid for part in parts]),
        key=Buckets.merged([part.key for part in parts]),
        symbol=Buckets.merged([part.symbol for part in parts]),
        isin=Buckets.merged([part.isin for part in parts]),
        exchange_token=Buckets.merged([part.exchange_token for part in parts]),
        token=TokenBuckets.merged([part.token for part in parts]),
    )
