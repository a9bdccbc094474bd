"""How many instruments are silent, in numbers that an operator watches."""

from collections.abc import Mapping

from prometheus_client import Gauge

from instrument_registry.subscriptions.capacity.measures import labels
from instrument_registry.subscriptions.silence.model import Judged

AWAITED = Gauge(
    "instrument_registry_subscription_ticks_awaited",
    "Instruments that an account carries and whose market is open",
    ["account"],
)
SILENT = Gauge(
    "instrument_registry_subscription_silent",
    "Instruments that an account carries and that do not tick while their market is open",
    ["account"],
)
UNJUDGED = Gauge(
    "instrument_registry_subscription_hours_unknown",
    "Carried instruments of whose market nobody knows whether it is open",
    ["account"],
)


def measure(found: Mapping[str, Judged]) -> None:
    """Let the gauges say what was found; accounts that carry nothing are spoken of no longer."""
    for gauge in (AWAITED, SILENT, UNJUDGED):
        gauge.clear()
    for account, label in labels({account: len(one.silent) for account, one in found.items()}).items():
        one = found[account]
        AWAITED.labels(account=label).inc(one.awaited)
        SILENT.labels(account=label).inc(len(one.silent))
        UNJUDGED.labels(account=label).inc(one.unjudged)
