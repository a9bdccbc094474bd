"""Gates that count rows obey the bounds an operator sets, in the background as at a terminal."""

import io
from datetime import date
from pathlib import Path

import pytest

import hostile
from facts import METADATA
from frame import NOON
from instrument_registry.catalog.ingestion import jobs
from instrument_registry.catalog.ingestion.jobs import JobStatus
from instrument_registry.database import Database
from instrument_registry.wiring import Registry
from instrument_registry.workers.ingest import work_one
from streaming import registry_of

DAYS = (date(2026, 8, 17), date(2026, 8, 18))
HALF = b"".join([*hostile.lines()[: hostile.OPTIONS // 2], *hostile.lines()[-hostile.OTHERS :]])


async def brought(registry: Registry, content: bytes, day: date) -> dict:
    """What came of a dump that was uploaded."""
    database = registry.database
    arguments = {"broker": "zerodha", "market_date": str(day), "file_name": "kite.csv"}
    async with database.transaction() as tx:
        job, _ = await jobs.submit(tx, jobs.INGEST, arguments, metadata=METADATA, at=NOON)
        await jobs.attach(tx, job.id, io.BytesIO(content))
    return await outcome(registry, job.id)


async def outcome(registry: Registry, job: int) -> dict:
    """What came of a job that waited."""
    async with registry.database.session("tests") as session:
        await work_one(registry, session)
    async with registry.database.transaction(read_only=True) as tx:
        done = await jobs.find(tx, job)
    assert done.status is JobStatus.DONE, done.result
    return dict(done.result or {})


@pytest.mark.obeys("INGESTION_GONE_PERCENT")
@pytest.mark.parametrize(("percent", "status"), [("5", "quarantined"), ("60", "applied")])
async def test_a_dump_that_lacks_more_than_the_bound_waits(
    database: Database, tmp_path: Path, percent: str, status: str
) -> None:
    registry = registry_of(database, tmp_path, INGESTION_GONE_PERCENT=percent)
    await brought(registry, hostile.good(), DAYS[0])

    assert (await brought(registry, HALF, DAYS[1]))["status"] == status


async def test_what_is_released_is_warned_of_by_the_bounds_in_force(database: Database, tmp_path: Path) -> None:
    registry = registry_of(database, tmp_path, INGESTION_GONE_PERCENT="10")
    await brought(registry, hostile.good(), DAYS[0])
    held = await brought(registry, HALF, DAYS[1])
    async with database.transaction() as tx:
        arguments = {"ingestion": held["id"], "reason": "The exchange took them away"}
        job, _ = await jobs.submit(tx, jobs.RELEASE, arguments, metadata=METADATA, at=NOON)

    warnings = (await outcome(registry, job.id))["warnings"]

    assert [one["detail"].rpartition("the ")[2] for one in warnings if one["gate"] == "shrunk"] == ["bound is 10 %)"]


@pytest.mark.obeys("INGESTION_SET_ASIDE_PERCENT")
@pytest.mark.parametrize(("percent", "status"), [("2", "quarantined"), ("99", "applied")])
async def test_a_dump_of_which_more_than_the_bound_cannot_be_read_waits(
    database: Database, tmp_path: Path, percent: str, status: str
) -> None:
    registry = registry_of(database, tmp_path, INGESTION_SET_ASIDE_PERCENT=percent)

    assert (await brought(registry, hostile.good(strike="NaN"), DAYS[1]))["status"] == status
