"""Filters and readings as masks over cohorts and conditions on rows."""

from datetime import date

import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.model import Kind
from instrument_registry.catalog.search.codes import Codes
from instrument_registry.catalog.search.dates import MONTHLY
from instrument_registry.catalog.search.lexicon import CALL, FUTURE, OPTION, PUT
from instrument_registry.catalog.search.query import NO_FILTERS, Filters
from instrument_registry.catalog.search.reading import Reading
from instrument_registry.catalog.search.view import View

Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]
Codeds = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.int32]
FOREVER = date.max
MASKS_MAX = 256  # of readings, one byte a cohort: traders mean the same few months and sides


def cohort_mask(view: View, filters: Filters) -> Bools | None:
    """The cohorts whose rows may fulfil the filters; None for all."""
    cohorts, book = view.cohorts, view.shelf.book
    parts: list[Bools] = []
    for values, codes, column in (
        (filters.venue, book.venues, cohorts.venue),
        (filters.exchange, book.exchanges, cohorts.exchange),
        (filters.kind, book.kinds, cohorts.kind),
        (filters.asset_class, book.asset_classes, cohorts.asset_class),
        (filters.option_type, book.option_types, cohorts.option_type),
        (filters.series, book.series, cohorts.series),
        (filters.underlying, book.names, cohorts.underlying),
        (filters.status, book.statuses, view.status),
    ):
        if values:
            parts.append(_among(values, codes, column))
    if filters.segment:
        segment = _among(filters.segment, book.segments, cohorts.segment)
        parts.append(segment | _among(filters.segment, book.venues, cohorts.venue))
    if filters.expiry_from or filters.expiry_to:
        parts.append(cohorts.expiry >= (filters.expiry_from.toordinal() if filters.expiry_from else 1))
        parts.append(cohorts.expiry <= (filters.expiry_to or FOREVER).toordinal())
    if filters.lot_from is not None:
        parts.append(cohorts.lot_size >= filters.lot_from)
    if filters.lot_to is not None:
        parts.append((cohorts.lot_size <= filters.lot_to) & (cohorts.lot_size > 0))
    if filters.hidden_too and not filters.include_test:
        parts.append(~cohorts.is_test)
    if filters.include_test and not filters.status:
        parts.append(view.shown_status)
    return _all(parts)


def reading_mask(view: View, reading: Reading) -> Bools | None:
    """The cohorts a reading asks for; None for all."""
    asked = (
        reading.derivative, reading.contract, reading.venues, reading.kinds, reading.series, reading.within,
        reading.cycle, reading.year, reading.month, reading.day,
    )  # fmt: skip
    known = view.masks
    if asked in known:
        return known[asked]
    if len(known) >= MASKS_MAX:
        known.clear()
    known[asked] = mask = _reading_mask(view, reading)
    return mask


def _reading_mask(view: View, reading: Reading) -> Bools | None:
    cohorts, book = view.cohorts, view.shelf.book
    parts: list[Bools] = []
    if reading.venues:
        parts.append(_among(tuple(reading.venues), book.venues, cohorts.venue))
    if reading.kinds:
        parts.append(_among(tuple(reading.kinds), book.kinds, cohorts.kind))
    if reading.series:
        parts.append(cohorts.series == book.series.find(reading.series))
    if reading.derivative:
        parts.append(_contract(view, reading.contract))
        parts += dates(view, reading)
    return _all(parts)


def dates(view: View, reading: Reading) -> list[Bools]:
    """The cohorts whose expiry a reading asks for."""
    expiry = view.cohorts.expiry
    parts: list[Bools] = []
    if reading.within:
        first, last = (day.toordinal() for day in reading.within)
        parts.append((expiry >= first) & (expiry <= last))
    if reading.cycle:
        parts.append(view.standing.monthly == (reading.cycle == MONTHLY))
    if reading.month or reading.day:
        year, month, day = view.calendar
        parts += [
            column == asked
            for column, asked in ((year, reading.year), (month, reading.month), (day, reading.day))
            if asked
        ]
    return parts


def kept(view: View, rows: Rows, *, mask: Bools | None, filters: Filters, strike: float | None = None) -> Rows:
    """The rows that fulfil a cohort mask and what only rows can tell."""
    columns = view.columns
    if mask is not None:
        rows = rows[mask[columns.cohort[rows]]]
    if strike is not None:
        rows = rows[columns.strike[rows] == strike]
    if filters is NO_FILTERS:
        return rows
    if filters.strike_from is not None:
        rows = rows[columns.strike[rows] >= filters.strike_from]
    if filters.strike_to is not None:
        rows = rows[columns.strike[rows] <= filters.strike_to]
    if filters.broker:
        bits = sum(1 << code for broker in filters.broker if (code := view.shelf.brokers.find(broker)) > 0)
        rows = rows[(columns.brokers[rows] & np.uint32(bits)) != 0]
    if filters.has_options is not None:
        rows = rows[view.standing.has_options[columns.name[rows]] == filters.has_options]
    return rows


def both(one: Bools | None, other: Bools | None) -> Bools | None:
    """Two masks as one."""
    return _all([mask for mask in (one, other) if mask is not None])


def _contract(view: View, contract: str) -> Bools:
    cohorts, book = view.cohorts, view.shelf.book
    mask = cohorts.derivative
    if contract == FUTURE:
        mask = mask & (cohorts.option_type == 0)
    elif contract in (CALL, PUT):
        mask = cohorts.option_type == book.option_types.find(contract)
    elif contract == OPTION:
        mask = cohorts.kind == book.kinds.find(Kind.OPTION)
    return mask


def _among(values: tuple[str, ...], codes: Codes, column: Codeds) -> Bools:
    numbers = [number for value in values if (number := codes.find(value)) >= 0]
    if not numbers:
        return np.zeros(len(column), np.bool_)
    mask: Bools = column == numbers[0]
    for number in numbers[1:]:
        mask |= column == number
    return mask


def _all(parts: list[Bools]) -> Bools | None:
    if not parts:
        return None
    mask = parts[0]
    for part in parts[1:]:
        mask = mask & part
    return mask
