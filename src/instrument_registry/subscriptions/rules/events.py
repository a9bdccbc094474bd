"""What is told about rules and about the prices they follow."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events.model import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRebalanced(Fact):
    """A rule brings other instruments than before: the price moved, contracts ended, or the catalogue has others."""

    type: ClassVar[str] = "chain.rebalance"

    source: str
    owner: str
    user_id: str
    rule: int
    underlying: str | None
    why: str  # rule, price, expiry or listing
    added: int
    removed: int
    instruments: int
    centre_before: str | None
    centre: str | None
    price: str | None
    truncated: bool

    @property
    def subject(self) -> str:
        """Whose rule it is."""
        return f"demand:{self.source}:{self.owner}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceFact(Fact):
    """Whether the price of an underlying is followed."""

    type: ClassVar[str] = "reference_price.changed"

    underlying: str
    price: str
    believed: str | None

    @property
    def subject(self) -> str:
        """The underlying."""
        return f"underlying:{self.underlying}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePriceRefused(PriceFact):
    """A price too far from the one before, or none at all: the ladders on it stay where they are."""

    type: ClassVar[str] = "reference_price.refused"

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePriceBelieved(PriceFact):
    """After a refused price there is one that is believed, or somebody confirmed it: the ladders follow again."""

    type: ClassVar[str] = "reference_price.believed"

    confirmed: bool


STREAM_OF_PRICES = "reference-prices"
STREAM_OF_WORKER = "chains"
