"""The standing order of rows, without traffic data: what is traded most comes first.

Derivative underlyings before other cash rows, well-known names before the rest, NSE before BSE, equities before
debt; contracts by their underlying, then NFO, MCX and CDS before BFO before NCO and BCD, then by expiry, then from the
middle of the chain outwards. The order is a function of what the rows say, never of when they came.
"""

from dataclasses import dataclass
from datetime import date
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.model import Kind, Status
from instrument_registry.catalog.search.cohorts import CohortBook, CohortColumns
from instrument_registry.catalog.search.shelf import Columns

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]

SHOWN = (Status.ACTIVE, Status.SUSPENDED)

# Classes of rows, the first shown first. Those below FUTURE are what a bare name finds.
UNDERLYING_INDEX, UNDERLYING, FRONT_FUTURE, SPOT, FUTURE, OPTION = 0, 1, 2, 28, 30, 31
NSE_CLASSES: dict[str, int] = {
    Kind.INDEX: 3, Kind.EQUITY: 4, Kind.ETF: 5, Kind.REIT: 6, Kind.INVIT: 7, Kind.RIGHTS: 14, Kind.WARRANT: 15,
    Kind.PREFERENCE: 16, Kind.MUTUAL_FUND: 17, Kind.SGB: 18, Kind.GSEC: 20, Kind.TBILL: 21, Kind.SDL: 22, Kind.BOND: 24,
}  # fmt: skip
BSE_CLASSES: dict[str, int] = {
    **NSE_CLASSES,
    Kind.INDEX: 8,
    Kind.EQUITY: 9,
    Kind.ETF: 11,
    Kind.REIT: 12,
    Kind.INVIT: 12,
}
BSE_TWIN = 10  # a BSE equity that NSE lists too
OTHER_CLASSES: dict[str, int] = {
    Kind.INDEX: 13, Kind.SPOT_CURRENCY: SPOT, Kind.SPOT_COMMODITY: SPOT, Kind.FUTURE: FUTURE, Kind.OPTION: OPTION,
    Kind.CRYPTO_SPOT: 4, Kind.CRYPTO_PERPETUAL: 5, Kind.CRYPTO_FUTURE: FUTURE,
}  # fmt: skip
UNKNOWN_CLASS = 27
VENUE_ORDER: dict[str, int] = {"NFO": 0, "MCX": 0, "CDS": 0, "BFO": 1, "NCO": 2, "BCD": 2}
OTHER_VENUE = 3
UNKNOWN_PROMINENCE = 1_023
MIDDLE_GRID = 0.05  # of the median strike
TINY = 1e-9
DISTANCE_UNITS, MAX_DISTANCE = 1 << 17, (1 << 20) - 1


@dataclass(frozen=True, slots=True)
class Standing:
    """The rows of one view in their standing order."""

    place: npt.NDArray[np.int32]  # of each row, its position in `order`
    order: npt.NDArray[np.int32]  # rows: first those shown by default, then the other present ones
    shown: int  # how many of `order` are shown by default
    by_name: npt.NDArray[np.int32]  # rows by name, in standing order within a name
    first: npt.NDArray[np.int32]  # of each name, where its rows begin in `by_name`
    front: npt.NDArray[np.int32]  # ... where the rows a bare name finds end
    live: npt.NDArray[np.int32]  # ... where the rows shown by default end
    last: npt.NDArray[np.int32]  # ... where all its present rows end
    alphabetical: Ints  # of each name, its place among all names
    has_options: Bools  # of each name
    monthly: Bools  # of each cohort: its expiry is the last of its month


def prominent_names() -> dict[str, int]:
    """Well-known names with their position; from general knowledge, for want of traffic data."""
    text = files(__package__).joinpath("prominent.csv").read_text(encoding="utf-8")
    return {name: number for number, name in enumerate(text.split()[1:])}


def stand(columns: Columns, book: CohortBook, *, present: Bools, as_of: int, prominence: dict[str, int]) -> Standing:
    """Put the present rows in order as of a day, given by its proleptic number."""
    cohorts = book.columns()
    names = len(book.names)
    shown_cohort = (
        np.isin(cohorts.status, [book.statuses.find(status) for status in SHOWN])
        & ~cohorts.is_test
        & ((cohorts.expiry == 0) | (cohorts.expiry >= as_of))
    )
    rows = np.flatnonzero(present).astype(np.int32)
    cohort, name = columns.cohort[rows], columns.name[rows]
    shown, derivative = shown_cohort[cohort], cohorts.derivative[cohort]

    class_ = _cohort_classes(cohorts, book)[cohort]
    cash = shown & (class_ < SPOT) & (class_ != OTHER_CLASSES[Kind.INDEX])
    has_cash = _any(name[cash], names)
    has_derivatives = _any(name[shown & derivative], names)
    has_options = _any(name[shown & (class_ == OPTION)], names)
    on_nse = cohorts.exchange[cohort] == book.exchanges.find("NSE")
    nse_cash = _any(name[cash & on_nse], names)
    equity, index = (cohorts.kind[cohort] == book.kinds.find(kind) for kind in (Kind.EQUITY, Kind.INDEX))
    leading = shown & has_derivatives[name] & (on_nse | ~nse_cash[name]) & ~derivative
    class_ = np.where(equity & nse_cash[name] & (class_ == BSE_CLASSES[Kind.EQUITY]), BSE_TWIN, class_)
    class_ = np.where(leading & equity & (class_ < BSE_TWIN), UNDERLYING, class_)
    class_ = np.where(leading & index & (class_ < BSE_TWIN), UNDERLYING_INDEX, class_)

    venue_order = np.array([VENUE_ORDER.get(venue, OTHER_VENUE) for venue in book.venues.texts], np.int64)
    venue = venue_order[cohorts.venue[cohort]]
    expiry = cohorts.expiry[cohort].astype(np.int64)
    futures = np.flatnonzero(shown & (class_ == FUTURE) & ~has_cash[name])
    futures = futures[np.lexsort((expiry[futures], venue[futures], name[futures]))]
    nearest = futures[np.r_[True, np.diff(name[futures]) != 0]] if len(futures) else futures
    class_[nearest] = FRONT_FUTURE

    alphabetical = book.names.places()
    fame = np.array([prominence.get(text, UNKNOWN_PROMINENCE) for text in book.names.texts], np.int64)
    high = (~shown).astype(np.int64) << 62 | class_.astype(np.int64) << 56 | fame[name] << 46
    high |= alphabetical[name] << 20 | venue << 17
    low = expiry << 32 | _from_the_middle(columns, cohorts, rows, cohort) << 2 | cohorts.option_type[cohort]
    order = rows[np.lexsort((columns.id[rows], low, high))]

    place = np.full(len(columns), -1, np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    by_name = order[np.argsort(columns.name[order], kind="stable")]
    per_name = np.bincount(name, minlength=names)
    last = np.cumsum(per_name)
    first = last - per_name
    return Standing(
        place=place,
        order=order,
        shown=int(shown.sum()),
        by_name=by_name,
        first=first.astype(np.int32),
        front=(first + np.bincount(name[shown & (class_ < FUTURE)], minlength=names)).astype(np.int32),
        live=(first + np.bincount(name[shown], minlength=names)).astype(np.int32),
        last=last.astype(np.int32),
        alphabetical=alphabetical,
        has_options=has_options,
        monthly=_monthly(cohorts, np.unique(cohort[shown & derivative])),
    )


def _any(names: npt.NDArray[np.int32], size: int) -> Bools:
    found = np.zeros(size, np.bool_)
    found[names] = True
    return found


def _cohort_classes(cohorts: CohortColumns, book: CohortBook) -> npt.NDArray[np.uint8]:
    classes = np.full(len(cohorts), UNKNOWN_CLASS, np.uint8)
    for venue, table in (("NSE", NSE_CLASSES), ("BSE", BSE_CLASSES), ("", OTHER_CLASSES)):
        here = cohorts.venue == book.venues.find(venue) if venue else classes == UNKNOWN_CLASS
        for kind, class_ in table.items():
            classes[here & (cohorts.kind == book.kinds.find(kind))] = class_
    return classes


def _from_the_middle(columns: Columns, cohorts: CohortColumns, rows: Int32s, cohort: Int32s) -> Ints:
    """How far each strike lies from the middle of its chain; 0 for rows without one.

    The middle is coarse, so that a strike more or less hardly ever moves it: pages of an answer follow each other even
    when the chain changes between them.
    """
    distance = np.zeros(len(rows), np.int64)
    options = np.flatnonzero(cohorts.option_type[cohort] != 0)
    if not len(options):
        return distance
    strike = columns.strike[rows[options]]
    pairs, chain = np.unique(cohorts.underlying.astype(np.int64) << 8 | cohorts.venue, return_inverse=True)
    chains = chain.astype(np.uint16 if len(pairs) <= np.iinfo(np.uint16).max else np.uint32)[cohort[options]]
    counts = np.bincount(chains, minlength=len(pairs))
    by_strike = np.argsort(strike)
    ordered = strike[by_strike[np.argsort(chains[by_strike], kind="stable")]]  # of narrow numbers: no comparisons
    middles = np.minimum(np.cumsum(counts) - counts + counts // 2, len(ordered) - 1)
    median = np.maximum(ordered[middles], TINY)
    grid = np.exp2(np.floor(np.log2(median * MIDDLE_GRID)))
    middle = np.maximum(np.round(median / grid) * grid, TINY)[chains]
    away = np.minimum(np.abs(strike - middle) / middle * DISTANCE_UNITS, MAX_DISTANCE).astype(np.int64)
    distance[options] = away << 1 | (strike > middle)
    return distance


def _monthly(cohorts: CohortColumns, live: npt.NDArray[np.int32]) -> Bools:
    """Which cohorts expire on the last expiry day that their underlying has in that month."""
    monthly = np.zeros(len(cohorts), np.bool_)
    last: dict[tuple[int, int, int, int], int] = {}
    expiry = cohorts.expiry
    months = {day: date.fromordinal(day).replace(day=1).toordinal() for day in np.unique(expiry[live]).tolist()}
    chains = [
        (int(cohorts.underlying[c]), int(cohorts.venue[c]), int(cohorts.kind[c]), months[int(expiry[c])]) for c in live
    ]
    for chain, c in zip(chains, live, strict=True):
        last[chain] = max(last.get(chain, 0), int(expiry[c]))
    for chain, c in zip(chains, live, strict=True):
        monthly[c] = last[chain] == expiry[c]
    return monthly
