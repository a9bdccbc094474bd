"""What an archive is, and how rows become the digest that both ends compute."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from instrument_registry.errors import Conflict, NotFound, Unavailable

Kind = Literal["events", "audit"]
Row = Sequence[object]

PARENTS: dict[Kind, str] = {"events": "events", "audit": "audit_records"}
# The columns of the table come first, in its order: they are what is digested and brought back.
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "events": ("number", "subject", "type", "schema_version", "data", "occurred_at", "recorded_at"),
    "audit": ("number", "at", "action", "actor", "subject", "correlation_id", "text"),
}
# What a reader of the file wants besides, and the registry still knows.
MORE: dict[Kind, tuple[str, ...]] = {
    "events": ("position", "event_id", "stream", "stream_version", "actor", "correlation_id", "causation_id", "source"),
    "audit": ("leaf",),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
UNIT, ABSENT = "\x1f", "\x1e"


class NoSuchArchive(NotFound):
    """List the archives to see their names."""

    title = "There is no such archive"


class PartitionStays(Conflict):
    """The reasons say what has to happen first."""

    title = "The partition may not go yet"


class ArchiveDamaged(Unavailable):
    """Bring the file back from a copy of it."""

    title = "The archive's file is not what was written"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One month in a file: what it holds, by which digests it is known, and whether the database still has it."""

    name: str
    kind: Kind
    starts_at: datetime
    ends_at: datetime
    rows: int
    digest: str
    first_position: int | None
    last_position: int | None
    first_leaf: int | None
    last_leaf: int | None
    columns: list[str]
    file: str
    file_bytes: int
    file_sha256: str
    state: Literal["verified", "dropped", "restored"]
    exported_at: datetime
    dropped_at: datetime | None = None
    restored_at: datetime | None = None
    keep_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A month of a partitioned table that is here."""

    name: str
    kind: Kind
    starts_at: datetime
    ends_at: datetime


class Digest:
    """The digest of rows in their order; the database computes the same (`partition_digest`)."""

    def __init__(self, kind: Kind) -> None:
        self.rows = 0
        self._text = _text_of_event if kind == "events" else _text_of_record
        self._whole = hashlib.sha256()

    def add(self, rows: Iterable[Row]) -> None:
        """Take some rows in, as their table has them."""
        for row in rows:
            self._whole.update(hashlib.sha256(self._text(row).encode()).digest())
            self.rows += 1

    def value(self) -> str:
        """What they amount to so far."""
        return self._whole.hexdigest()


def month_of(partition: str) -> tuple[datetime, datetime]:
    """The first instant of a partition's month, and of the next."""
    year, month = (int(part) for part in partition.rsplit("_", 2)[1:])
    following = (year + 1, 1) if month == 12 else (year, month + 1)
    return datetime(year, month, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)


def _text_of_event(row: Row) -> str:
    number, subject, kind, schema_version, data, occurred_at, recorded_at = row
    return UNIT.join(
        (
            str(number), ABSENT if subject is None else str(subject), str(kind), str(schema_version),
            _microseconds(occurred_at), _microseconds(recorded_at), str(data),
        )
    )  # fmt: skip


def _text_of_record(row: Row) -> str:
    number, at, *texts = row
    return UNIT.join((str(number), _microseconds(at), *map(str, texts)))


def _microseconds(at: object) -> str:
    assert isinstance(at, datetime)
    return str((at - EPOCH) // MICROSECOND)
