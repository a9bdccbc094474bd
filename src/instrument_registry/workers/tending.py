"""Keeps workers at work: the one place where any failure is recorded and gone on from."""

import asyncio
import time
from collections.abc import Mapping

import structlog
from prometheus_client import Counter

from instrument_registry.wiring import Registry
from instrument_registry.workers import Worker

BACKOFF_SECONDS = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0)
STEADY_AFTER_SECONDS = 60.0

log = structlog.get_logger()
FAILURES = Counter(
    "instrument_registry_worker_failures", "Times a background worker failed and was started again", ["worker"]
)


async def tend_all(registry: Registry, workers: Mapping[str, Worker]) -> None:
    """Run every worker until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name, work in workers.items():
            group.create_task(tend(registry, name, work), name=name)
        await asyncio.Event().wait()


async def tend(registry: Registry, name: str, work: Worker) -> None:
    """Run one worker until it has finished, again after each failure, a little later each time."""
    task, failures = asyncio.current_task(), 0
    while True:
        began = time.monotonic()
        try:
            await work(registry)
        except Exception:
            failures = 0 if time.monotonic() - began > STEADY_AFTER_SECONDS else failures + 1
            wait_seconds = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            FAILURES.labels(worker=name).inc()
            log.exception("worker.failed", worker=name, again_in_seconds=wait_seconds)
            if task is not None and task.cancelling():
                return  # it failed on its way out: the database had gone before it
            await asyncio.sleep(wait_seconds)
        else:
            log.info("worker.finished", worker=name)
            return
