"""How the audit is doing, in numbers that an operator watches."""

from datetime import datetime

from instrument_registry.database import Transaction
from instrument_registry.events.audit import service
from instrument_registry.events.audit.model import Lag
from instrument_registry.telemetry.watched import KnownGauge

WAITING = KnownGauge("instrument_registry_audit_records_waiting", "Audit records without a leaf, counted up to 10,000")
WAITING_SECONDS = KnownGauge("instrument_registry_audit_waiting_seconds", "How long the oldest of them has waited")
UNCOVERED = KnownGauge(
    "instrument_registry_audit_records_uncovered", "Leaves of the audit's tree under no checkpoint yet"
)
CHECKPOINT_AGE_SECONDS = KnownGauge(
    "instrument_registry_audit_checkpoint_age_seconds", "Since the last signed checkpoint"
)
MONTHS_AHEAD = KnownGauge(
    "instrument_registry_audit_months_ahead", "Months after this one for which the audit has room"
)


async def measure(tx: Transaction, *, at: datetime) -> Lag:
    """Look, and let the gauges say what was seen."""
    seen = await service.lag(tx)
    WAITING.set(seen.records_waiting)
    WAITING_SECONDS.set(seen.waiting_seconds)
    UNCOVERED.set(seen.uncovered)
    MONTHS_AHEAD.set(seen.months_ahead)
    if seen.last is not None:
        CHECKPOINT_AGE_SECONDS.set((at - seen.last.at).total_seconds())
    return seen
