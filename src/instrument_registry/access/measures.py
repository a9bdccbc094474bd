"""How many keys there are and end soon, in numbers that an operator watches."""

from datetime import datetime

from prometheus_client import Gauge

from instrument_registry.access import storage
from instrument_registry.access.model import ENDS_SOON
from instrument_registry.database import Transaction

IN_FORCE = Gauge("instrument_registry_api_keys_in_force", "API keys that open doors")
ENDING = Gauge(
    "instrument_registry_api_keys_ending", "API keys that end within 14 days and that no other key replaces yet"
)


async def measure(tx: Transaction, *, at: datetime) -> None:
    """Look, and let the gauges say what was seen."""
    in_force, ending = await storage.count(tx, at=at, soon=at + ENDS_SOON)
    IN_FORCE.set(in_force)
    ENDING.set(ending)
