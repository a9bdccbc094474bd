"""The facts told about consumers and their dead letters. Events that fail tell none: each could fail again."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events.model import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerFact(Fact):
    """Something happened to one consumer."""

    type: ClassVar[str] = "consumer.changed"

    consumer_id: str

    @property
    def subject(self) -> str | None:
        """The consumer's name."""
        return self.consumer_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which events a consumer asks for."""

    event_types: list[str]
    bulk: bool
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerCreated(ConsumerFact):
    """Somebody began to follow the log under a name; the first event is the one after `position`."""

    type: ClassVar[str] = "consumer.created"

    position: int
    new: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerFilterChanged(ConsumerFact):
    """A consumer asks for other events from now on."""

    type: ClassVar[str] = "consumer.filter_changed"

    old: Choice
    new: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSought(ConsumerFact):
    """An operator moved a consumer: everything up to the position `new` counts as settled, nothing after it does."""

    type: ClassVar[str] = "consumer.sought"

    old: int
    new: int
    forgotten: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerRemoved(ConsumerFact):
    """An operator removed a consumer, which had settled everything up to the position `old`."""

    type: ClassVar[str] = "consumer.removed"

    old: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSilent(ConsumerFact):
    """A consumer has neither asked nor acknowledged for days."""

    type: ClassVar[str] = "consumer.silent"

    seen_at: str
    lag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFact(Fact):
    """An operator decided about dead letters."""

    type: ClassVar[str] = "dead_letter.decided"

    dead_letters: list[int]
    consumers: list[str]
    reason: str

    @property
    def subject(self) -> str | None:
        """The consumer, where it is one."""
        return self.consumers[0] if len(self.consumers) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterReplayed(DeadLetterFact):
    """An operator let consumers have another try at events they had given up."""

    type: ClassVar[str] = "dead_letter.replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterDiscarded(DeadLetterFact):
    """An operator gave up events for good."""

    type: ClassVar[str] = "dead_letter.discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterExpired(Fact):
    """Dead letters that nobody looked after within the time they are kept."""

    type: ClassVar[str] = "dead_letter.expired"

    count: int
    first_id: int
    last_id: int
    by_consumer: dict[str, int]


def stream_of(consumer_id: str) -> str:
    """Where the facts about a consumer are told."""
    return f"consumer-{consumer_id}"


DEAD_LETTERS = "dead_letters"  # where the facts about those are told
