"""From an exact text to rows: sorted columns of hashes instead of a dictionary with an object a row.

Python's own hash of a text is keyed by a secret of the process, so nobody can aim for collisions; callers still compare
the text itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", np.int64, np.int32, np.uint16)
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]


def token_hash(broker: str, token: str) -> int:
    """The hash under which a broker's token is kept."""
    return hash((broker, token))


@dataclass(frozen=True, slots=True)
class Buckets:
    """Rows by hash; the rows of one hash stand in the order they were added."""

    hashes: Ints
    rows: Rows

    @classmethod
    def of(cls, hashes: Iterable[int] | Ints, rows: Iterable[int] | Rows) -> Self:
        """Buckets of parallel hashes and rows."""
        keys, values = _column(hashes, np.int64), _column(rows, np.int32)
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], values[order])

    @classmethod
    def merged(cls, parts: list[Self]) -> Self:
        """Several buckets as one."""
        keys = np.concatenate([part.hashes for part in parts])
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], np.concatenate([part.rows for part in parts])[order])

    def renumbered(self, numbers: Rows) -> Self:
        """The buckets of other row numbers; -1 forgets a row."""
        rows = numbers[self.rows]
        kept = rows >= 0
        return replace(self, hashes=self.hashes[kept], rows=rows[kept])

    def find(self, hash_: int) -> Rows:
        """The rows of one hash."""
        return self.rows[self.hashes.searchsorted(hash_) : self.hashes.searchsorted(hash_, "right")]

    def spans(self, hashes: Ints) -> tuple[list[int], list[int]]:
        """Where the rows of each hash begin and end in `rows`."""
        return self.hashes.searchsorted(hashes).tolist(), self.hashes.searchsorted(hashes, "right").tolist()


@dataclass(frozen=True, slots=True)
class TokenBuckets:
    """Rows by the hash of (broker, token), with the broker's segment beside each."""

    hashes: Ints
    rows: Rows
    segments: npt.NDArray[np.uint16]

    @classmethod
    def of(cls, hashes: Iterable[int] | Ints, rows: Iterable[int] | Rows, segments: Iterable[int]) -> Self:
        """Buckets of parallel hashes, rows and segment numbers."""
        keys = _column(hashes, np.int64)
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], _column(rows, np.int32)[order], _column(segments, np.uint16)[order])

    @classmethod
    def merged(cls, parts: list[Self]) -> Self:
        """Several buckets as one."""
        keys = np.concatenate([part.hashes for part in parts])
        order = np.argsort(keys, kind="stable")
        rows = np.concatenate([part.rows for part in parts])[order]
        return cls(keys[order], rows, np.concatenate([part.segments for part in parts])[order])

    def renumbered(self, numbers: Rows) -> Self:
        """The buckets of other row numbers; -1 forgets a row."""
        rows = numbers[self.rows]
        kept = rows >= 0
        return replace(self, hashes=self.hashes[kept], rows=rows[kept], segments=self.segments[kept])

    def find(self, hash_: int, *, segment: int | None = None) -> Rows:
        """The rows of one hash, of one broker segment if told."""
        first, last = self.hashes.searchsorted(hash_), self.hashes.searchsorted(hash_, "right")
        rows = self.rows[first:last]
        return rows if segment is None else rows[self.segments[first:last] == segment]

    def spans(self, hashes: Ints) -> tuple[list[int], list[int]]:
        """Where the rows of each hash begin and end in `rows`."""
        return self.hashes.searchsorted(hashes).tolist(), self.hashes.searchsorted(hashes, "right").tolist()


def _column(values: Iterable[int] | Ints | Rows, type_: type[Number]) -> npt.NDArray[Number]:
    return values.astype(type_, copy=False) if isinstance(values, np.ndarray) else np.fromiter(values, type_)
