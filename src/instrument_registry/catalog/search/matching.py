"""Which rows answer a query, and why: the first reading that fits something decides."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.search.conditions import both, cohort_mask, kept, reading_mask
from instrument_registry.catalog.search.names import Found, Names, Tier, Wanted
from instrument_registry.catalog.search.query import NO_FILTERS, Filters
from instrument_registry.catalog.search.reading import Reading
from instrument_registry.catalog.search.view import View

Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]
Ask = Callable[[list[str], Wanted], Iterable[Found]]
SPELT = frozenset({Tier.EXACT, Tier.TYPO, Tier.FAR_TYPO})  # names as a whole, not what they begin with


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that answer in the same way."""

    tier: Tier
    why: str
    rows: Rows
    ordered: bool = False  # whether the rows stand in standing order already


@dataclass(frozen=True, slots=True)
class Matcher:
    """Finds the rows of one view under one set of filters."""

    view: View
    filters: Filters
    mask: Bools | None
    hidden_too: bool
    for_contracts: bool

    @classmethod
    def of(cls, view: View, filters: Filters) -> "Matcher":
        """A matcher with its filters prepared."""
        if filters == NO_FILTERS:
            return cls(view, filters, None, hidden_too=False, for_contracts=False)
        return cls(view, filters, cohort_mask(view, filters), filters.hidden_too, filters.for_contracts)

    def everything(self) -> list[Group]:
        """Every row the filters let through."""
        return self._anything("filters", self.mask)

    def match(self, readings: Iterable[Reading]) -> list[Group]:
        """The rows of the first reading that fits anything."""
        tried: list[Reading] = []
        plainly, loosely = self._names.find_plainly, self._names.find_loosely
        for reading in readings:
            tried.append(reading)
            if groups := self._groups(reading, plainly):
                return groups
        for reading in tried:
            if reading.words and reading.derivative and (groups := self._nearest(reading, plainly)):
                return groups
        for reading in tried:
            if reading.words and (groups := self._groups(reading, loosely)):
                return groups
        for reading in tried:
            if reading.words and reading.derivative and (groups := self._nearest(reading, loosely)):
                return groups
        return []

    @property
    def _names(self) -> Names:
        return self.view.history if self.hidden_too else self.view.names

    def _groups(self, reading: Reading, ask: Ask) -> list[Group]:
        if reading.derivative or self.for_contracts:
            return self._contracts(reading, ask)
        return self._cash(reading, ask)

    def _cash(self, reading: Reading, ask: Ask) -> list[Group]:
        standing = self.view.standing
        if not reading.words:
            return self._anything("filters", both(self.mask, reading_mask(self.view, reading)))
        groups: list[Group] = []

        def wanted(tier: Tier) -> bool:
            return not reading.exact or tier <= Tier.EXACT

        for found in self._once(ask(list(reading.words), wanted)):
            if not wanted(found.tier):
                break
            rows = self.view.of_names(found.names, start=standing.first, end=standing.front)
            groups.append(Group(found.tier, found.why, self._kept(rows, reading)))
            if self.hidden_too:
                rows = self.view.of_names(found.names, start=standing.live, end=standing.last)
                groups.append(Group(found.tier, found.why, self._kept(rows, reading)))
            if found.tier is Tier.EXACT:
                rows = self._kept(self.view.of_names(found.names, start=standing.front, end=standing.live), reading)
                option = self.view.cohorts.option_type[self.view.columns.cohort[rows]] != 0
                groups.append(Group(Tier.CONTRACT, f"contract on {found.why}", rows[~option]))
                groups.append(Group(Tier.CHAIN, f"contract on {found.why}", rows[option]))
        return [group for group in groups if len(group.rows)]

    def _contracts(self, reading: Reading, ask: Ask) -> list[Group]:
        standing = self.view.standing
        end = standing.last if self.hidden_too else standing.live
        mask = both(
            self.mask, reading_mask(self.view, reading if reading.derivative else reading._replace(contract="D"))
        )
        if not reading.words:
            return self._anything("contract", mask, reading)
        groups: list[Group] = []
        best = Tier.EXACT if reading.exact else Tier.LOOSE

        def wanted(tier: Tier) -> bool:
            return tier <= best

        for found in self._written_on(ask(list(reading.words), wanted)):
            if not wanted(found.tier):
                break
            rows = self._strike(self.view.of_names(found.names, start=standing.first, end=end), reading, mask)
            if len(rows) or found.tier is Tier.EXACT:
                best = found.tier
            if len(rows):
                why = f"contract on {found.why}"
                groups.append(Group(found.tier, why, rows, ordered=len(found.names) == 1))
        return groups

    def _anything(self, why: str, mask: Bools | None, reading: Reading | None = None) -> list[Group]:
        """Rows of whatever name."""
        view = self.view
        if self.hidden_too:
            rows = kept(view, view.standing.order, mask=mask, filters=self.filters)
        elif reading and reading.strike is not None:
            rows = np.flatnonzero(view.columns.strike == reading.strike).astype(np.int32)
            place = view.standing.place[rows]
            rows = view.sorted(rows[(place >= 0) & (place < view.standing.shown)])
            rows = kept(view, rows, mask=mask, filters=self.filters)
        else:
            rows = view.shown if mask is None else view.shown[mask[view.shown_cohorts]]
            rows = kept(view, rows, mask=None, filters=self.filters)
        if reading and reading.nth and len(rows):
            rows = self._nth(rows, reading.nth)
        return [Group(Tier.EXACT, why, rows, ordered=True)] if len(rows) else []

    def _strike(self, rows: Rows, reading: Reading, mask: Bools | None) -> Rows:
        rows = kept(self.view, rows, mask=mask, filters=self.filters, strike=reading.strike)
        return self._nth(rows, reading.nth) if reading.nth and len(rows) else rows

    def _nth(self, rows: Rows, nth: int) -> Rows:
        """The rows of the nth expiry of the first row's chain."""
        columns, cohorts = self.view.columns, self.view.cohorts
        first = rows[np.argmin(self.view.standing.place[rows])]
        cohort = columns.cohort[rows]
        venue, expiry = cohorts.venue[cohort], cohorts.expiry[cohort]
        same = (columns.name[rows] == columns.name[first]) & (venue == cohorts.venue[columns.cohort[first]])
        expiries = np.unique(expiry[same])
        if nth > len(expiries):
            return rows[:0]
        wanted: Rows = rows[same & (expiry == expiries[nth - 1 if nth > 0 else nth])]
        return wanted

    def _nearest(self, reading: Reading, ask: Ask) -> list[Group]:
        """The closest there is to a contract that does not exist, of a name that does."""
        view, standing = self.view, self.view.standing
        for found in self._written_on(ask(list(reading.words), SPELT.__contains__)):
            if found.tier not in SPELT:
                continue
            rows = view.of_names(found.names, start=standing.first, end=standing.live)
            undated = reading._replace(
                year=0, month=0, day=0, cycle="", nth=0, within=None, contract=reading.contract or "D"
            )
            for relaxed in (reading, undated):
                fitting = self._kept(rows, relaxed)
                if reading.strike is not None and len(fitting):
                    away = np.abs(view.columns.strike[fitting] - reading.strike)
                    fitting = fitting[away == np.nanmin(away)] if not np.isnan(away).all() else fitting
                if len(fitting):
                    return [Group(Tier.LOOSE, f"no such contract, the nearest on {found.why}", fitting)]
        return []

    def _kept(self, rows: Rows, reading: Reading) -> Rows:
        return kept(self.view, rows, mask=both(self.mask, reading_mask(self.view, reading)), filters=self.filters)

    def _written_on(self, found: Iterable[Found]) -> Iterator[Found]:
        has_contracts = self.view.has_contracts
        for tier, why, names in self._once(found):
            written = names if self.hidden_too else names[has_contracts[names]]
            if len(written):
                yield Found(tier, why, written)

    def _once(self, found: Iterable[Found]) -> Iterator[Found]:
        """Each name only in the best way it fits."""
        seen = bytearray(len(self.view.standing.first))
        marks = np.frombuffer(seen, np.bool_)
        for tier, why, names in found:
            if len(names) == 1:
                name = names.item()
                fresh = names if not seen[name] else names[:0]
                seen[name] = 1
            else:
                fresh = np.unique(names[~marks[names]])
                marks[fresh] = True
            if len(fresh):
                yield Found(tier, why, fresh)
