"""Schedules: due on sessions, fetched once, tried again while the morning lasts, missed out loud."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from instrument_registry.catalog.ingestion import jobs, schedule
from instrument_registry.catalog.ingestion.jobs import JobStatus
from instrument_registry.catalog.ingestion.schedule import NoSchedule, Schedule, ScheduleState
from instrument_registry.clock import MARKET_ZONE
from instrument_registry.database import Database
from instrument_registry.errors import Invalid
from instrument_registry.events import Metadata

METADATA = Metadata(actor="tests", correlation_id="c-1")
FRIDAY = datetime(2026, 8, 21, tzinfo=MARKET_ZONE)
MONDAY = FRIDAY + timedelta(days=3)
DUE = FRIDAY.replace(hour=8, minute=40)
MINUTE = timedelta(minutes=1)


def made(
    cron: str = "40 8 * * *", *, venue: str | None = "NSE", changed_at: datetime = FRIDAY - timedelta(days=30)
) -> Schedule:
    return Schedule(
        broker="zerodha", cron=cron, venue=venue, grace_minutes=60, paused=False, actor="tests", changed_at=changed_at
    )


async def put(database: Database, *, at: datetime = FRIDAY, paused: bool = False, venue: str | None = "NSE") -> None:
    async with database.transaction() as tx:
        await schedule.save(
            tx, "zerodha", "40 8 * * *", venue=venue, grace_minutes=60, paused=paused, metadata=METADATA, at=at
        )


async def queue(database: Database, now: datetime) -> list[int]:
    """The attempts that become jobs at an instant."""
    async with database.transaction() as tx:
        return [attempt for _, _, attempt, _ in await schedule.queue_due(tx, now=now)]


async def end(database: Database, at: datetime, *, run: str | None = None) -> None:
    """The waiting job ends: it failed, or its run ended some way."""
    async with database.transaction() as tx:
        job = await jobs.take(tx, at=at)
        assert job is not None
        if run is not None:
            await tx.execute(
                """insert into ingestions (broker, feed, market_date, status, digest, actor, correlation_id, started_at)
                   values ('zerodha', 'kite', %s, %s, '', 'tests', 'c-1', %s)""",
                (at.astimezone(MARKET_ZONE).date(), run, at),
            )
        status = JobStatus.FAILED if run is None else JobStatus.DONE
        await jobs.finish(tx, job, status=status, result={}, at=at)


async def state(database: Database, now: datetime) -> ScheduleState:
    async with database.transaction(read_only=True) as tx:
        (one,) = await schedule.states(tx, now=now)
        return one


class TestDueTimes:
    def test_it_is_read_in_market_time_and_due_at_its_minute(self) -> None:
        assert schedule.last_due(made(), now=datetime(2026, 8, 21, 3, 10, tzinfo=UTC)) == (DUE, None)
        assert schedule.next_due(made(), now=DUE - MINUTE) == DUE

    def test_days_without_a_session_are_passed_over(self) -> None:
        saturday_noon = DUE + timedelta(days=1, hours=4)

        assert schedule.last_due(made(), now=saturday_noon) == (DUE, None)
        assert schedule.next_due(made(), now=saturday_noon) == MONDAY.replace(hour=8, minute=40)
        assert schedule.next_due(made(venue=None), now=saturday_noon) == DUE + timedelta(days=2)

    def test_nothing_was_due_before_it_was_set(self) -> None:
        assert schedule.last_due(made(changed_at=DUE + MINUTE), now=DUE + 2 * MINUTE) is None

    def test_a_day_the_calendar_does_not_know_counts_with_a_warning(self) -> None:
        due, warning = schedule.last_due(made(), now=datetime(2031, 8, 20, 12, tzinfo=MARKET_ZONE)) or (None, None)

        assert due == datetime(2031, 8, 20, 8, 40, tzinfo=MARKET_ZONE)
        assert "known from" in str(warning)

    def test_a_day_that_never_comes_is_never_due(self) -> None:
        assert schedule.next_due(made("0 8 30 2 *"), now=DUE) is None
        assert schedule.last_due(made("0 8 30 2 *"), now=DUE) is None


class TestKeeping:
    async def test_what_is_due_becomes_one_job_though_two_look_at_once(self, database: Database) -> None:
        await put(database)
        early = await queue(database, DUE - MINUTE)
        async with database.transaction() as tx:
            first = await schedule.queue_due(tx, now=DUE)
            looking = asyncio.create_task(queue(database, DUE))
            await asyncio.wait({looking}, timeout=0.3)  # it waits for what the first one does
        second = await looking

        assert (early, [attempt for _, _, attempt, _ in first], second) == ([], [1], [])
        async with database.transaction(read_only=True) as tx:
            (job,) = await jobs.listed(tx, limit=10)
        assert (job.arguments, job.actor) == ({"broker": "zerodha"}, "schedule")

    async def test_a_failed_one_is_tried_again_a_little_later_each_time(self, database: Database) -> None:
        await put(database)
        now, tried = DUE, []
        for wait in (timedelta(), *schedule.RETRY_AFTER):
            before = await queue(database, now + wait - MINUTE) if wait else []
            now += wait
            tried += [before, await queue(database, now)]
            await end(database, now)
        after = await queue(database, now + timedelta(hours=1))

        assert [attempts for attempts in tried if attempts] == [[number] for number in range(1, 9)]
        assert tried[2::2] == [[]] * 7
        assert after == []

    @pytest.mark.parametrize("run", ["applied", "unchanged", "quarantined", "refused"])
    async def test_what_was_applied_or_kept_out_is_not_fetched_again(self, database: Database, run: str) -> None:
        await put(database)
        await queue(database, DUE)
        await end(database, DUE + MINUTE, run=run)

        assert await queue(database, DUE + timedelta(minutes=30)) == []

    async def test_the_next_session_is_a_new_morning(self, database: Database) -> None:
        await put(database)
        await queue(database, DUE)
        await end(database, DUE + MINUTE, run="applied")
        weekend = await queue(database, DUE + timedelta(days=1))
        monday = await queue(database, DUE + timedelta(days=3))

        assert (weekend, monday) == ([], [1])

    async def test_an_hour_that_is_long_past_is_not_made_up_for(self, database: Database) -> None:
        await put(database)

        assert await queue(database, DUE + schedule.MORNING + MINUTE) == []

    async def test_a_paused_one_is_not_due(self, database: Database) -> None:
        await put(database, paused=True)

        assert await queue(database, DUE) == []
        assert ((await state(database, DUE)).next_due, (await state(database, DUE)).last) == (None, None)


class TestMornings:
    async def test_one_is_missed_after_its_grace_when_nothing_was_applied(self, database: Database) -> None:
        await put(database)
        last = [(await state(database, DUE + wait)).last for wait in (timedelta(0), 59 * MINUTE, 60 * MINUTE)]

        assert [(one.done, one.missed) for one in last if one] == [(False, False), (False, False), (False, True)]

    async def test_a_quarantined_dump_leaves_it_missed(self, database: Database) -> None:
        await put(database)
        await queue(database, DUE)
        await end(database, DUE + MINUTE, run="quarantined")
        last = (await state(database, DUE + timedelta(hours=2))).last

        assert last is not None
        assert last.missed

    async def test_a_dump_somebody_brought_by_hand_counts(self, database: Database) -> None:
        await put(database)
        await queue(database, DUE)
        await end(database, DUE + MINUTE, run="applied")
        last = (await state(database, DUE + timedelta(hours=2))).last

        assert last is not None
        assert (last.done, last.missed) == (True, False)


class TestChanging:
    async def test_pausing_keeps_the_rest_and_both_are_told(self, database: Database) -> None:
        await put(database)
        async with database.transaction() as tx:
            paused = await schedule.pause(tx, "zerodha", paused=True, metadata=METADATA, at=DUE)
            await schedule.remove(tx, "zerodha", metadata=METADATA, at=DUE)
            told = await (await tx.execute("select type from events order by number")).fetchall()

        assert (paused.cron, paused.venue, paused.paused) == ("40 8 * * *", "NSE", True)
        assert [kind for (kind,) in told] == ["schedule.set", "schedule.set", "schedule.removed"]

    async def test_one_that_is_not_there_is_said(self, database: Database) -> None:
        async with database.transaction() as tx:
            with pytest.raises(NoSchedule):
                await schedule.remove(tx, "zerodha", metadata=METADATA, at=DUE)
            with pytest.raises(NoSchedule):
                await schedule.pause(tx, "zerodha", paused=True, metadata=METADATA, at=DUE)

    @pytest.mark.parametrize(
        ("broker", "cron", "venue", "grace", "field"),
        [("zeroda", "40 8 * * *", "NSE", 60, "broker"), ("zerodha", "40 8 * *", "NSE", 60, "cron"),
         ("zerodha", "@daily", "NSE", 60, "cron"), ("zerodha", "40 8 * * *", "MARS", 60, "venue"),
         ("zerodha", "40 8 * * *", "NSE", 0, "grace_minutes"), ("zerodha", "40 8 * * *", "NSE", 1441, "grace_minutes")],
    )  # fmt: skip
    def test_what_makes_no_sense_is_refused(self, broker: str, cron: str, venue: str, grace: int, field: str) -> None:
        with pytest.raises(Invalid) as refusal:
            schedule.check(broker, cron, venue=venue, grace_minutes=grace)

        assert refusal.value.facts["field"] == field
