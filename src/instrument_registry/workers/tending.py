"""Keeps workers at work: the one place where any failure is recorded and gone on from."""

import asyncio
import time
from collections.abc import Mapping

import structlog
from prometheus_client import Counter

from instrument_registry.database import DatabaseUnavailable
from instrument_registry.wiring import Registry
from instrument_registry.workers.board import Board
from instrument_registry.workers.kind import Worker
from instrument_registry.workers.turns import Work, beginning

BACKOFF_SECONDS = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0)
DATABASE_AGAIN_SECONDS = 1.0
STEADY_AFTER_SECONDS = 60.0

log = structlog.get_logger("worker")
FAILURES = Counter(
    "instrument_registry_worker_failures", "Times a background worker failed and was started again", ["worker"]
)


async def tend_all(registry: Registry, workers: Mapping[str, Worker], *, board: Board | None = None) -> None:
    """Run every worker until cancelled, and say on a board what each is doing."""
    async with asyncio.TaskGroup() as group:
        for name, work in workers.items():
            seen = board.add(name, work) if board is not None else None
            group.create_task(tend(registry, name, work, seen=seen), name=name)
        await asyncio.Event().wait()


async def tend(registry: Registry, name: str, work: Worker, *, seen: Work | None = None) -> None:
    """Run one worker until it has finished, again after each failure, a little later each time."""
    task, failures, seen = asyncio.current_task(), 0, beginning(seen)
    while True:
        began = time.monotonic()
        seen.at_work()
        try:
            await work(registry)
        except Exception as error:
            failures = 0 if time.monotonic() - began > STEADY_AFTER_SECONDS else failures + 1
            wait_seconds = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            if isinstance(error, DatabaseUnavailable):  # its breaker bounds who asks, and facts wait for their order
                wait_seconds = min(wait_seconds, DATABASE_AGAIN_SECONDS)
            FAILURES.labels(worker=name).inc()
            seen.failed(error, again_in_seconds=wait_seconds)
            log.exception("worker.failed", worker=name, again_in_seconds=wait_seconds)
            if task is not None and task.cancelling():
                return  # it failed on its way out: the database had gone before it
            await asyncio.sleep(wait_seconds)
        else:
            seen.finished()
            log.info("worker.finished", worker=name)
            return
