"""Option chains, expiries and references relative to today."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.search.conditions import Bools
from instrument_registry.catalog.search.dates import MONTHLY, WEEKLY
from instrument_registry.catalog.search.shelf import name_in_key
from instrument_registry.catalog.search.view import View
from instrument_registry.catalog.search.words import compact, upper

Rows = npt.NDArray[np.int32]
Contracts = Literal["options", "futures"]

RELATIVE = re.compile(
    r"(?P<venue>[A-Z0-9]+):(?P<name>[^;]+);(?:F;(?P<future>@[A-Z0-9]+)|(?P<option>@[A-Z0-9]+);(?P<strike>[\d.]+);(?P<side>[CP])E?)"
)
REFERENCE = re.compile(r"(?P<cycle>WEEKLY|MONTHLY|NEAREST)?(?P<nth>\d{1,3})?")


class Expiry(NamedTuple):
    """A day on which contracts of a chain end."""

    day: date
    cycle: str  # monthly: the last of its month in this chain


class Strike(NamedTuple):
    """One strike with the rows of its two sides."""

    price: Decimal
    call: int | None
    put: int | None


@dataclass(frozen=True, slots=True)
class Chain:
    """The options of one underlying, venue and expiry, by strike."""

    underlying: str
    venue: str
    expiry: Expiry
    strikes: tuple[Strike, ...]

    @property
    def interval(self) -> Decimal | None:
        """The usual step between strikes."""
        steps = Counter(high.price - low.price for low, high in zip(self.strikes, self.strikes[1:], strict=False))
        return min(steps, key=lambda step: (-steps[step], step)) if steps else None

    @property
    def one_sided(self) -> tuple[Strike, ...]:
        """The strikes without a call or without a put."""
        return tuple(strike for strike in self.strikes if strike.call is None or strike.put is None)

    def at_the_money(self, price: Decimal) -> Strike:
        """The strike nearest to a price, the lower of two."""
        return min(self.strikes, key=lambda strike: (abs(strike.price - price), strike.price))


def expiries(view: View, underlying: str, *, venue: str | None = None, of: Contracts = "options") -> list[Expiry]:
    """The live expiries of an underlying on one venue, nearest first; without a venue on its first one."""
    return _expiries(view, _contracts(view, underlying, venue=venue, of=of))


def chain(view: View, underlying: str, expiry: date | str, *, venue: str | None = None) -> Chain | None:
    """The chain of an expiry given as a date, `nearest`, `weekly` or `monthly`; None if there is none."""
    rows = _contracts(view, underlying, venue=venue, of="options")
    days = _expiries(view, rows)
    if isinstance(expiry, date):
        days = [day for day in days if day.day == expiry]
    elif expiry in (WEEKLY, MONTHLY):
        days = [day for day in days if day.cycle == expiry]
    if not days:
        return None
    cohorts, columns = view.cohorts, view.columns
    rows = rows[cohorts.expiry[columns.cohort[rows]] == days[0].day.toordinal()]
    side = cohorts.option_type[columns.cohort[rows]]
    call = view.shelf.book.option_types.find("C")
    sides: dict[float, list[int | None]] = {}
    for row, strike, is_call in zip(rows.tolist(), columns.strike[rows].tolist(), (side == call).tolist(), strict=True):
        sides.setdefault(strike, [None, None])[not is_call] = row
    strikes = [Strike(exact(price), *sides[price]) for price in sorted(sides)]
    first = columns.cohort.item(rows[0])
    names, venues = view.shelf.book.names.texts, view.shelf.book.venues.texts
    return Chain(names[columns.name.item(rows[0])], venues[cohorts.venue.item(first)], days[0], tuple(strikes))


def relative(view: View, text: str) -> int | None:
    """The row of a key whose expiry is relative to today: NFO:NIFTY;F;@1, NFO:NIFTY;@WEEKLY;24500;C."""
    match = RELATIVE.fullmatch(text)
    if match is None:
        return None
    reference = REFERENCE.fullmatch((match["future"] or match["option"])[1:])
    if reference is None:
        return None
    name = name_in_key(f":{match['name']}")
    rows = _contracts(view, name, venue=match["venue"], of="futures" if match["future"] else "options")
    cycle = (reference["cycle"] or "").lower()
    days = [day for day in _expiries(view, rows) if cycle in ("", "nearest", day.cycle)]
    nth = int(reference["nth"] or 1)
    if not 1 <= nth <= len(days):
        return None
    cohort = view.columns.cohort[rows]
    fits = view.cohorts.expiry[cohort] == days[nth - 1].day.toordinal()
    if match["option"]:
        side = view.shelf.book.option_types.find(match["side"])
        fits &= (view.cohorts.option_type[cohort] == side) & (view.columns.strike[rows] == float(match["strike"]))
    found = rows[fits]
    return found.item(0) if len(found) else None


def exact(price: float) -> Decimal:
    """A strike as the plain decimal it was read from."""
    return Decimal(repr(price)).normalize() + 0


def _contracts(view: View, underlying: str, *, venue: str | None, of: Contracts) -> Rows:
    """The live contracts of one underlying on one venue, in standing order."""
    cohorts, standing = view.cohorts, view.standing
    names = view.names.spelt(compact(upper(underlying)))
    rows = view.of_names(np.array(names, np.int32), start=standing.first, end=standing.live)
    wanted: Bools = cohorts.derivative & ((cohorts.option_type != 0) == (of == "options"))
    if venue is not None:
        wanted &= cohorts.venue == view.shelf.book.venues.find(venue)
    rows = view.sorted(rows[wanted[view.columns.cohort[rows]]])
    if not len(rows):
        return rows
    venues = cohorts.venue[view.columns.cohort[rows]]
    names_ = view.columns.name[rows]
    best: Rows = rows[(venues == venues[0]) & (names_ == names_[0])]
    return best


def _expiries(view: View, rows: Rows) -> list[Expiry]:
    cohorts = np.unique(view.columns.cohort[rows])
    days = dict(zip(view.cohorts.expiry[cohorts].tolist(), view.standing.monthly[cohorts].tolist(), strict=True))
    return [Expiry(date.fromordinal(day), MONTHLY if days[day] else WEEKLY) for day in sorted(days)]
