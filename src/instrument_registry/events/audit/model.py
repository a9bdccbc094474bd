"""Records, proofs, and what is asked of them."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from instrument_registry.errors import Conflict, Invalid, NotFound
from instrument_registry.events.audit.checkpoints import Checkpoint

PAGE_MAX = 10_000


class RecordNotFound(NotFound):
    """Search for what there is; records that are older than their policy are in the archive."""

    title = "There is no such audit record"


class NotUnderCheckpoint(Conflict):
    """Wait a minute, or ask for a checkpoint now."""

    title = "No checkpoint covers this yet"


class SizeUnknown(Invalid):
    """Take the sizes of two checkpoints."""

    title = "The tree never had this size"


class Text(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record as its text says it."""

    action: str
    actor: str
    address: str | None
    at: datetime
    correlation_id: str
    data_sha256: str
    facts: int
    new: msgspec.Raw
    number: str
    old: msgspec.Raw
    reason: str | None
    subject: str


@dataclass(frozen=True, slots=True)
class Record:
    """One record; it has a position once the sealer has come by."""

    number: int
    position: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records: all that are so; times are of the database's clock, `until` is not part of it."""

    actor: str | None = None
    subject: str | None = None
    action: str | None = None
    correlation_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A checkpoint as the database keeps it."""

    size: int
    root: bytes
    at: datetime
    key_id: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """That a leaf is in the tree of a checkpoint."""

    position: int
    leaf: bytes
    path: list[bytes]
    checkpoint: Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """That the tree of one size, with the first root, is the beginning of that of another."""

    first: int
    second: int
    roots: tuple[bytes, bytes]
    path: list[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far the sealer is behind."""

    records_waiting: int  # without a leaf, counted up to a bound
    waiting_seconds: float
    uncovered: int  # leaves without a checkpoint
    uncovered_seconds: float
    last: Checkpoint | None
    months_ahead: int
