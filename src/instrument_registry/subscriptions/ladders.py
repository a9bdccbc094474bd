"""Option ladders: so many strikes around the money, of so many expiries, that follow the price without fluttering."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

HALF = Decimal("0.5")
SIDES = ("C", "P")
FAR_STEPS = 2  # a price that is further away than this is followed at once


class Frozen(StrEnum):
    """Why a ladder stays where it is."""

    STALE = "stale"  # the price is too old
    IMPLAUSIBLE = "implausible"  # it is none, or too far from the one before
    NO_STRIKES = "no_strikes"
    NO_PRICE = "no_price"  # none was ever told


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What somebody wants: strikes on each side of the money, expiries, and how it follows.

    `hysteresis` is in strikes beyond the midpoint to the next one. A price older than `price_age_max` or further from
    the one before than `jump_max` (a share of it) is not believed.
    """

    around: int
    expiries: int
    hysteresis: Decimal = HALF
    interval: timedelta = timedelta(seconds=60)
    price_age_max: timedelta = timedelta(seconds=300)
    jump_max: Decimal = Decimal("0.2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an underlying costs, and when that was so."""

    value: Decimal
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a ladder stands: its middle strike, since when, by which price; and why it does not follow, if so."""

    centre: Decimal | None = None
    since: datetime | None = None
    price: Decimal | None = None
    frozen: Frozen | None = None


@dataclass(frozen=True, slots=True)
class Leg:
    """One option of a ladder."""

    expiry: date
    strike: Decimal
    side: str


@dataclass(frozen=True, slots=True)
class Legs:
    """The options of a ladder; `truncated` when the chain has fewer strikes than are wanted."""

    legs: tuple[Leg, ...]
    truncated: bool


def followed(
    ladder: Ladder, standing: Standing, price: Price, strikes: Sequence[Decimal], *, now: datetime
) -> Standing:
    """Where a ladder stands once a price is known; `strikes` ascend. A price that is not believed freezes it."""
    reason = _disbelief(ladder, standing, price, now=now)
    if reason is None and not strikes:
        reason = Frozen.NO_STRIKES
    if reason is not None:
        return replace(standing, frozen=reason)
    known = replace(standing, price=price.value, frozen=None)
    nearest = _nearest(strikes, price.value)
    if standing.centre is None or standing.since is None:
        return replace(known, centre=strikes[nearest], since=now)
    steps = _steps(ladder, standing.centre, price.value, strikes)
    if steps == 0 or (now - standing.since < ladder.interval and steps <= FAR_STEPS):
        return known
    return replace(known, centre=strikes[nearest], since=now)


def band(ladder: Ladder, centre: Decimal, strikes: Sequence[Decimal]) -> tuple[Decimal | None, Decimal | None]:
    """The lowest and the highest price at which a ladder stays; none where there is no strike to move to."""
    if not strikes:
        return None, None
    middle = _nearest(strikes, centre)
    below = strikes[middle] - strikes[middle - 1] if middle else None
    above = strikes[middle + 1] - strikes[middle] if middle + 1 < len(strikes) else None
    reach = HALF + ladder.hysteresis
    return (
        None if below is None else strikes[middle] - reach * below,
        None if above is None else strikes[middle] + reach * above,
    )


def legs(ladder: Ladder, centre: Decimal, chain: Mapping[date, Sequence[Decimal]]) -> Legs:
    """The options around a strike: of the nearest expiries, as many strikes on each side as there are."""
    found: list[Leg] = []
    nearest = sorted(chain)[: ladder.expiries]
    truncated = len(nearest) < ladder.expiries
    for expiry in nearest:
        strikes = sorted(chain[expiry])
        middle = _nearest(strikes, centre) if strikes else 0
        first, last = middle - ladder.around, middle + ladder.around
        truncated = truncated or first < 0 or last >= len(strikes)
        found += [Leg(expiry, strike, side) for strike in strikes[max(0, first) : last + 1] for side in SIDES]
    return Legs(tuple(found), truncated)


def _disbelief(ladder: Ladder, standing: Standing, price: Price, *, now: datetime) -> Frozen | None:
    if not price.value.is_finite() or price.value <= 0 or price.at > now + ladder.interval:
        return Frozen.IMPLAUSIBLE
    if now - price.at > ladder.price_age_max:
        return Frozen.STALE
    if standing.price is not None and abs(price.value - standing.price) > ladder.jump_max * standing.price:
        return Frozen.IMPLAUSIBLE
    return None


def _nearest(strikes: Sequence[Decimal], value: Decimal) -> int:
    """The place of the strike nearest to a value; of two that are as near, the lower."""
    place = bisect_left(strikes, value)
    if place == 0 or place == len(strikes):
        return min(place, len(strikes) - 1)
    return place if strikes[place] - value < value - strikes[place - 1] else place - 1


def _steps(ladder: Ladder, centre: Decimal, value: Decimal, strikes: Sequence[Decimal]) -> int:
    """By how many strikes a ladder is off; 0 while the price is not beyond the midpoint and the hysteresis."""
    middle, nearest = _nearest(strikes, centre), _nearest(strikes, value)
    beside = middle + 1 if value > strikes[middle] else middle - 1
    if nearest == middle or not 0 <= beside < len(strikes):
        return abs(nearest - middle)
    step = abs(strikes[beside] - strikes[middle])
    return abs(nearest - middle) if abs(value - strikes[middle]) > (HALF + ladder.hysteresis) * step else 0
