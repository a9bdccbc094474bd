"""How a process speaks: logs, numbers that of several processes become one answer, and traces."""

from collections.abc import Iterator
from contextlib import contextmanager

from instrument_registry.telemetry import tracing
from instrument_registry.telemetry.logs import configure_logging
from instrument_registry.telemetry.memory import used_bytes
from instrument_registry.telemetry.metrics import Gathering, gather, merge, only_sums, own_metrics, written

__all__ = [
    "Gathering",
    "configure_logging",
    "gather",
    "merge",
    "only_sums",
    "own_metrics",
    "traces_sent",
    "used_bytes",
    "written",
]


@contextmanager
def traces_sent(wanted: bool, *, process: str) -> Iterator[None]:
    """Where a collector is wanted, spans are made and sent to it until the block ends."""
    if not wanted:
        yield
        return
    from instrument_registry.telemetry import exporting  # a tenth of a second, and memory that others do not need

    spans = exporting.to_collector(process)
    tracing.record_with(spans)
    try:
        yield
    finally:
        tracing.record_with(None)
        spans.close()
