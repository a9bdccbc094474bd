"""Cohorts: rows alike in everything but id, key, names, strike and tokens.

One side of an option chain is one cohort, and so are all NSE equities of one tick. Filters and facets look at a few
thousand cohorts instead of every row, and what the rows of a cohort share is written once.
"""

from dataclasses import dataclass, fields
from datetime import date
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.model import DERIVATIVES
from instrument_registry.catalog.search.codes import Codes

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Cohort(NamedTuple):
    """What the rows of a cohort share; the order of the fields is part of the digest."""

    kind: str
    venue: str
    mic: str | None
    segment: str
    exchange: str
    series: str | None
    underlying: str | None
    expiry: date | None
    option_type: str | None
    lot_size: int | None
    tick_size: str | None
    freeze_qty: int | None
    multiplier: str | None
    status: str
    is_test: bool
    streamable: bool
    asset_class: str | None
    currency: str | None
    extra: str


@dataclass(frozen=True, slots=True)
class CohortColumns:
    """The cohorts as columns, one element a cohort; texts are numbers of the book's codes."""

    kind: npt.NDArray[np.uint8]
    venue: npt.NDArray[np.uint8]
    segment: npt.NDArray[np.uint16]
    exchange: npt.NDArray[np.uint8]
    series: npt.NDArray[np.uint16]
    underlying: npt.NDArray[np.int32]
    expiry: npt.NDArray[np.int32]  # proleptic day number, 0 for none
    option_type: npt.NDArray[np.uint8]
    lot_size: Ints
    status: npt.NDArray[np.uint8]
    asset_class: npt.NDArray[np.uint8]
    is_test: Bools
    derivative: Bools

    def __len__(self) -> int:
        return len(self.kind)


class CohortBook(dict[Cohort, int]):
    """Every cohort seen, numbered; append-only, so that a number means the same to every reader."""

    def __init__(self) -> None:
        super().__init__()
        self.members: list[Cohort] = []
        self.endings: list[bytes] = []  # the shared members of the JSON answer, without the closing brace
        self.texts: list[str] = []  # the shared part of the digest's text
        self.kinds, self.venues, self.segments, self.exchanges = Codes(), Codes(), Codes(), Codes()
        self.series, self.statuses, self.asset_classes = Codes(), Codes(), Codes()
        self.option_types = Codes("CP")
        self.names = Codes()  # the name a key begins with, of derivatives and of what they are written on
        self._columns: CohortColumns | None = None

    def __missing__(self, members: Cohort | tuple[object, ...]) -> int:
        cohort = Cohort._make(members)
        self[cohort] = number = len(self.members)
        self.members.append(cohort)
        self.endings.append(_ending(cohort))
        self.texts.append("\x1f".join(map(canonical, cohort)))
        return number

    def number(self, members: tuple[object, ...]) -> int:
        """The number of the cohort with these members, in the order of the fields of `Cohort`."""
        return self[members]  # type: ignore[index]  # a plain tuple finds the named one

    def columns(self) -> CohortColumns:
        """The cohorts known now."""
        if self._columns is None or len(self._columns) < len(self.members):
            known = len(self._columns) if self._columns else 0
            fresh = self._encode(self.members[known:])
            self._columns = _joined(self._columns, fresh) if self._columns else fresh
        return self._columns

    def _encode(self, cohorts: list[Cohort]) -> CohortColumns:
        return CohortColumns(
            kind=np.array([self.kinds.add(c.kind) for c in cohorts], np.uint8),
            venue=np.array([self.venues.add(c.venue) for c in cohorts], np.uint8),
            segment=np.array([self.segments.add(c.segment) for c in cohorts], np.uint16),
            exchange=np.array([self.exchanges.add(c.exchange) for c in cohorts], np.uint8),
            series=np.array([self.series.add(c.series) for c in cohorts], np.uint16),
            underlying=np.array([self.names.add(c.underlying) for c in cohorts], np.int32),
            expiry=np.array([c.expiry.toordinal() if c.expiry else 0 for c in cohorts], np.int32),
            option_type=np.array([self.option_types.add(c.option_type) for c in cohorts], np.uint8),
            lot_size=np.array([c.lot_size or 0 for c in cohorts], np.int64),
            status=np.array([self.statuses.add(c.status) for c in cohorts], np.uint8),
            asset_class=np.array([self.asset_classes.add(c.asset_class) for c in cohorts], np.uint8),
            is_test=np.array([c.is_test for c in cohorts], np.bool_),
            derivative=np.array([c.kind in DERIVATIVES for c in cohorts], np.bool_),
        )


def canonical(value: str | int | bool | date | None) -> str:
    """A value as PostgreSQL casts it to text, nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _joined(first: CohortColumns, second: CohortColumns) -> CohortColumns:
    names = (field.name for field in fields(CohortColumns))
    return CohortColumns(**{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names})


def _ending(cohort: Cohort) -> bytes:
    members = cohort._asdict()
    extra = members.pop("extra")
    text = b"," + msgspec.json.encode(members)[1:-1]
    return text + b"," + extra.encode() if extra else text
