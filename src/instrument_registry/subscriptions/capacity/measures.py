"""How brokers' connections are, in numbers that an operator watches."""

from collections import Counter
from collections.abc import Mapping, Sequence

from prometheus_client import Gauge

from instrument_registry.subscriptions.capacity.reporting import ConnectionState
from instrument_registry.subscriptions.capacity.standing import Health

UNREPORTED = "unreported"  # of which nobody has spoken: it may be opened
STATES = (*(one.value for one in Health), UNREPORTED)
CONNECTIONS = Gauge(
    "instrument_registry_subscription_connections", "Connections to brokers by how they are", ["broker", "state"]
)
LOST = Gauge(
    "instrument_registry_subscription_connections_lost", "Connections of an account that are lost", ["account"]
)
# Operators make accounts: the heaviest become labels, the rest is summed.
ACCOUNTS_MAX = 100
OTHER = "other"


def measure(states: Mapping[str, Sequence[ConnectionState]], *, brokers: Mapping[str, str]) -> None:
    """Let the gauges say how the connections of accounts are; who is gone is spoken of no longer."""
    CONNECTIONS.clear()
    LOST.clear()
    found: Counter[tuple[str, str]] = Counter()
    for account, some in states.items():
        found.update((brokers[account], one.health.value if one.health else UNREPORTED) for one in some)
    for broker in sorted(set(brokers.values())):
        for state in STATES:
            CONNECTIONS.labels(broker=broker, state=state).set(found[broker, state])
    lost = {account: sum(one.health is Health.LOST for one in some) for account, some in states.items()}
    for account, label in labels(lost).items():
        LOST.labels(account=label).inc(lost[account])


def labels(weights: Mapping[str, int]) -> dict[str, str]:
    """What accounts are called in a gauge, the heaviest first: by their names, and all beyond a bound as one."""
    heaviest = sorted(weights, key=lambda account: (-weights[account], account))
    return {account: account if number < ACCOUNTS_MAX else OTHER for number, account in enumerate(heaviest)}
