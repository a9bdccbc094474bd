"""One consistent state of the index: what every reader of one moment sees."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.model import Status
from instrument_registry.catalog.search.aliases import Alias
from instrument_registry.catalog.search.cohorts import CohortColumns
from instrument_registry.catalog.search.exact import Buckets
from instrument_registry.catalog.search.names import Entry, Names, NameSet
from instrument_registry.catalog.search.ranking import SHOWN, Standing
from instrument_registry.catalog.search.shelf import Columns, Exact, Shelf
from instrument_registry.catalog.search.words import upper

Rows = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
EPOCH_YEAR, EPOCH = 1970, date(1970, 1, 1).toordinal()
MINOR_KINDS = ("bond", "gsec", "sdl", "tbill")
CYCLES = (b"", b',"cycle":"weekly"', b',"cycle":"monthly"')


@dataclass(frozen=True, kw_only=True)
class View:
    """The rows, their order and their names as of one market date and catalogue position."""

    shelf: Shelf
    columns: Columns
    present: Bools
    exact: Exact
    by_id: Buckets
    cohorts: CohortColumns
    standing: Standing
    names: Names
    as_of: date
    position: int

    @cached_property
    def status(self) -> npt.NDArray[np.uint8]:
        """The status of each cohort as of the day: an expiry that has passed counts before anybody told."""
        cohorts, book = self.cohorts, self.shelf.book
        past = (cohorts.expiry != 0) & (cohorts.expiry < self.as_of.toordinal())
        past &= np.isin(cohorts.status, [book.statuses.find(status) for status in SHOWN])
        return np.where(past, book.statuses.add(Status.EXPIRED), cohorts.status).astype(np.uint8)

    @cached_property
    def shown_status(self) -> Bools:
        """The cohorts shown by default but for being test rows."""
        book = self.shelf.book
        return np.isin(self.status, [book.statuses.find(status) for status in SHOWN])

    @cached_property
    def calendar(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8], npt.NDArray[np.int8]]:
        """Year, month and day of each cohort's expiry."""
        days = (self.cohorts.expiry - EPOCH).astype("datetime64[D]")
        months = days.astype("datetime64[M]")
        year = days.astype("datetime64[Y]").astype(np.int32) + EPOCH_YEAR
        month = (months.astype(np.int32) % 12 + 1).astype(np.int8)
        return year, month, ((days - months).astype(np.int32) + 1).astype(np.int8)

    @cached_property
    def masks(self) -> dict[object, Bools | None]:
        """The cohorts that readings ask for, by what decides them, as far as they have been worked out."""
        return {}

    @cached_property
    def shown(self) -> Rows:
        """The rows shown by default, in standing order."""
        return self.standing.order[: self.standing.shown]

    @cached_property
    def shown_cohorts(self) -> Rows:
        """The cohort of each row shown by default."""
        return self.columns.cohort[self.shown]

    @cached_property
    def has_contracts(self) -> Bools:
        """Of each name, whether live contracts are written on it."""
        found = np.zeros(len(self.standing.first), np.bool_)
        contracts = self.shown[self.cohorts.derivative[self.shown_cohorts]]
        found[self.columns.name[contracts]] = True
        return found

    @cached_property
    def cycles(self) -> list[bytes]:
        """Of each cohort the JSON member that says which cycle its contracts belong to, if they are shown."""
        live = np.bincount(self.shown_cohorts, minlength=len(self.cohorts)) > 0
        numbers = np.where(live & self.cohorts.derivative, 1 + self.standing.monthly, 0)
        return [CYCLES[number] for number in numbers.tolist()]

    @cached_property
    def history(self) -> Names:
        """The names that only rows hidden by default bear, beside the others."""
        standing = self.standing
        hidden = np.flatnonzero((standing.live == standing.first) & (standing.last > standing.first))
        return self.names.with_set(NameSet(entries(self, hidden.tolist(), aliases={}, hidden=True)))

    @cached_property
    def digest(self) -> int:
        """The sum of the hashes of all present rows modulo 2^64."""
        return int(self.columns.digest[self.present].sum(dtype=np.uint64))

    def named(self, text: str) -> bool:
        """Whether a compact text is the whole name, symbol or alias of something."""
        return self.names.named(text)

    def tradable(self, text: str) -> bool:
        """Whether contracts are written on what has this symbol or alias."""
        has_contracts = self.has_contracts
        return any(has_contracts[name] for name in self.names.spelt(text))

    def fragment(self, row: int) -> bytes:
        """A row's JSON object without the closing brace."""
        return self.shelf.text(self.columns, row) + self.shared(self.columns.cohort.item(row))

    def shared(self, cohort: int) -> bytes:
        """What the JSON objects of a cohort end with, without the closing brace."""
        return self.shelf.book.endings[cohort] + self.cycles[cohort]

    def of_names(
        self, names: npt.NDArray[np.int32], *, start: npt.NDArray[np.int32], end: npt.NDArray[np.int32]
    ) -> Rows:
        """The rows of names between two of the standing's marks."""
        standing = self.standing
        if len(names) == 1:
            name = names.item()
            some: Rows = standing.by_name[start.item(name) : end.item(name)]
            return some
        first = start[names].astype(np.int64)
        counts = end[names] - start[names]
        offsets = np.cumsum(counts)
        within = np.arange(offsets[-1] if len(offsets) else 0)
        rows: Rows = standing.by_name[within + np.repeat(first - offsets + counts, counts)]
        return rows

    def sorted(self, rows: Rows) -> Rows:
        """Rows in standing order."""
        return rows[np.argsort(self.standing.place[rows])] if len(rows) > 1 else rows


def entries(
    view: View, names: Iterable[int], *, aliases: Mapping[int, tuple[str, ...]], hidden: bool = False
) -> list[Entry]:
    """What each name is spelt like, from the rows that bear it."""
    standing, book, cohorts = view.standing, view.shelf.book, view.cohorts
    ends = standing.last if hidden else standing.live
    minor = np.isin(cohorts.kind, [book.kinds.find(kind) for kind in MINOR_KINDS]).tolist()
    derivative = cohorts.derivative.tolist()
    cohort = view.columns.cohort
    found = []
    for name in names:
        rows = standing.by_name[standing.first.item(name) : ends.item(name)].tolist()
        if not rows:
            continue
        titles: dict[str, None] = {}
        debt = True
        for row in rows:
            number = cohort.item(row)
            debt = debt and minor[number]
            if derivative[number]:
                break  # contracts stand behind all cash rows, and are called like what they are written on
            for title in view.shelf.titles(view.columns, row):
                titles[upper(title)] = None
        found.append(Entry(name, book.names.texts[name], tuple(titles), aliases.get(name, ()), debt))
    return found


def live_aliases(view: View, aliases: Iterable[Alias]) -> dict[int, tuple[str, ...]]:
    """The aliases of each name: of several targets of one alias the first that is live has it."""
    standing, find = view.standing, view.shelf.book.names.find
    found: defaultdict[int, list[str]] = defaultdict(list)
    for alias in aliases:
        for name in map(find, alias.targets):
            if 0 <= name < len(standing.first) and standing.live[name] > standing.first[name]:
                found[name].append(upper(alias.text))
                break
    return {name: tuple(texts) for name, texts in found.items()}
