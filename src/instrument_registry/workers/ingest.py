"""Jobs and schedules as background workers: one process does the jobs, one after another."""

import asyncio
import json

import structlog

from instrument_registry.catalog.ingestion import demonstration, jobs, schedule
from instrument_registry.catalog.ingestion.jobs import Job, JobStatus
from instrument_registry.catalog.ingestion.model import Bounds
from instrument_registry.configuration.parameters import MEMORY_WARNING_MB
from instrument_registry.database import DatabaseUnavailable, Transaction
from instrument_registry.errors import RegistryError
from instrument_registry.operations.degradation.memory import MB
from instrument_registry.telemetry import tracing
from instrument_registry.telemetry.memory import give_back, used_bytes
from instrument_registry.wiring import Registry
from instrument_registry.workers.pausing import outside_maintenance
from instrument_registry.workers.turns import current, turns

POLL_SECONDS = 0.5
LEADER_POLL_SECONDS = 2.0
SCHEDULE_POLL_SECONDS = 15.0

log = structlog.get_logger("worker")


async def load_demo(registry: Registry) -> None:
    """Load the demo universe where the settings want it and the catalogue is empty; then finished."""
    if registry.settings.demo:
        await outside_maintenance(registry)
        await demonstration.load(registry.database, clock=registry.clock)


async def keep_schedules(registry: Registry) -> None:
    """Make jobs of what is due, for ever."""
    async for _ in turns(lambda: SCHEDULE_POLL_SECONDS):
        await outside_maintenance(registry)
        async with registry.database.transaction() as tx:
            made = await schedule.queue_due(tx, now=registry.clock())
        for broker, due, attempt, warning in made:
            log.info("schedule.due", broker=broker, due=due.isoformat(), attempt=attempt)
            if warning:
                log.warning("schedule.calendar_unknown", broker=broker, reason=warning)


async def work_jobs(registry: Registry) -> None:
    """Do jobs as they come, for ever; of several workers one does, the others wait."""
    async with registry.database.session("jobs") as session:
        while not await jobs.lead(session):
            await asyncio.sleep(LEADER_POLL_SECONDS)
        async with registry.database.transaction() as tx:
            for job, status in await jobs.recover(tx, at=registry.clock()):
                log.warning("job.recovered", job=job, status=status)
        current().idle()
        while True:
            await outside_maintenance(registry)
            make_room(registry)
            if not await work_one(registry, session):
                await asyncio.sleep(POLL_SECONDS)


def make_room(registry: Registry) -> None:
    """Give back what the last job has left, where it is more than the warning: a job is not begun on top of it."""
    if used_bytes() > registry.configuration.now[MEMORY_WARNING_MB] * MB:
        give_back()
        log.warning("memory.given_back", used_mb=round(used_bytes() / MB))


async def work_one(registry: Registry, session: Transaction) -> bool:
    """Do the next job, if there is one; `session` is the one that leads."""
    job = await jobs.take(session, at=registry.clock())
    if job is None:
        return False
    current().begin()
    told: tracing.Attributes = {tracing.CORRELATION: job.correlation_id, "instrument_registry.job": job.id}
    with (
        structlog.contextvars.bound_contextvars(correlation_id=job.correlation_id, job=job.id),
        tracing.span(f"job {job.what}", parent=job.traceparent, attributes=told) as span,
    ):
        log.info("job.began", what=job.what, attempt=job.attempts)
        status, result = await _outcome(registry, job)
        if status is JobStatus.FAILED:
            span.failed("the job failed")
        async with registry.database.transaction() as tx:
            await jobs.finish(tx, job, status=status, result=result, at=registry.clock())
        log.info("job.ended", status=status.value, run=result.get("status"), problem=result.get("problem"))
    current().end()
    return True


async def _outcome(registry: Registry, job: Job) -> tuple[JobStatus, dict[str, object]]:
    try:
        outcome = await jobs.perform(
            registry.database, job, clock=registry.clock, allowed=registry.settings.fetch_networks,
            breakers=registry.breakers, bounds=Bounds.of(registry.configuration.now),
        )  # fmt: skip
    except DatabaseUnavailable:
        raise  # nothing could be recorded either: the job is found running and done again
    except RegistryError as error:
        facts = json.loads(json.dumps(error.facts, default=str))
        problem = {"kind": type(error).__name__, "title": error.title, "detail": str(error), "facts": facts}
        return JobStatus.FAILED, {"problem": problem}
    except Exception as error:
        log.exception("job.failed")
        detail = "The failure has been logged under this correlation id"
        problem = {"kind": type(error).__name__, "title": "Something unforeseen happened", "detail": detail}
        return JobStatus.FAILED, {"problem": problem}
    return JobStatus.DONE, jobs.told(outcome)
