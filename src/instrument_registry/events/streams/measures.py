"""How consumers are doing, in numbers that an operator watches."""

from prometheus_client import Gauge

from instrument_registry.database import Transaction
from instrument_registry.events.streams import consumers, dead_letters
from instrument_registry.events.streams.model import Letters, Standing

LAG = Gauge("instrument_registry_consumer_lag", "Events that a consumer has not settled", ["consumer"])
HELD = Gauge("instrument_registry_consumer_held", "Events in a consumer's hands", ["consumer"])
WAITING = Gauge("instrument_registry_consumer_waiting", "Events that wait for another try", ["consumer"])
PROCESSES = Gauge("instrument_registry_consumer_processes", "Processes of a consumer being served", ["consumer"])
SILENT = Gauge("instrument_registry_consumer_silent", "1 when a consumer gave no sign of life for days", ["consumer"])
DEAD_LETTERS = Gauge("instrument_registry_dead_letters", "Events that consumers could not digest", ["type", "reason"])
# Reasons are the consumers' words: only the most frequent become labels, the rest is summed.
REASONS_MAX = 50
# Whoever has a key may make consumers: those furthest behind become labels, the rest is summed.
CONSUMERS_MAX = 100
OTHER = "other"


async def measure(tx: Transaction, *, silent_days: float) -> list[Standing]:
    """Look, and let the gauges say what was seen; who is gone is spoken of no longer."""
    standings = await consumers.listed(tx)
    silent = set(await consumers.silent(tx, days=silent_days))
    groups = await dead_letters.groups(tx, Letters())
    for gauge in (LAG, HELD, WAITING, PROCESSES, SILENT, DEAD_LETTERS):
        gauge.clear()
    for number, one in enumerate(sorted(standings, key=lambda standing: -standing.lag)):
        name = one.consumer.consumer_id if number < CONSUMERS_MAX else OTHER
        LAG.labels(consumer=name).inc(one.lag)
        HELD.labels(consumer=name).inc(one.held)
        WAITING.labels(consumer=name).inc(one.waiting)
        PROCESSES.labels(consumer=name).inc(len(one.processes))
        SILENT.labels(consumer=name).inc(one.consumer.consumer_id in silent)
    for group in groups[:REASONS_MAX]:
        DEAD_LETTERS.labels(type=group.event_type, reason=group.reason).set(group.count)
    if rest := sum(group.count for group in groups[REASONS_MAX:]):
        DEAD_LETTERS.labels(type=OTHER, reason=OTHER).set(rest)
    return standings
