"""What the catalogue holds, counted from the index, and how fresh each broker's part of it is."""

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

from instrument_registry.catalog.ingestion.applying import FRESH_DAYS
from instrument_registry.catalog.search.view import View
from instrument_registry.database import Transaction

LAST_RUNS = """
select distinct on (s.broker, s.segment) s.broker, s.segment, s.ingestion_id, s.market_date, s.rows, i.finished_at
  from ingestion_segments s join ingestions i on i.id = s.ingestion_id
 where s.market_date <= %(day)s
 order by s.broker, s.segment, s.market_date desc, s.ingestion_id desc
"""

WAITING = """
select count(*) from ingestions i where status in ('quarantined', 'refused')
   and exists (select 1 from ingestion_files f where f.ingestion_id = i.id)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many instruments there are, by venue, kind and status, and how many each broker has a token for."""

    instruments: int
    by_venue: dict[str, int]
    by_kind: dict[str, int]
    by_status: dict[str, int]
    by_broker: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The newest applied run of a broker's segment."""

    broker: str
    segment: str
    ingestion: int
    market_date: date
    rows: int
    finished_at: datetime | None
    age_days: int
    fresh: bool  # young enough to count when brokers are compared


def count(view: View) -> Counts:
    """The counts of everything in a view, what is hidden by default too."""
    cohorts, book = view.cohorts, view.shelf.book
    rows = np.flatnonzero(view.present)
    of_cohort = np.bincount(view.columns.cohort[rows], minlength=len(cohorts))
    masks = view.columns.brokers[rows]
    brokers = {
        broker: int(np.count_nonzero(masks & np.uint32(1 << code)))
        for code, broker in enumerate(view.shelf.brokers.texts)
        if code
    }
    return Counts(
        instruments=len(rows),
        by_venue=_by(cohorts.venue, of_cohort, book.venues.texts),
        by_kind=_by(cohorts.kind, of_cohort, book.kinds.texts),
        by_status=_by(view.status, of_cohort, book.statuses.texts),
        by_broker={broker: found for broker, found in brokers.items() if found},
    )


async def last_runs(tx: Transaction, *, day: date) -> list[LastRun]:
    """The newest run of each broker and segment up to a day."""
    cursor = await tx.execute(LAST_RUNS, {"day": day})
    return [
        LastRun(
            broker=broker, segment=segment, ingestion=run, market_date=on, rows=rows, finished_at=finished_at,
            age_days=(day - on).days, fresh=(day - on).days <= FRESH_DAYS,
        )
        for broker, segment, run, on, rows, finished_at in await cursor.fetchall()
    ]  # fmt: skip


async def waiting_dumps(tx: Transaction) -> int:
    """How many dumps are kept out and wait for somebody's decision."""
    row = await (await tx.execute(WAITING)).fetchone()
    assert row is not None
    return int(row[0])


def _by(column: npt.NDArray[np.integer], counts: npt.NDArray[np.integer], texts: list[str]) -> dict[str, int]:
    sums = np.bincount(column, weights=counts, minlength=len(texts)).astype(np.int64).tolist()
    largest_first = sorted(zip(texts, sums, strict=False), key=lambda item: -item[1])
    return {text: found for text, found in largest_first if text and found}
