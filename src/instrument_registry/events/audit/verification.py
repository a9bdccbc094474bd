"""Whether a log is what was signed: every text hashed and read, the whole tree computed again. Pure."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import rfc8785

from instrument_registry.errors import Conflict
from instrument_registry.events.audit.checkpoints import Checkpoint
from instrument_registry.events.audit.merkle import TILE_WIDTH, Frontier
from instrument_registry.events.audit.model import Text

SAMPLE_EVERY = 100
COLUMNS = ("number", "at", "action", "actor", "subject", "correlation_id")


class Tampered(Conflict):
    """Keep the database as it is, and the files outside it; compare with a backup."""

    title = "The audit has been changed"


# A leaf and its record: position, number, at, leaf, action, actor, subject, correlation id, text (None: archived).
Row = tuple[int, int, datetime, bytes, str | None, str | None, str | None, str | None, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found in order."""

    records: int
    archived: int  # of these: known by their hashes alone
    root: bytes
    checkpoints: int
    outside: int  # of these: from outside the database
    covered: int  # records below the largest checkpoint
    tiles: int
    canonicalised: int


class Inspection:
    """Reads a log once from its first leaf to its last; the first thing that is wrong is raised as `Tampered`."""

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        *,
        outside: Sequence[Checkpoint] = (),
        archived: Sequence[range] = (),
        sample_offset: int = 0,
    ) -> None:
        """Checkpoints whose signatures have been found right; at `archived` positions records may be gone."""
        everything = [*checkpoints, *outside]
        self._due = sorted(everything, key=lambda one: one.size)
        self._inside, self._outside = len(checkpoints), len(outside)
        self._archived = archived
        self._offset = sample_offset % SAMPLE_EVERY
        self._right = 0  # the size of the last checkpoint that agreed
        self._next = 0
        self._roots: list[bytes] = []  # of the tiles of level 0
        self._digests: list[bytes] = []  # of their hashes
        self._tile: list[bytes] = []
        self._tree = Frontier(self._roots.append)
        self._absent = self._canonicalised = self._tiles = 0

    def take(self, rows: Iterable[Row]) -> None:
        """Go through some more leaves, in the order of their positions."""
        tree, tile, due = self._tree, self._tile, self._due_size()
        sha256, decode = hashlib.sha256, msgspec.json.Decoder(Text).decode
        for position, number, at, leaf, action, actor, subject, correlation_id, text in rows:
            if position != tree.size + 1:
                raise _wrong(tree.size + 1, "is missing" if position > tree.size else "stands twice")
            if text is None:
                self._check_absent(position)
            else:
                if sha256(b"\x00" + text).digest() != leaf:
                    raise _wrong(position, "has a text that does not match its leaf")
                try:
                    said = decode(text)
                except msgspec.DecodeError as error:
                    raise _wrong(position, f"cannot be read: {error}") from error
                if (
                    said.action != action
                    or said.actor != actor
                    or said.subject != subject
                    or said.correlation_id != correlation_id
                    or said.number != str(number)
                    or said.at != at
                ):
                    raise _contradiction(position, said, (number, at, action, actor, subject, correlation_id))
                if position % SAMPLE_EVERY == self._offset:
                    self._check_canonical(position, text)
            tree.push(leaf)
            tile.append(leaf)
            if len(tile) == TILE_WIDTH:
                self._digests.append(sha256(b"".join(tile)).digest())
                tile.clear()
            if tree.size == due:
                self._check_roots()
                due = self._due_size()

    def take_tile(self, level: int, index: int, root: bytes, hashes: bytes) -> None:
        """Compare a stored tile, once all leaves have been taken; in the order of levels and indexes."""
        if self._tiles == 0:
            self._expected = list(self._tiles_there())
        if self._tiles == len(self._expected) or (level, index) != self._expected[self._tiles][:2]:
            raise Tampered(f"Tile {index} of level {level} is not the one that belongs here", level=level, index=index)
        if (hashlib.sha256(hashes).digest(), root) != self._expected[self._tiles][2:]:
            first, width = index * TILE_WIDTH ** (level + 1), TILE_WIDTH ** (level + 1)
            raise Tampered(
                f"Tile {index} of level {level} is not what the records {first + 1} to {first + width} make",
                position=first + 1,
            )
        self._tiles += 1

    def finish(self) -> Verdict:
        """What was found, once leaves and tiles have all been taken."""
        size = self._tree.size
        if self._next < len(self._due):
            signed = self._due[self._next]
            raise _wrong(
                size + 1,
                f"is missing with all behind it: {signed.size} records were signed for at {signed.at:%F %T} UTC",
            )
        there = len(self._expected) if self._tiles else sum(1 for _ in self._tiles_there())
        if self._tiles != there:
            raise Tampered(f"Of {there} tiles {there - self._tiles} are missing", tiles=self._tiles)
        return Verdict(
            records=size, archived=self._absent, root=self._tree.root(), checkpoints=self._inside + self._outside,
            outside=self._outside, covered=self._right, tiles=self._tiles, canonicalised=self._canonicalised,
        )  # fmt: skip

    def _due_size(self) -> int:
        return self._due[self._next].size if self._next < len(self._due) else -1

    def _check_roots(self) -> None:
        root = self._tree.root()
        while self._due_size() == self._tree.size:
            signed = self._due[self._next]
            if signed.root != root:
                raise Tampered(
                    f"The first {signed.size} records are not those that were signed for at {signed.at:%F %T} UTC: "
                    f"the first changed one is between {self._right + 1} and {signed.size}",
                    position=self._right + 1,
                    until=signed.size,
                )
            self._next += 1
        self._right = self._tree.size

    def _check_absent(self, position: int) -> None:
        if not any(position in some for some in self._archived):
            raise _wrong(position, "is missing: its leaf is there, its text is not")
        self._absent += 1

    def _check_canonical(self, position: int, text: bytes) -> None:
        if rfc8785.dumps(msgspec.json.decode(text)) != text:
            raise _wrong(position, "is not in canonical form")
        self._canonicalised += 1

    def _tiles_there(self) -> Iterable[tuple[int, int, bytes, bytes]]:
        """Every tile that must be stored: level, index, digest of its hashes, root."""
        roots = self._roots
        yield from ((0, index, *pair) for index, pair in enumerate(zip(self._digests, roots, strict=True)))
        level = 1
        while len(roots) >= TILE_WIDTH:
            above = []
            for index in range(len(roots) // TILE_WIDTH):
                hashes = roots[index * TILE_WIDTH : (index + 1) * TILE_WIDTH]
                tree = Frontier()
                for one in hashes:
                    tree.push(one)
                above.append(tree.root())
                yield level, index, hashlib.sha256(b"".join(hashes)).digest(), above[-1]
            roots, level = above, level + 1


def _contradiction(position: int, said: Text, shown: Sequence[object]) -> Tampered:
    told = {name: getattr(said, name) for name in COLUMNS} | {"number": int(said.number)}
    name, value = next((name, value) for name, value in zip(COLUMNS, shown, strict=True) if told[name] != value)
    return _wrong(position, f"shows {name} {value} where its text says {told[name]}")


def _wrong(position: int, what: str) -> Tampered:
    return Tampered(f"Record {position} {what}", position=position)
