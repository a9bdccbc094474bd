"""Consumers: who follows the log, how far they are, what they hold, and what they could not digest."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from instrument_registry.errors import Conflict, Invalid, NotFound
from instrument_registry.events.model import Event

CONSUMER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
CONSUMERS_MAX = 1_000
FILTERS_MAX = 100
BATCH_MAX = 1_000
# What a consumer has not settled, over all its processes: beyond this nothing new is handed out.
UNSETTLED_MAX = 5_000
REASON_CHARACTERS = 200
DETAIL_CHARACTERS = 1_000
LATER_TIMES = 5.0  # each wait before another attempt is so much longer than the one before

NEVER_ACKNOWLEDGED = "never acknowledged"


class NoSuchConsumer(NotFound):
    """List the consumers to see their names."""

    title = "There is no such consumer"


class ConsumerExists(Conflict):
    """Take another name, or use the one that is there."""

    title = "The consumer exists"


class TooManyConsumers(Conflict):
    """Remove some that nobody uses."""

    title = "There are too many consumers"


class NoSuchDeadLetter(NotFound):
    """List the dead letters of this type to see their ids."""

    title = "There is no such dead letter"


class OtherCount(Conflict):
    """Ask for the count again, then decide."""

    title = "Not as many dead letters as expected"


class BeyondTheEnd(Invalid):
    """Begin at a position that exists, or at the latest."""

    title = "The position does not exist yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events a consumer gets, and whether several of its processes share them."""

    event_types: tuple[str, ...] = ("*",)
    bulk: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody says about which events a consumer gets; what is None stays as it is."""

    event_types: tuple[str, ...] | None = None
    bulk: bool | None = None
    shared: bool | None = None

    def over(self, before: Wanted) -> Wanted:
        """What is wanted from now on."""
        return Wanted(
            event_types=before.event_types if self.event_types is None else self.event_types,
            bulk=before.bulk if self.bulk is None else self.bulk,
            shared=before.shared if self.shared is None else self.shared,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """Somebody who follows the log under a name."""

    consumer_id: str
    event_types: list[str]
    bulk: bool
    shared: bool
    reached: int
    generation: int
    created_at: datetime
    created_by: str
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A consumer and how it is doing; everything up to `position` is settled."""

    consumer: Consumer
    position: int
    lag: int
    held: int
    waiting: int
    dead_letters: int
    processes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The right of one process to be served for a consumer, until it is lost."""

    stream_id: UUID
    consumer_id: str
    process: str
    generation: int
    batch_size: int
    event_types: tuple[str, ...]
    bulk: bool
    reached: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """How often an event is handed out, and how long it rests in between."""

    attempts_max: int
    first_wait_seconds: float

    def wait_seconds(self, attempts: int) -> float:
        """How long to wait after so many attempts."""
        return self.first_wait_seconds * LATER_TIMES ** (attempts - 1)


@dataclass(frozen=True, slots=True)
class Handed:
    """An event on its way to a consumer, under the name it asked for."""

    event: Event
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Failed:
    """An event that a consumer could not digest, and why: the reason groups, the detail tells."""

    position: int
    reason: str
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """What came of an acknowledgement: positions that were not this consumer's to settle are told, not refused."""

    acknowledged: int
    retried: int
    dead: list[int]
    unread: int
    unknown: list[int]
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that a consumer gave up, with every failure that led to it."""

    id: int
    consumer_id: str
    position: int
    event_id: UUID
    event_type: str
    reason: str
    attempts: int
    failures: list[dict[str, object]]
    died_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """Which dead letters are meant; what is None is not asked for."""

    event_type: str | None = None
    consumer_id: str | None = None
    reason: str | None = None
    ids: Sequence[int] | None = None
    before: datetime | None = None


def check_consumer_id(consumer_id: str) -> None:
    """See that a name can be one; Raises: Invalid."""
    if not CONSUMER_ID.fullmatch(consumer_id):
        detail = "A consumer_id has 1 to 100 letters, digits, dots, colons, dashes or underscores, the first no mark"
        raise Invalid(detail, field="consumer_id", value=consumer_id[:100])


def check_reason(reason: str) -> str:
    """The reason without what surrounds it; Raises: Invalid when nothing is left."""
    said = reason.strip()
    if not said:
        raise Invalid("Say why: the reason is kept for whoever asks next year", field="reason", value=reason)
    return said
