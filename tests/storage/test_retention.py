"""What has been kept long enough goes: counted first, archived where it must be, and never while somebody needs it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from conftest import DatabaseUrls
from facts import METADATA, catch_up, counted, renamed
from instrument_registry import events
from instrument_registry.clock import now
from instrument_registry.database import Database
from instrument_registry.events.archives import service as archiving
from instrument_registry.events.archives.model import ArchiveDamaged, PartitionStays
from instrument_registry.events.audit import inspection, sealer
from instrument_registry.events.audit.outside import Outside
from instrument_registry.events.audit.verification import Verdict
from instrument_registry.events.model import Archived
from instrument_registry.events.projections import PROJECTIONS
from instrument_registry.events.projections import service as projections
from instrument_registry.operations.retention import service
from instrument_registry.operations.retention.model import BadKeepDays, RetentionKind, Step

LONG_AGO = datetime(2021, 3, 15, 6, tzinfo=UTC)
MONTH = "2021_03"


@pytest.fixture
async def old(database: Database, database_urls: DatabaseUrls, tmp_path: Path) -> Database:
    """A log with six facts of a month long ago, three of today, all sealed and signed for."""
    _month(database_urls.owner)
    for number in range(3):
        async with database.transaction() as tx:
            await events.append(tx, counted(number), renamed(f"N{number}"), stream="a", metadata=METADATA)
    _backdate(database_urls.owner)
    async with database.transaction() as tx:
        await events.append(tx, counted(3), renamed(), stream="a", metadata=METADATA)
    await catch_up(database)
    await _signed(database, tmp_path)
    return database


async def applied(database: Database, folder: Path) -> dict[str, Step]:
    return {step.what: step async for step in service.apply(database, folder, metadata=METADATA, clock=now)}


async def digests(database: Database) -> list[tuple[int, str, str]]:
    async with database.transaction(read_only=True) as tx:
        page = await events.read(tx, after=0, limit=100)
    return [(event.position or 0, str(event.event_id), event.data) for event in page.events]


class TestAPlan:
    async def test_counts_what_would_go_and_changes_nothing(self, old: Database) -> None:
        steps = {step.what: step for step in await service.plan(old, now=now())}

        assert steps[f"events_{MONTH}"].rows == 6
        assert steps[f"audit_records_{MONTH}"].rows == 3
        assert steps[f"events_{MONTH}"].reasons_to_keep == ("it has not been archived",)
        assert not any(step.done for step in steps.values())
        assert len(await digests(old)) == 9

    async def test_of_jobs_and_details_counts_those_that_ended(self, old: Database) -> None:
        async with old.transaction() as tx:
            for day in (LONG_AGO, now()):
                await tx.execute(
                    """insert into jobs (what, arguments, status, actor, correlation_id, created_at, finished_at)
                       values ('ingest', '{}', 'done', 'tests', 'c', %(at)s, %(at)s)""",
                    {"at": day - timedelta(days=3000) if day == LONG_AGO else day},
                )
                await tx.execute(
                    """with run as (insert into ingestions (broker, feed, market_date, status, digest, actor,
                              correlation_id, started_at, finished_at)
                       values ('zerodha', 'kite', '2021-03-15', 'applied', '', 't', 'c', %(at)s, %(at)s) returning id)
                       insert into rows_set_aside (ingestion_id, file, line, field, value, reason, dropped)
                       select id, 'f', n, 'strike', 'x', 'no number', true from run, generate_series(1, 4) n""",
                    {"at": day},
                )
        counts = {step.kind: step.rows for step in await service.plan(old, now=now())}

        assert counts[RetentionKind.DEFAULT] == 1
        assert counts[RetentionKind.INGESTION_DETAILS] == 4


class TestApplyingPolicies:
    async def test_archives_a_month_and_lets_it_go(self, old: Database, tmp_path: Path) -> None:
        before = await digests(old)
        steps = await applied(old, tmp_path)

        assert steps[f"events_{MONTH}"].done, steps
        assert steps[f"audit_records_{MONTH}"].done, steps
        table = pq.read_table(tmp_path / "archives" / f"events_{MONTH}.parquet")
        kept = list(zip(*(table.column(name).to_pylist() for name in ("position", "event_id", "data")), strict=True))
        assert kept == before[:6]
        async with old.transaction(read_only=True) as tx:
            rest = (await events.read(tx, after=6, limit=10)).events
        assert [event.position for event in rest[:2]] == [7, 8]

    async def test_then_a_reader_of_that_month_is_told_where_it_is(self, old: Database, tmp_path: Path) -> None:
        await applied(old, tmp_path)

        async with old.transaction(read_only=True) as tx:
            with pytest.raises(Archived) as told:
                await events.read(tx, after=2, limit=10)
            assert told.value.facts == {"archive": f"events_{MONTH}", "oldest_position": 7}
            with pytest.raises(Archived):
                await events.read(tx, after=2, limit=10, types=["test.counted"])
            with pytest.raises(Archived):
                await events.read_stream(tx, "a")

    async def test_brings_a_month_back_with_the_same_events_and_keeps_it_a_while(
        self, old: Database, tmp_path: Path
    ) -> None:
        before = await digests(old)
        await applied(old, tmp_path)
        for name in (f"events_{MONTH}", f"audit_records_{MONTH}"):
            made = await archiving.restore(old, name, tmp_path, reason="an auditor asked", metadata=METADATA, at=now())
            assert made.state == "restored"
        await catch_up(old)

        assert (await digests(old))[:9] == before
        again = await applied(old, tmp_path)
        assert not again[f"events_{MONTH}"].done
        assert "stays until" in "; ".join(again[f"events_{MONTH}"].reasons_to_keep)

    async def test_lets_ended_rows_go_and_no_others(self, old: Database, tmp_path: Path) -> None:
        async with old.transaction() as tx:
            for status in ("applied", "quarantined"):
                await tx.execute(
                    """with run as (insert into ingestions (broker, feed, market_date, status, digest, actor,
                              correlation_id, started_at, finished_at)
                       values ('zerodha', 'kite', '2021-03-15', %(status)s, '', 't', 'c', %(at)s, %(at)s) returning id)
                       insert into ingestion_files (ingestion_id, name, content) select id, 'f', 'x' from run""",
                    {"at": LONG_AGO, "status": status},
                )
        steps = {step.kind: step async for step in service.apply(old, tmp_path, metadata=METADATA, clock=now)}

        assert (steps[RetentionKind.INGESTION_DETAILS].rows, steps[RetentionKind.INGESTION_DETAILS].done) == (1, True)
        async with old.transaction() as tx:
            row = await (await tx.execute("select count(*) from ingestion_files")).fetchone()
        assert row == (1,)


class TestTheAuditOfAMonthThatWent:
    async def test_is_still_in_order(self, old: Database, database_urls: DatabaseUrls, tmp_path: Path) -> None:
        whole = await _verified(old, tmp_path)
        await applied(old, tmp_path)
        await _signed(old, tmp_path)
        without = await _verified(old, tmp_path)
        await archiving.restore(old, f"audit_records_{MONTH}", tmp_path, reason="r", metadata=METADATA, at=now())
        back = await _verified(old, tmp_path)

        assert (whole.archived, without.archived, back.archived) == (0, 3, 0)

    async def test_is_not_when_its_file_says_something_else(self, old: Database, tmp_path: Path) -> None:
        await applied(old, tmp_path)
        await _signed(old, tmp_path)
        file = tmp_path / "archives" / f"audit_records_{MONTH}.parquet"
        file.write_bytes(file.read_bytes()[:-1] + b"?")

        with pytest.raises(ArchiveDamaged):
            await _verified(old, tmp_path)


class TestAMonthStays:
    async def test_while_a_consumer_has_not_read_it(self, old: Database, tmp_path: Path) -> None:
        async with old.transaction() as tx:
            await tx.execute(
                """insert into consumers (consumer_id, event_types, bulk, shared, reached, created_at, created_by)
                   values ('slow', '{*}', false, false, 4, now(), 'tests')"""
            )
        steps = await applied(old, tmp_path)

        assert steps[f"events_{MONTH}"].reasons_to_keep == ("consumer slow is at position 4",)
        assert len(await digests(old)) >= 8

    async def test_while_a_projection_has_not_counted_it(self, old: Database, tmp_path: Path) -> None:
        async with old.transaction() as tx:
            await projections.move(tx, "daily_facts", to=5)
        steps = await applied(old, tmp_path)

        assert steps[f"events_{MONTH}"].reasons_to_keep == ("projection daily_facts is at position 5",)

    async def test_when_its_rows_are_not_those_that_were_archived(
        self, old: Database, database_urls: DatabaseUrls, tmp_path: Path
    ) -> None:
        async with old.transaction() as tx:
            await projections.move(tx, "daily_facts", to=5)
        await applied(old, tmp_path)
        with psycopg.connect(database_urls.owner) as owner:
            owner.execute("set search_path = instrument_registry")
            owner.execute(f"update events_{MONTH} set data = '{{\"number\":9}}' where number % 2 = 0")
            owner.execute("update projections set position = 100")
        steps = await applied(old, tmp_path)

        assert steps[f"events_{MONTH}"].reasons_to_keep == ("its rows are not those of its archive",)

    async def test_when_its_file_has_been_touched(self, old: Database, tmp_path: Path) -> None:
        async with old.transaction() as tx:
            await projections.move(tx, "daily_facts", to=5)
        await applied(old, tmp_path)
        file = tmp_path / "archives" / f"events_{MONTH}.parquet"
        file.write_bytes(file.read_bytes()[:-1] + b"?")

        with pytest.raises(ArchiveDamaged):
            await applied(old, tmp_path)
        assert len(await digests(old)) >= 8

    async def test_whatever_the_service_asks_the_owners_function(self, old: Database) -> None:
        for statement in (
            f"select drop_archived('events_{MONTH}')",
            f"drop table events_{MONTH}",
            f"delete from events_{MONTH}",
            f"delete from audit_records_{MONTH}",
            "delete from archives",
            "update archives set state = 'dropped'",
            "update retention_policies set keep_days = 3 where kind = 'events'",
            "select forget_jobs(now(), 10)",
            "select forget_ingestion_details(now(), 10)",
        ):
            with pytest.raises(psycopg.Error):
                async with old.transaction() as tx:
                    await tx.execute(statement.encode())


class TestRestoring:
    async def test_something_else_than_went_is_refused_and_changes_nothing(
        self, old: Database, database_urls: DatabaseUrls, tmp_path: Path
    ) -> None:
        await applied(old, tmp_path)
        with psycopg.connect(database_urls.owner) as owner:
            owner.execute("update instrument_registry.archives set digest = repeat('0', 64) where kind = 'events'")

        with pytest.raises(ArchiveDamaged):
            await archiving.restore(old, f"events_{MONTH}", tmp_path, reason="r", metadata=METADATA, at=now())
        async with old.transaction() as tx:
            with pytest.raises(psycopg.errors.RaiseException, match="went with"):
                async with tx.transaction():
                    await tx.execute(f"select begin_restoring('events_{MONTH}')".encode())
                    await tx.execute(f"select finish_restoring('events_{MONTH}', 30)".encode())
            with pytest.raises(Archived):
                await events.read(tx, after=0, limit=10)

    async def test_what_is_here_is_refused(self, old: Database, tmp_path: Path) -> None:
        async with old.transaction() as tx:
            await projections.move(tx, "daily_facts", to=5)
        await applied(old, tmp_path)

        with pytest.raises(PartitionStays):
            await archiving.restore(old, f"events_{MONTH}", tmp_path, reason="r", metadata=METADATA, at=now())


class TestAPolicy:
    async def test_change_is_told_with_old_new_and_reason(self, database: Database) -> None:
        async with database.transaction() as tx:
            await service.change(tx, RetentionKind.EVENTS, 400, reason="less room", metadata=METADATA, at=now())
            told = await events.read_stream(tx, "retention")
            known = {one.kind: one.keep_days for one in await service.policies(tx)}

        assert [(one.type, one.data) for one in told] == [
            ("retention.changed", '{"kind":"events","old":1095,"new":400,"reason":"less room"}')
        ]
        assert known[RetentionKind.EVENTS] == 400

    async def test_that_would_empty_the_log_is_refused(self, database: Database) -> None:
        async with database.transaction() as tx:
            with pytest.raises(BadKeepDays):
                await service.change(tx, RetentionKind.EVENTS, 3, reason="r", metadata=METADATA, at=now())


class TestAProjectionBuiltAnew:
    async def test_says_that_its_beginning_is_archived(self, old: Database, tmp_path: Path) -> None:
        await applied(old, tmp_path)

        with pytest.raises(Archived):
            await projections.rebuild(old, PROJECTIONS["daily_facts"])


def _month(owner_url: str) -> None:
    with psycopg.connect(owner_url) as owner:
        owner.execute("set search_path = instrument_registry")
        for parent in ("events", "audit_records"):
            owner.execute(
                f"""create table {parent}_{MONTH} partition of {parent}
                    for values from ('2021-03-01 00:00:00+00') to ('2021-04-01 00:00:00+00')"""
            )


def _backdate(owner_url: str) -> None:
    """As if what there is had been written long ago."""
    with psycopg.connect(owner_url) as owner:
        owner.execute("set search_path = instrument_registry")
        owner.execute("update events set recorded_at = %s, occurred_at = %s", (LONG_AGO, LONG_AGO))
        owner.execute("update appends set recorded_at = %s", (LONG_AGO,))
        owner.execute(
            """update audit_records set at = %s,
                      text = regexp_replace(text, '"at":"[^"]*"', '"at":"2021-03-15T06:00:00.000000Z"')""",
            (LONG_AGO,),
        )


async def _verified(database: Database, folder: Path) -> Verdict:
    archived = await archiving.prove_records(database, folder)
    with database.blocking_session("test") as connection:
        return inspection.inspect(connection, keys=Outside(folder).trusted(), archived=archived)


async def _signed(database: Database, folder: Path) -> None:
    async with database.session("test") as session:
        work = await sealer.prepare(session, Outside(folder), clock=now)
        await catch_up(database)
        await work.seal()
        await work.sign()
    await asyncio.sleep(0)
