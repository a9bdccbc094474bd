"""What is told about feeds that fall silent."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact

NAMED_MAX = 1_000  # instruments that one fact names; `count` counts all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfFeed(Fact):
    audited: ClassVar[bool] = False

    account: str
    count: int
    instruments: list[str]

    @property
    def subject(self) -> str:
        """The account."""
        return self.account


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSilent(_OfFeed):
    """Instruments that an account carries did not tick for so long, although their markets are open."""

    type: ClassVar[str] = "feed.silent"

    after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedHeard(_OfFeed):
    """Instruments that were silent tick again."""

    type: ClassVar[str] = "feed.heard"
