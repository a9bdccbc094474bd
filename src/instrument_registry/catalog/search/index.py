"""The search index of one process: rows in, answers out, never the truth."""

import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import date

import numpy as np

from instrument_registry.catalog.search.aliases import Alias
from instrument_registry.catalog.search.answers import NEVER, answer
from instrument_registry.catalog.search.exact import Buckets
from instrument_registry.catalog.search.names import Names, NameSet
from instrument_registry.catalog.search.query import Page, Query
from instrument_registry.catalog.search.ranking import prominent_names, stand
from instrument_registry.catalog.search.rows import IndexRow
from instrument_registry.catalog.search.shelf import Columns, Exact, Shelf, gathered, joined
from instrument_registry.catalog.search.view import Bools, View, entries, live_aliases

WASTE_SHARE = 0.3  # of dead rows, from which the index is copied without them
FOLD_SHARE = 0.1  # of changed names, from which all names are gathered anew


class Index:
    """Answers from the newest view; a change makes a new view and disturbs nobody who still reads the old one."""

    def __init__(
        self, rows: Iterable[IndexRow], as_of: date, *, position: int = 0, aliases: Iterable[Alias] = ()
    ) -> None:
        self._aliases = tuple(aliases)
        self._prominence = prominent_names()
        self._writing = threading.Lock()
        self.view: View
        shelf = Shelf()
        columns, exact = shelf.add(rows, first=0)
        by_id = Buckets.of(columns.id, range(len(columns)))
        present = np.ones(len(columns), np.bool_)
        view = self._standing(shelf, columns, exact, by_id, present=present, as_of=as_of, position=position)
        self._gather(view)

    @classmethod
    def build(
        cls, rows: Iterable[IndexRow], as_of: date, *, position: int = 0, aliases: Iterable[Alias] = ()
    ) -> "Index":
        """An index of rows as of a market date, at a position of the catalogue."""
        return cls(rows, as_of, position=position, aliases=aliases)

    def search(self, query: Query, *, until: float = NEVER) -> Page:
        """The answers to a query, given up at an instant of the performance counter.

        Raises:
            InvalidQuery: the cursor is not one of this query.
            SearchTookTooLong: the instant has come.
        """
        return answer(self.view, query, until=until)

    def apply(
        self,
        changed: Iterable[IndexRow] = (),
        removed: Iterable[int] = (),
        *,
        position: int | None = None,
        as_of: date | None = None,
        aliases: Iterable[Alias] | None = None,
    ) -> None:
        """Take over new and changed rows, forget removed ids, move on to another market date or list of aliases.

        Readers see all of it at once, when it is done; it may run in a thread of its own.
        """
        with self._writing:
            old = self.view
            fresh, fresh_exact = old.shelf.add(changed, first=len(old.columns))
            dead = self._rows_of(old, [*fresh.id.tolist(), *removed])
            if aliases is not None:
                self._aliases = tuple(aliases)
            elif not len(fresh) and not dead and as_of is None:
                self.view = old if position is None else replace(old, position=position)
                return
            columns = joined([old.columns, fresh]) if len(fresh) else old.columns
            exact = gathered([old.exact, fresh_exact]) if len(fresh) else old.exact
            present = np.concatenate([old.present, np.ones(len(fresh), np.bool_)])
            present[dead] = False
            shelf = old.shelf
            if present.sum() < (1 - WASTE_SHARE) * len(present):
                shelf, columns, exact = shelf.without_waste(columns, exact, present=present)
                present = np.ones(len(columns), np.bool_)
            by_id = old.by_id if columns is old.columns else Buckets.of(columns.id, range(len(columns)))
            view = self._standing(
                shelf,
                columns,
                exact,
                by_id,
                present=present,
                as_of=as_of or old.as_of,
                position=old.position if position is None else position,
            )
            changed_names = set(old.columns.name[dead].tolist()) | set(fresh.name.tolist())
            self._rename(view, changed_names | self._came_or_went(old, view))

    def _standing(
        self,
        shelf: Shelf,
        columns: Columns,
        exact: Exact,
        by_id: Buckets,
        *,
        present: Bools,
        as_of: date,
        position: int,
    ) -> View:
        standing = stand(columns, shelf.book, present=present, as_of=as_of.toordinal(), prominence=self._prominence)
        return View(
            shelf=shelf,
            columns=columns,
            present=present,
            exact=exact,
            by_id=by_id,
            cohorts=shelf.book.columns(),
            standing=standing,
            names=Names((), size=0),
            as_of=as_of,
            position=position,
        )

    def _gather(self, view: View) -> None:
        """Read the names of all rows anew and show the view."""
        size = len(view.standing.first)
        self._live_aliases = live_aliases(view, self._aliases)
        self._base = NameSet(entries(view, range(1, size), aliases=self._live_aliases))
        self._changed: set[int] = set()
        self.view = replace(view, names=Names((self._base,), size=size))

    def _rename(self, view: View, names: set[int]) -> None:
        """Read the names of some rows anew and show the view."""
        before, self._live_aliases = self._live_aliases, live_aliases(view, self._aliases)
        either = before.keys() | self._live_aliases.keys()
        self._changed |= names | {name for name in either if before.get(name) != self._live_aliases.get(name)}
        size = len(view.standing.first)
        if len(self._changed) > FOLD_SHARE * size:
            self._gather(view)
            return
        stale = np.zeros(size, np.bool_)
        stale[list(self._changed)] = True
        changed = NameSet(entries(view, sorted(self._changed), aliases=self._live_aliases))
        self.view = replace(view, names=Names((self._base, changed), size=size, stale=stale))

    @staticmethod
    def _rows_of(view: View, ids: list[int]) -> list[int]:
        first, last = view.by_id.spans(np.array(ids, np.int64))
        rows = view.by_id.rows
        return [
            row
            for low, high in zip(first, last, strict=True)
            for row in rows[low:high].tolist()
            if view.present.item(row)
        ]

    @staticmethod
    def _came_or_went(old: View, new: View) -> set[int]:
        """The names of which more or fewer rows are shown than before, if only because the day has changed."""
        before, after = (view.standing.live - view.standing.first for view in (old, new))
        longer = np.zeros(len(after), np.int32)
        longer[: len(before)] = before
        return set(np.flatnonzero(longer != after).tolist())
