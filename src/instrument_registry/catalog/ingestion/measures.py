"""How ingestions go, in numbers that an operator watches, and as spans."""

import time
from collections.abc import Awaitable

from prometheus_client import Counter, Gauge, Histogram

from instrument_registry.catalog.ingestion.model import IngestionBusy, Outcome, RunStatus
from instrument_registry.database import Transaction
from instrument_registry.telemetry import tracing

RUNS = Counter("instrument_registry_ingestion_runs", "Ingestions that have ended here", ["broker", "verdict"])
ROWS = Counter("instrument_registry_ingestion_rows", "Rows they have read", ["broker"])
SET_ASIDE = Counter("instrument_registry_ingestion_rows_set_aside", "Rows of these that were not taken", ["broker"])
SECONDS = Histogram(
    "instrument_registry_ingestion_duration_seconds",
    "From the file to the catalogue",
    ["broker"],
    buckets=(0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0),
)
LAST_SUCCESS = Gauge(
    "instrument_registry_ingestion_last_success_timestamp_seconds",
    "When a broker's dump was last applied or found unchanged, wherever that was done",
    ["broker"],
)

LAST = """
select broker, extract(epoch from max(finished_at))
  from ingestions where status in ('applied', 'unchanged') and finished_at is not null group by broker
"""


async def watched(broker: str, run: Awaitable[Outcome]) -> Outcome:
    """The outcome of a run, which is counted and traced; one that raises counts as failed, or refused as busy."""
    began = time.perf_counter()
    with tracing.span(f"ingestion {broker}", attributes={"instrument_registry.broker": broker}) as span:
        try:
            outcome = await run
        except BaseException as error:
            verdict = RunStatus.REFUSED if isinstance(error, IngestionBusy) else RunStatus.FAILED
            RUNS.labels(broker, verdict.value).inc()
            raise
        finally:
            SECONDS.labels(broker).observe(time.perf_counter() - began)
        RUNS.labels(broker, outcome.status.value).inc()
        ROWS.labels(broker).inc(outcome.rows)
        SET_ASIDE.labels(broker).inc(outcome.set_aside)
        span.tell(
            {
                "instrument_registry.verdict": outcome.status.value,
                "instrument_registry.ingestion": outcome.id,
                "instrument_registry.rows": outcome.rows,
            }
        )
        return outcome


async def measure(tx: Transaction) -> None:
    """Look when each broker's dump was last taken in."""
    for broker, at in await (await tx.execute(LAST)).fetchall():
        LAST_SUCCESS.labels(broker).set(float(at))
