"""Dumps that were kept out: let through once, given up once, whoever decides first."""

import asyncio
from datetime import timedelta

import pytest

from catalogues import Load, take
from desk import TEA
from frame import NOON
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.catalog.ingestion import release, reports
from instrument_registry.catalog.ingestion.model import NotHeld, Outcome, RunStatus
from instrument_registry.catalog.ingestion.release import CannotBeReleased
from instrument_registry.catalog.ingestion.reports import IngestionReport, NoSuchRun
from instrument_registry.database import Database
from instrument_registry.errors import Invalid
from instrument_registry.events import Metadata

METADATA = Metadata(actor="asha", correlation_id="c-9")
LATER = NOON + timedelta(days=1)
COFFEE = "23600001,92190,COFFEE,COFFEE HOUSE,0,,0,0.05,1,EQ,NSE,NSE\n"
HALF = "".join(line for line in TEA.splitlines(keepends=True) if "NFO" not in line) + COFFEE


async def held(database: Database, text: str = HALF) -> int:
    """A run whose dump was kept out."""
    await _brought(database, TEA, day=0)
    outcome = await _brought(database, text, day=1)
    assert outcome.status is RunStatus.QUARANTINED
    return outcome.id


async def _brought(database: Database, text: str, *, day: int) -> Outcome:
    load = Load(
        broker="zerodha",
        day=(NOON + timedelta(days=day)).date(),
        dumps=(Dump(name="kite_NSE.csv", content=text.encode()),),
    )
    return await take(database, load, clock=lambda: LATER)


async def let_through(database: Database, run: int) -> Outcome:
    return await release.release(database, run, reason="Seen and right", metadata=METADATA, clock=lambda: LATER)


async def give_up(database: Database, run: int) -> None:
    async with database.transaction() as tx:
        await release.discard(tx, run, reason="A better one came", metadata=METADATA, at=LATER)


async def report(database: Database, run: int) -> IngestionReport:
    async with database.transaction(read_only=True) as tx:
        return await reports.report(tx, run)


class TestRelease:
    async def test_it_changes_what_the_gates_kept_unchanged(self, database: Database) -> None:
        run = await held(database)
        outcome = await let_through(database, run)
        done = await report(database, run)

        assert (outcome.status, outcome.counts) == (RunStatus.APPLIED, {"listed": 1})
        assert [one.gate for one in outcome.warnings] == ["segment_missing"]
        assert (done.status, done.released_as, done.released_by) == (RunStatus.RELEASED, outcome.id, "asha")

    async def test_of_two_at_once_one_is_told_that_it_was_decided(self, database: Database) -> None:
        run = await held(database)
        ended = await asyncio.gather(let_through(database, run), let_through(database, run), return_exceptions=True)

        assert sorted(type(one).__name__ for one in ended) == ["NotHeld", "Outcome"]

    async def test_a_discarded_one_cannot_be_released_nor_a_released_one_discarded(self, database: Database) -> None:
        run = await held(database)
        await give_up(database, run)
        with pytest.raises(NotHeld):
            await let_through(database, run)
        with pytest.raises(NotHeld):
            await give_up(database, run)

        other = (await _brought(database, HALF, day=1)).id
        await let_through(database, other)
        with pytest.raises(NotHeld):
            await give_up(database, other)

    async def test_what_cannot_be_applied_even_so_stays_held(self, database: Database) -> None:
        run = await held(database, TEA[:-10])
        with pytest.raises(CannotBeReleased) as refusal:
            await let_through(database, run)

        assert "cut off" in str(refusal.value)
        assert (await report(database, run)).kept

    async def test_a_token_for_two_contracts_is_never_released(self, database: Database) -> None:
        run = await held(database, TEA + "23040257,90009,OTHER,OTHER ESTATES,0,,0,0.1,1,EQ,NSE,NSE\n")

        with pytest.raises(CannotBeReleased):
            await let_through(database, run)

    async def test_a_reason_and_a_run_are_needed(self, database: Database) -> None:
        with pytest.raises(Invalid):
            await release.release(database, 1, reason="  ", metadata=METADATA, clock=lambda: LATER)
        with pytest.raises(NoSuchRun):
            await let_through(database, 99)


class TestKeptFiles:
    async def test_they_can_be_looked_at_as_they_came_until_they_are_given_up(self, database: Database) -> None:
        run = await held(database)
        async with database.transaction(read_only=True) as tx:
            before = await release.kept_files(tx, run)
        await give_up(database, run)
        async with database.transaction(read_only=True) as tx:
            after = await release.kept_files(tx, run)

        assert before == [("kite_NSE.csv", HALF.encode())]
        assert after == []
        assert (await report(database, run)).discard_reason == "A better one came"
