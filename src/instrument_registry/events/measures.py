"""How the log is doing, in numbers that an operator watches."""

from dataclasses import dataclass

from instrument_registry.database import Transaction
from instrument_registry.events import service
from instrument_registry.telemetry.watched import KnownGauge

OLDEST_WRITER = """
select coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0)
  from pg_stat_activity where datname = current_database() and backend_xid is not null
"""

POSITION = KnownGauge("instrument_registry_events_position", "The newest event's position")
WAITING = KnownGauge("instrument_registry_events_waiting", "Appends that have no position yet")
WAITING_SECONDS = KnownGauge("instrument_registry_events_waiting_seconds", "How long the oldest of them has waited")
OLDEST_WRITER_SECONDS = KnownGauge(
    "instrument_registry_events_oldest_writer_seconds", "Age of the oldest transaction that has written something"
)
MONTHS_AHEAD = KnownGauge("instrument_registry_events_months_ahead", "Months after this one for which the log has room")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The log at one instant."""

    position: int
    waiting: int
    waiting_seconds: float
    oldest_writer_seconds: float
    months_ahead: int


async def measure(tx: Transaction) -> Measured:
    """Look, and let the gauges say what was seen."""
    waiting, waiting_seconds = await service.waiting(tx)
    row = await (await tx.execute(OLDEST_WRITER)).fetchone()
    assert row is not None
    seen = Measured(
        position=await service.head_position(tx),
        waiting=waiting,
        waiting_seconds=waiting_seconds,
        oldest_writer_seconds=float(row[0]),
        months_ahead=await service.months_ahead(tx),
    )
    POSITION.set(seen.position)
    WAITING.set(seen.waiting)
    WAITING_SECONDS.set(seen.waiting_seconds)
    OLDEST_WRITER_SECONDS.set(seen.oldest_writer_seconds)
    MONTHS_AHEAD.set(seen.months_ahead)
    return seen
