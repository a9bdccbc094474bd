"""How rules are doing, in numbers that an operator watches."""

from datetime import datetime

from prometheus_client import Counter, Gauge

from instrument_registry.database import Transaction
from instrument_registry.subscriptions.ladders import Frozen
from instrument_registry.subscriptions.rules import storage
from instrument_registry.subscriptions.rules.prices import AGE_MAX

REBALANCES = Counter(
    "instrument_registry_subscription_chain_rebalances", "Times a rule brought other instruments, by why", ["why"]
)
LADDERS = Gauge(
    "instrument_registry_subscription_ladders",
    "Ladders by what keeps them from following their price (following: nothing)",
    ["state"],
)
PRICES = Counter(
    "instrument_registry_subscription_reference_prices", "Prices of underlyings by what came of them", ["verdict"]
)
STATES = ("following", *(reason.value for reason in Frozen))


async def measure(tx: Transaction, *, at: datetime) -> None:
    """Look, and let the gauges say what was seen."""
    counts = await storage.counts(tx, at=at, age_max=AGE_MAX)
    for state in STATES:
        LADDERS.labels(state=state).set(counts.get(state, 0))
