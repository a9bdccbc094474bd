"""How many answers there are of each venue, kind, expiry and the like."""

from datetime import date

import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.search.codes import Codes
from instrument_registry.catalog.search.view import View

LONGEST = 20


def count_facets(view: View, rows: npt.NDArray[np.int32]) -> dict[str, dict[str, int]]:
    """Counts by field and value, the most frequent first; of underlyings and expiries no more than twenty."""
    cohorts, book = view.cohorts, view.shelf.book
    counts = np.bincount(view.columns.cohort[rows], minlength=len(cohorts))
    some = np.flatnonzero(counts)
    counts = counts[some]
    facets = {
        field: _by_code(column[some], counts, codes)
        for field, column, codes in (
            ("venue", cohorts.venue, book.venues),
            ("segment", cohorts.segment, book.segments),
            ("kind", cohorts.kind, book.kinds),
            ("asset_class", cohorts.asset_class, book.asset_classes),
            ("option_type", cohorts.option_type, book.option_types),
            ("status", view.status, book.statuses),
            ("underlying", cohorts.underlying, book.names),
        )
    }
    expiry = cohorts.expiry[some]
    days, place = np.unique(expiry[expiry > 0], return_inverse=True)
    dated = np.bincount(place, weights=counts[expiry > 0])
    soon = zip(days[:LONGEST].tolist(), dated[:LONGEST].tolist(), strict=True)
    facets["expiry"] = {date.fromordinal(day).isoformat(): int(count) for day, count in soon}
    masks = view.columns.brokers[rows]
    brokers = {
        broker: int(np.count_nonzero(masks & np.uint32(1 << code)))
        for code, broker in enumerate(view.shelf.brokers.texts)
        if code
    }
    facets["broker"] = {broker: count for broker, count in brokers.items() if count}
    return facets


def _by_code(column: npt.NDArray[np.integer], counts: npt.NDArray[np.int64], codes: Codes) -> dict[str, int]:
    sums = np.bincount(column, weights=counts, minlength=1)
    sums[0] = 0
    found = sorted((-int(sums.item(code)), codes.texts[code]) for code in np.flatnonzero(sums).tolist())
    return {text: -count for count, text in found[:LONGEST]}
