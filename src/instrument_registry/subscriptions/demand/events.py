"""What is told about demands: one fact a change, with counts and the first of the instruments."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events.model import Fact

LISTED_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandFact(Fact):
    """Somebody's wants are other ones."""

    type: ClassVar[str] = "subscription.changed"

    source: str
    owner: str
    user_id: str

    @property
    def subject(self) -> str:
        """Whose wants they are."""
        return f"demand:{self.source}:{self.owner}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionWanted(DemandFact):
    """Somebody wants live data of more instruments, or wants some of them in another way."""

    type: ClassVar[str] = "subscription.wanted"

    added: int
    changed: int
    instruments: list[str]  # the first of both


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionReleased(DemandFact):
    """Somebody wants no live data of some instruments any more; others may still want them."""

    type: ClassVar[str] = "subscription.released"

    released: int
    instruments: list[str]  # the first of them
    expired: bool  # not by anybody's doing: the wants had an end


def stream_of(source: str, owner: str) -> str:
    """Where the facts about one owner's wants are told."""
    return f"demand:{source}:{owner}"
