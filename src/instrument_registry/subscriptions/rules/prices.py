"""What underlyings cost: which prices are believed; no I/O."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from instrument_registry.subscriptions.ladders import Frozen, Ladder, Price

PRICES_MAX = 1_000  # told at once
PRICE_MAX = Decimal(10) ** 9
AGE_MAX: timedelta = Ladder(around=0, expiries=1).price_age_max
JUMP_MAX: Decimal = Ladder(around=0, expiries=1).jump_max
AHEAD_MAX = timedelta(seconds=60)  # clocks differ a little


class PriceVerdict(StrEnum):
    """What came of a price that was told."""

    TAKEN = "taken"
    OLDER = "older"  # than the one that is known: nothing changes
    STALE = "stale"  # older than anybody should trade by
    IMPLAUSIBLE = "implausible"  # none at all, of the future, or too far from the one before: its ladders stay
    UNKNOWN = "unknown"  # there is no such underlying


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of an underlying: the last price that was believed, and one that was refused since."""

    price: Price | None = None
    refused: Price | None = None
    refused_as: Frozen | None = None

    def frozen(self, *, now: datetime) -> Frozen | None:
        """What keeps ladders from following it at an instant."""
        if self.refused_as is not None:
            return self.refused_as
        if self.price is None:
            return Frozen.NO_PRICE
        return Frozen.STALE if now - self.price.at > AGE_MAX else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A price as somebody told it; a confirmed one is believed however far it is from the one before."""

    price: Price
    confirmed: bool = False


def judged(known: Known, told: Told, *, now: datetime) -> tuple[PriceVerdict, Known]:
    """Whether a price is believed, and what is known then."""
    price, before = told.price, known.price
    if now - price.at > AGE_MAX:
        return PriceVerdict.STALE, known
    if before is not None and price.at <= before.at and not told.confirmed:
        return PriceVerdict.OLDER, known
    if not believable(known, told, now=now):
        return PriceVerdict.IMPLAUSIBLE, replace(known, refused=price, refused_as=Frozen.IMPLAUSIBLE)
    return PriceVerdict.TAKEN, Known(price=replace(price, at=min(price.at, now)))


def believable(known: Known, told: Told, *, now: datetime) -> bool:
    """Whether a price can be true: a positive one, not of the future, near the one before unless confirmed."""
    price = told.price
    if not price.value.is_finite() or not 0 < price.value <= PRICE_MAX or price.at > now + AHEAD_MAX:
        return False
    if known.price is None or told.confirmed:
        return True
    return abs(price.value - known.price.value) <= JUMP_MAX * known.price.value
