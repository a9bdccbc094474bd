"""Jobs and schedules as background workers: one process does the jobs, one after another."""

import asyncio
import json

import structlog

from instrument_registry.catalog.ingestion import demonstration, jobs, schedule
from instrument_registry.catalog.ingestion.jobs import Job, JobStatus
from instrument_registry.database import DatabaseUnavailable, Transaction
from instrument_registry.errors import RegistryError
from instrument_registry.wiring import Registry

POLL_SECONDS = 0.5
LEADER_POLL_SECONDS = 2.0
SCHEDULE_POLL_SECONDS = 15.0

log = structlog.get_logger()


async def load_demo(registry: Registry) -> None:
    """Load the demo universe where the settings want it and the catalogue is empty; then finished."""
    if registry.settings.demo:
        await demonstration.load(registry.database, clock=registry.clock)


async def keep_schedules(registry: Registry) -> None:
    """Make jobs of what is due, for ever."""
    while True:
        async with registry.database.transaction() as tx:
            made = await schedule.queue_due(tx, now=registry.clock())
        for broker, due, attempt, warning in made:
            log.info("schedule.due", broker=broker, due=due.isoformat(), attempt=attempt)
            if warning:
                log.warning("schedule.calendar_unknown", broker=broker, reason=warning)
        await asyncio.sleep(SCHEDULE_POLL_SECONDS)


async def work_jobs(registry: Registry) -> None:
    """Do jobs as they come, for ever; of several workers one does, the others wait."""
    async with registry.database.session("jobs") as session:
        while not await jobs.lead(session):
            await asyncio.sleep(LEADER_POLL_SECONDS)
        async with registry.database.transaction() as tx:
            for job, status in await jobs.recover(tx, at=registry.clock()):
                log.warning("job.recovered", job=job, status=status)
        while True:
            if not await work_one(registry, session):
                await asyncio.sleep(POLL_SECONDS)


async def work_one(registry: Registry, session: Transaction) -> bool:
    """Do the next job, if there is one; `session` is the one that leads."""
    job = await jobs.take(session, at=registry.clock())
    if job is None:
        return False
    with structlog.contextvars.bound_contextvars(correlation_id=job.correlation_id, job=job.id):
        log.info("job.began", what=job.what, attempt=job.attempts)
        status, result = await _outcome(registry, job)
        async with registry.database.transaction() as tx:
            await jobs.finish(tx, job, status=status, result=result, at=registry.clock())
        log.info("job.ended", status=status.value, run=result.get("status"), problem=result.get("problem"))
    return True


async def _outcome(registry: Registry, job: Job) -> tuple[JobStatus, dict[str, object]]:
    try:
        outcome = await jobs.perform(
            registry.database, job, clock=registry.clock, allowed=registry.settings.fetch_networks
        )
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
