"""From matches to a page: order, cut, explain, count and print."""

import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

import msgspec
import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.search.facets import count_facets
from instrument_registry.catalog.search.identifiers import identified
from instrument_registry.catalog.search.matching import Group, Matcher
from instrument_registry.catalog.search.parser import plain, read
from instrument_registry.catalog.search.query import (
    Cursor,
    Hit,
    Page,
    Query,
    SearchTookTooLong,
    SortBy,
    SortOrder,
    fingerprint,
    read_cursor,
    write_cursor,
)
from instrument_registry.catalog.search.reading import Reading
from instrument_registry.catalog.search.view import View

Rows = npt.NDArray[np.int32]
Values = npt.NDArray[np.float64] | npt.NDArray[np.uint8]
FEW = 200
NEVER = float("inf")
NO_ROWS: Rows = np.array([], np.int32)


def answer(view: View, query: Query, *, until: float = NEVER) -> Page:
    """One page of answers from one view; `until` is an instant of the performance counter.

    Raises: InvalidQuery, SearchTookTooLong.
    """
    cursor = read_cursor(query)
    groups = find(view, query, until=until)
    in_time(until)
    rows = groups[0].rows if len(groups) == 1 else np.concatenate([NO_ROWS, *(group.rows for group in groups)])
    chosen, before = _page(view, query, groups, rows, cursor)
    taken = rows[chosen]
    whys = _whys(groups, chosen)
    hits = tuple(map(Hit, taken.tolist(), view.columns.id[taken].tolist(), whys))
    more = before + len(hits) < len(rows)
    return Page(
        hits=hits,
        body=printed(view, taken, whys),
        total=len(rows),
        next_cursor=write_cursor(Cursor(fingerprint(query), hits[-1].id, before + len(hits))) if more else None,
        facets=count_facets(view, rows) if query.facets else None,
        position=view.position,
        as_of=view.as_of,
    )


def in_time(until: float) -> None:
    """Looked at between the steps of a search: none of them is long; Raises: SearchTookTooLong."""
    if time.perf_counter() >= until:
        raise SearchTookTooLong("The search was given up after its time; SEARCH_TIMEOUT says how long it may take")


def find(view: View, query: Query, *, until: float = NEVER) -> list[Group]:
    """The rows that answer a query, by how they fit; no row is in two groups."""
    matcher = Matcher.of(view, query.filters)
    text = query.text.strip()
    if not text:
        return matcher.everything()
    if groups := identified(matcher, text):
        return groups
    readings = read(text, known=view, as_of=view.as_of) if query.structured else plain(text)
    return matcher.match(_before(readings, until))


def _before(readings: Iterable[Reading], until: float) -> Iterator[Reading]:
    for reading in readings:
        in_time(until)
        yield reading


def printed(view: View, rows: Rows, whys: list[str]) -> bytes:
    """Rows as a JSON array of objects that say why they are there."""
    endings: dict[tuple[int, str], bytes] = {}  # few: most rows of a page are of one cohort and there for one reason
    parts: list[bytes | bytearray] = []
    for own, cohort, why in zip(
        view.shelf.texts(view.columns, rows), view.columns.cohort[rows].tolist(), whys, strict=True
    ):
        ending = endings.get((cohort, why))
        if ending is None:
            ending = endings[cohort, why] = view.shared(cohort) + b',"why":' + msgspec.json.encode(why) + b"},"
        parts.append(own)
        parts.append(ending)
    return b"[%b]" % b"".join(parts)[:-1]


def _whys(groups: list[Group], chosen: npt.NDArray[np.int64]) -> list[str]:
    if len(groups) == 1:
        return [groups[0].why] * len(chosen)
    ends = list(accumulate(len(group.rows) for group in groups))
    return [groups[bisect_right(ends, place)].why for place in chosen.tolist()]


def _page(
    view: View, query: Query, groups: list[Group], rows: Rows, cursor: Cursor | None
) -> tuple[npt.NDArray[np.int64], int]:
    """The places in `rows` of one page, and how many answers come before it."""
    if not len(rows):
        return np.array([], np.int64), 0
    if cursor is None and len(groups) == 1 and groups[0].ordered and query.sort_by is SortBy.RELEVANCE:
        return np.arange(min(query.limit, len(rows))), 0
    values, places = _values(view, query, groups, rows), view.standing.place[rows]
    if cursor is None:
        return _first(values, places, query.limit), 0
    here = np.flatnonzero(view.columns.id[rows] == cursor.id)
    if len(here):
        value, place = values[here[0]], places[here[0]]
        after = np.flatnonzero((values > value) | ((values == value) & (places > place)))
        return after[_first(values[after], places[after], query.limit)], len(rows) - len(after)
    everything = _first(values, places, len(rows))  # the last answer is gone: its number has to do
    return everything[cursor.offset : cursor.offset + query.limit], min(cursor.offset, len(rows))


def _values(view: View, query: Query, groups: list[Group], rows: Rows) -> Values:
    """What the rows are ordered by before their standing order."""
    if query.sort_by is SortBy.RELEVANCE:
        return np.repeat(np.array([group.tier for group in groups], np.uint8), [len(group.rows) for group in groups])
    cohort = view.columns.cohort[rows]
    if query.sort_by is SortBy.SYMBOL:
        values = view.standing.alphabetical[view.columns.name[rows]].astype(np.float64)
    elif query.sort_by is SortBy.STRIKE:
        values = view.columns.strike[rows]
    else:
        column = view.cohorts.expiry if query.sort_by is SortBy.EXPIRY else view.cohorts.lot_size
        values = column[cohort].astype(np.float64)
        values[values == 0] = np.nan
    if query.sort_order is SortOrder.DESCENDING:
        values = -values
    return np.where(np.isnan(values), np.inf, values)


def _first(values: Values, places: Rows, limit: int) -> npt.NDArray[np.int64]:
    """Where the smallest stand, in order: by value, then by place."""
    if len(values) > FEW + 2 * limit:
        edge = np.partition(values, limit - 1)[limit - 1]
        sure, tied = np.flatnonzero(values < edge), np.flatnonzero(values == edge)
        wanted = limit - len(sure)
        if len(tied) > wanted:
            tied = tied[np.argpartition(places[tied], wanted - 1)[:wanted]]
        some = np.concatenate([sure, tied])
        return some[np.lexsort((places[some], values[some]))]
    return np.lexsort((places, values))[:limit]
