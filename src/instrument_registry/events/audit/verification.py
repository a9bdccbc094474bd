"""Whether a log is what was signed: every text hashed and read, the whole tree computed again. Pure."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import rfc8785

from instrument_registry.errors import Conflict
from instrument_registry.events.audit.checkpoints import Checkpoint
from instrument_registry.events.audit.merkle import TILE_WIDTH, Frontier, folded, joined, perfect
from instrument_registry.events.audit.model import Text

SAMPLE_EVERY = 100
COLUMNS = ("number", "at", "action", "actor", "subject", "correlation_id")


class Tampered(Conflict):
    """Keep the database as it is, and the files outside it; compare with a backup."""

    title = "The audit has been changed"


# A leaf and its record: position, number, at, leaf, action, actor, subject, correlation id, text (None: archived).
Row = tuple[int, int, datetime, bytes, str | None, str | None, str | None, str | None, bytes | None]


class _Compared(msgspec.Struct, frozen=True, gc=False):
    """What of a text stands in columns, too; the rest is covered by its hash."""

    action: str
    actor: str
    at: datetime
    correlation_id: str
    number: str
    subject: str


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
        self._size = 0
        self._tile: list[bytes] = []  # the leaves behind the last full tile
        self._tree = Frontier()  # of the tiles' roots
        self._roots: list[bytes] = []  # of the tiles of level 0
        self._digests: list[bytes] = []  # of their hashes
        self._absent = self._canonicalised = self._tiles = 0

    def take(self, rows: Iterable[Row]) -> None:
        """Go through some more leaves, in the order of their positions."""
        expected, tile, due = self._size + 1, self._tile, self._due_size()
        sha256, decode = hashlib.sha256, msgspec.json.Decoder(_Compared).decode
        for position, number, at, leaf, action, actor, subject, correlation_id, text in rows:
            if position != expected:
                raise _wrong(expected, "is missing" if position > expected else "stands twice")
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
            tile.append(leaf)
            if position == due:
                self._check_roots(position)
                due = self._due_size()
            if len(tile) == TILE_WIDTH:
                self._fill_tile()
            expected += 1
            self._size = position

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
        size = self._size
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
            records=size, archived=self._absent, root=self._root(), checkpoints=self._inside + self._outside,
            outside=self._outside, covered=self._right, tiles=self._tiles, canonicalised=self._canonicalised,
        )  # fmt: skip

    def _due_size(self) -> int:
        return self._due[self._next].size if self._next < len(self._due) else -1

    def _fill_tile(self) -> None:
        self._roots.append(folded(self._tile))
        self._digests.append(hashlib.sha256(b"".join(self._tile)).digest())
        self._tree.push(self._roots[-1])
        self._tile.clear()

    def _root(self) -> bytes:
        behind = perfect(0, len(self._tile))
        rest = [folded(self._tile[node.before << node.height : (node.before + 1) << node.height]) for node in behind]
        return joined([*self._tree.edge, *rest])

    def _check_roots(self, size: int) -> None:
        root = self._root()
        while self._due_size() == size:
            signed = self._due[self._next]
            if signed.root != root:
                raise Tampered(
                    f"The first {signed.size} records are not those that were signed for at {signed.at:%F %T} UTC: "
                    f"the first changed one is between {self._right + 1} and {signed.size}",
                    position=self._right + 1,
                    until=signed.size,
                )
            self._next += 1
        self._right = size

    def _check_absent(self, position: int) -> None:
        if not any(position in some for some in self._archived):
            raise _wrong(position, "is missing: its leaf is there, its text is not")
        self._absent += 1

    def _check_canonical(self, position: int, text: bytes) -> None:
        try:
            canonical = rfc8785.dumps(msgspec.json.decode(text))
        except rfc8785.CanonicalizationError as error:
            raise _wrong(position, f"has no canonical form: {error}") from error
        if canonical != text:
            raise _wrong(position, "is not in canonical form")
        try:
            msgspec.json.decode(text, type=Text)
        except msgspec.ValidationError as error:
            raise _wrong(position, f"is no record: {error}") from error
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
                above.append(folded(hashes))
                yield level, index, hashlib.sha256(b"".join(hashes)).digest(), above[-1]
            roots, level = above, level + 1


def _contradiction(position: int, said: _Compared, shown: Sequence[object]) -> Tampered:
    told = {name: getattr(said, name) for name in COLUMNS} | {"number": int(said.number)}
    name, value = next((name, value) for name, value in zip(COLUMNS, shown, strict=True) if told[name] != value)
    return _wrong(position, f"shows {name} {value} where its text says {told[name]}")


def _wrong(position: int, what: str) -> Tampered:
    return Tampered(f"Record {position} {what}", position=position)
