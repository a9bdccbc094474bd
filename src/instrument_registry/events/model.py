"""Facts, the appends that bring them, and the events readers see."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from instrument_registry.errors import Conflict, Gone, Invalid, NotFound

# Facts of an append share its number and its id but for the last bits, which count them.
PLACE_BITS = 20
FACTS_MAX = 1 << PLACE_BITS
PLACES = FACTS_MAX - 1

# An append of more facts is a bulk run: readers may pass over it and take the one fact that sums it up.
BULK_FACTS = 5_000
PAGE_MAX = 100_000


class WrongVersion(Conflict):
    """Somebody else wrote to the stream since it was read."""

    title = "The stream is at another version"


class EventIdTaken(Conflict):
    """An event id that already stands for something else."""

    title = "The event id is taken"


class FactRefused(Invalid):
    """What was to be told is not what its schema promises."""

    title = "The fact does not match its schema"


class EventNotFound(NotFound):
    """No event has this id, or it has been archived."""

    title = "There is no such event"


class Archived(Gone):
    """Restore the archive it names, or begin at `oldest_position`."""

    title = "The position has been archived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that has happened; subclasses name it and add what is known of it.

    `occurred_at` travels in the envelope, every other field in the data. Of an audited one the audit shows the fields
    called old, new and reason; without old and new the whole of it is new.
    """

    type: ClassVar[str]
    version: ClassVar[int] = 1
    audited: ClassVar[bool] = True

    occurred_at: datetime

    @property
    def subject(self) -> str | None:
        """What it is about, so that its history can be read: an instrument's id, for example."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class External(Fact):
    """Something that others tell: its type is theirs, its data a JSON object of theirs."""

    audited: ClassVar[bool] = False  # it is no change of ours, and it stands in the log

    name: str
    about: str | None
    text: str

    @property
    def type(self) -> str:  # type: ignore[override]
        """What they call it."""
        return self.name

    @property
    def subject(self) -> str | None:
        """What they say it is about."""
        return self.about


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Who caused an append, and in answer to what."""

    actor: str
    correlation_id: str
    causation_id: UUID | None = None
    source: str | None = None
    address: str | None = None  # whence the caller came; kept by the audit alone
    traceparent: str | None = None  # W3C's name of the caller's piece of work; in no hash and in no archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Facts written to one stream at once: `version` is the stream's after the last of them."""

    number: int
    event_id: UUID
    stream: str
    version: int
    facts: int
    metadata: Metadata
    recorded_at: datetime
    position: int | None = None  # of its first fact, once the sequencer has come by

    @property
    def bulk(self) -> bool:
        """Whether it is a bulk run, which readers may pass over."""
        return self.facts > BULK_FACTS

    @property
    def first_version(self) -> int:
        """The stream's version after the first of the facts."""
        return self.version - self.facts + 1


@dataclass(frozen=True, slots=True)
class Event:
    """One fact as it is stored; `data` is the exact JSON text."""

    append: Append
    place: int
    subject: str | None
    type: str
    schema_version: int
    data: str
    occurred_at: datetime

    @property
    def position(self) -> int | None:
        """Its place among all events, from 1; None until the sequencer has come by."""
        return None if self.append.position is None else self.append.position + self.place

    @property
    def event_id(self) -> UUID:
        """The id under which everybody knows it."""
        return nth_id(self.append.event_id, self.place)

    @property
    def stream(self) -> str:
        """The stream it belongs to."""
        return self.append.stream

    @property
    def stream_version(self) -> int:
        """Its place in the stream, from 1."""
        return self.append.first_version + self.place

    @property
    def metadata(self) -> Metadata:
        """Who caused it."""
        return self.append.metadata

    @property
    def recorded_at(self) -> datetime:
        """When the transaction that wrote it began."""
        return self.append.recorded_at


@dataclass(frozen=True, slots=True)
class Page:
    """Events in the order of their positions, and the position up to which everything asked for is among them."""

    events: list[Event]
    position: int


@dataclass(frozen=True, slots=True)
class Part:
    """Some neighbouring facts of an append: `facts` of them, from place `skip` on."""

    append: Append
    skip: int
    facts: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Insertion numbers without a foreign one between them, and the times at which they were recorded."""

    first: int
    last: int
    earliest: datetime
    latest: datetime


def nth_id(first: UUID, place: int) -> UUID:
    """The id of the fact at a place of an append whose first fact has this id."""
    return UUID(int=first.int + place) if place else first


def append_id(event_id: UUID) -> UUID:
    """The id of the append of several facts to which this fact belongs, if it does."""
    return UUID(int=event_id.int & ~PLACES)


def intervals(parts: Iterable[Part]) -> list[Interval]:
    """The numbers to read for these parts, neighbours joined: a page of single appends is then one range."""
    joined: list[Interval] = []
    open_end = False
    for part in sorted(parts, key=lambda part: part.append.number):
        append, first = part.append, part.append.number + part.skip
        last = first + part.facts - 1
        before = joined[-1] if joined else None
        if (
            before is not None
            and open_end
            and part.skip == 0
            and (before.last >> PLACE_BITS) + 1 == first >> PLACE_BITS
        ):
            times = (before.earliest, before.latest, append.recorded_at)
            joined[-1] = Interval(before.first, last, min(times), max(times))
        else:
            joined.append(Interval(first, last, append.recorded_at, append.recorded_at))
        open_end = part.skip + part.facts == append.facts
    return joined
