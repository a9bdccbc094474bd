"""Where to begin: at either end of the log, at a position, at an instant."""

from datetime import datetime
from typing import Literal

from instrument_registry.database import Transaction
from instrument_registry.events import service
from instrument_registry.events.archives import storage as archives
from instrument_registry.events.model import Archived
from instrument_registry.events.streams.model import BeyondTheEnd

Start = Literal["earliest", "latest"] | int | datetime

# Appends are recorded when their transaction begins and placed when it has ended: of those that began after an instant
# the first to begin need not be the first in order. So many of them are looked at.
NEIGHBOURS = 10_000

FROM_INSTANT = f"""
select min(p.position)
  from (select number from appends where recorded_at >= %(at)s order by recorded_at limit {NEIGHBOURS}) as a
  join positions p using (number)
"""

UP_TO_INSTANT = f"""
select max(p.position + p.facts - 1)
  from (select number from appends where recorded_at <= %(at)s order by recorded_at desc limit {NEIGHBOURS}) as a
  join positions p using (number)
"""


async def oldest_readable(tx: Transaction) -> int:
    """The first position behind everything that has been archived and is no longer here."""
    return await archives.oldest_readable(tx)


async def ensure_readable(tx: Transaction, position: int) -> None:
    """See that the event at a position can be read; Raises: Archived, naming the archive."""
    gone = await archives.gone_at(tx, position)
    if gone is not None:
        oldest = await oldest_readable(tx)
        detail = f"Position {position} has been archived in {gone.name}; the oldest here is {oldest}"
        raise Archived(detail, archive=gone.name, oldest_position=oldest)


async def before(tx: Transaction, start: Start) -> int:
    """The position after which somebody reads who begins there; Raises: Archived, BeyondTheEnd."""
    if start == "latest":
        return await service.head_position(tx)
    if start == "earliest":
        return await oldest_readable(tx) - 1
    if isinstance(start, datetime):
        first = await first_at(tx, start)
        if first is None:
            return await service.head_position(tx)
        await ensure_readable(tx, first)
        return first - 1
    assert isinstance(start, int)
    await ensure_readable(tx, start)
    head = await service.head_position(tx)
    if start > head + 1:
        raise BeyondTheEnd(f"The newest event is at {head}", field="from", value=start, head_position=head)
    return start - 1


async def first_at(tx: Transaction, at: datetime) -> int | None:
    """The position of the first event recorded at an instant or after it."""
    row = await (await tx.execute(FROM_INSTANT, {"at": at})).fetchone()
    return None if row is None or row[0] is None else int(row[0])


async def last_at(tx: Transaction, at: datetime) -> int:
    """The position up to which events may have been recorded at an instant or before it; 0 when none was."""
    row = await (await tx.execute(UP_TO_INSTANT, {"at": at})).fetchone()
    return 0 if row is None or row[0] is None else int(row[0])
