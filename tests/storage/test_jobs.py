"""Jobs: accepted once, done once at a time, and not lost with whoever worked on them."""

import asyncio
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from instrument_registry.catalog.ingestion import jobs
from instrument_registry.catalog.ingestion.addresses import FetchRefused
from instrument_registry.catalog.ingestion.jobs import ATTEMPTS_MAX, Job, JobStatus, KeyUsedOtherwise, NoSuchJob
from instrument_registry.database import Database
from instrument_registry.events import Metadata

NOON = datetime(2026, 8, 18, 6, 30, tzinfo=UTC)
METADATA = Metadata(actor="tests", correlation_id="c-1")
OTHER = Metadata(actor="somebody else", correlation_id="c-2")


async def submit(
    database: Database, *, key: str | None = None, metadata: Metadata = METADATA, **more: object
) -> tuple[Job, bool]:
    async with database.transaction() as tx:
        return await jobs.submit(
            tx, jobs.INGEST, {"broker": "zerodha", **more}, metadata=metadata, at=NOON, idempotency_key=key
        )


async def take(database: Database) -> Job | None:
    async with database.transaction() as tx:
        return await jobs.take(tx, at=NOON)


async def found(database: Database, job: int) -> Job:
    async with database.transaction(read_only=True) as tx:
        return await jobs.find(tx, job)


class TestSubmitting:
    async def test_one_callers_key_stands_for_one_job_however_often_and_at_once_it_is_sent(
        self, database: Database
    ) -> None:
        several = await asyncio.gather(*(submit(database, key="k-1") for _ in range(5)))
        other, is_new = await submit(database, key="k-1", metadata=OTHER)

        assert len({job.id for job, _ in several}) == 1
        assert sorted(is_new for _, is_new in several) == [False] * 4 + [True]
        assert (is_new, other.id != several[0][0].id) == (True, True)

    async def test_a_key_sent_with_something_else_is_refused(self, database: Database) -> None:
        await submit(database, key="k-1")

        with pytest.raises(KeyUsedOtherwise):
            await submit(database, key="k-1", dry_run=True)

    async def test_without_a_key_each_is_another(self, database: Database) -> None:
        (first, _), (second, _) = await submit(database), await submit(database)

        assert first.id != second.id


class TestWorking:
    async def test_they_are_taken_in_turn_and_each_by_one(self, database: Database) -> None:
        wanted = [(await submit(database))[0].id for _ in range(4)]
        taken = await asyncio.gather(*(take(database) for _ in range(6)))

        assert sorted(job.id for job in taken if job) == wanted
        assert {job.status for job in taken if job} == {JobStatus.RUNNING}

    async def test_one_leads_until_its_session_ends(self, database: Database) -> None:
        async with database.session("first") as first:
            led = await jobs.lead(first)
            async with database.session("second") as second:
                waiting = await jobs.lead(second)
        async with database.session("third") as third:
            after = await jobs.lead(third)

        assert (led, waiting, after) == (True, False, True)

    async def test_one_whose_worker_died_runs_again_but_not_for_ever(self, database: Database) -> None:
        job, _ = await submit(database)
        stood = []
        for _ in range(ATTEMPTS_MAX):
            await take(database)
            async with database.transaction() as tx:
                stood += await jobs.recover(tx, at=NOON)
        given_up = await found(database, job.id)

        assert [status for _, status in stood] == ["queued", "queued", "failed"]
        assert (given_up.status, given_up.finished_at) == (JobStatus.FAILED, NOON)
        assert given_up.result is not None
        assert given_up.result["problem"]["kind"] == "Abandoned"

    async def test_who_was_taken_for_dead_cannot_end_it_any_more(self, database: Database) -> None:
        await submit(database)
        first = await take(database)
        async with database.transaction() as tx:
            await jobs.recover(tx, at=NOON)
        second = await take(database)
        assert first is not None
        assert second is not None
        async with database.transaction() as tx:
            await jobs.finish(tx, first, status=JobStatus.FAILED, result={}, at=NOON)

        assert (await found(database, second.id)).status is JobStatus.RUNNING

    async def test_an_unknown_one_is_not_found(self, database: Database) -> None:
        with pytest.raises(NoSuchJob):
            await found(database, 99)


class TestUploads:
    async def test_one_is_there_whole_until_its_job_has_ended(self, database: Database, tmp_path: Path) -> None:
        content = bytes(range(256)) * (jobs.PIECE_BYTES // 128)  # two pieces
        await submit(database)
        job = await take(database)
        assert job is not None
        async with database.transaction() as tx:
            await jobs.attach(tx, job.id, io.BytesIO(content))
            path = await jobs._unload(tx, job.id, tmp_path / "dump")
            await jobs.finish(tx, job, status=JobStatus.DONE, result={}, at=NOON)
            left = await (await tx.execute("select count(*) from job_uploads")).fetchone()

        assert path.read_bytes() == content
        assert left == (0,)


class TestSources:
    @pytest.mark.parametrize("source", ["/etc/passwd", "kite.csv", "file:///etc/passwd", "http://10.0.0.1/kite.csv"])
    async def test_a_job_reads_no_file_of_the_machine_it_runs_on_however_it_came_to_be(
        self, database: Database, source: str
    ) -> None:
        job, _ = await submit(database, sources=[source])

        with pytest.raises(FetchRefused):
            await jobs.perform(database, job, clock=lambda: NOON)

    async def test_what_was_asked_for_is_what_is_done(self, database: Database) -> None:
        sources = ["https://api.kite.trade/instruments"]
        job, _ = await submit(
            database, sources=sources, market_date="2026-08-17", scope=["NSE"], allow_older=True, dry_run=True
        )
        asked = jobs.asked_by(job)

        assert (asked.broker, list(asked.sources), str(asked.market_date)) == ("zerodha", sources, "2026-08-17")
        assert (asked.scope, asked.allow_older, asked.dry_run) == (("NSE",), True, True)
        assert (asked.actor, asked.correlation_id) == ("tests", "c-1")
