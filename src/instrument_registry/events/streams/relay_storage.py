"""The relay's row, and where on the log it has to begin."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from psycopg.rows import class_row

from instrument_registry.database import Transaction
from instrument_registry.events.model import BULK_FACTS

GET = "select log_id::text, state, reason, position, run_id, refills, since, seen_at from relay"

SAVE = """
update relay
   set since = case when state = %(state)s then since else now() end, state = %(state)s, reason = %(reason)s,
       position = %(position)s, run_id = coalesce(%(run_id)s, run_id), refills = refills + %(refills)s, seen_at = now()
"""

# The position after which there are no more than so many events, single facts of bulk runs not counted.
WINDOW = f"""
with newest as (
    select position, facts, sum(facts) over (order by position desc) as events
      from (select position, facts from positions where facts <= {BULK_FACTS}
             order by position desc limit %(events)s + 1) as last
)
select coalesce(max(position + facts - 1) filter (where events > %(events)s), 0) from newest
"""


class RelayState(StrEnum):
    """How the relay is doing."""

    STOPPED = "stopped"
    RELAYING = "relaying"
    PAUSED = "paused"  # Redis answers and takes nothing
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayRow:
    """What is known of the relay to Redis; the reason is of a pause."""

    log_id: str
    state: str
    reason: str | None
    position: int
    run_id: str | None
    refills: int
    since: datetime
    seen_at: datetime


async def get(tx: Transaction) -> RelayRow:
    """The relay's row."""
    async with tx.cursor(row_factory=class_row(RelayRow)) as cursor:
        await cursor.execute(GET)
        row = await cursor.fetchone()
    assert row is not None
    return row


async def save(
    tx: Transaction, state: RelayState, *, reason: str | None, position: int, run_id: str | None, refills: int
) -> None:
    """Note how it is doing; `refills` are added."""
    values = {"state": state, "reason": reason, "position": position, "run_id": run_id, "refills": refills}
    await tx.execute(SAVE, values)


async def window(tx: Transaction, *, events: int) -> int:
    """The position after which there are no more than so many events."""
    row = await (await tx.execute(WINDOW, {"events": events})).fetchone()
    assert row is not None
    return int(row[0])
