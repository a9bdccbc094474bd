"""The summary: what the catalogue holds, where it comes from, how fresh it is."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from catalogues import Load, take
from desk import TEA, Caller, Desk, opened
from instrument_registry.access.model import Scope
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.database import Database

pytestmark = pytest.mark.tea


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def reader(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller(Scope.READER) as one:
        yield one


class TestSummary:
    async def test_it_counts_what_there_is(self, reader: Caller) -> None:
        told = await reader.told("/catalog/summary")

        assert told["instruments"] == 8
        assert told["by_venue"] == {"NFO": 4, "NSE": 3, "BSE": 1}
        assert told["by_kind"] == {"equity": 3, "option": 3, "index": 1, "future": 1}
        assert told["by_status"] == {"active": 8}
        assert told["by_broker"] == {"zerodha": 8}
        assert told["index"]["rows"] == 8
        assert told["dumps_waiting"] == 0
        assert told["catalog_position"] == reader.catalogue.position

    async def test_two_workers_tell_one_digest(self, desk: Desk, reader: Caller) -> None:
        async with desk.caller() as other:
            digests = [(await one.told("/catalog/summary"))["index"]["digest"] for one in (reader, other)]

        assert digests[0] == digests[1]
        assert int(digests[0], 16)

    async def test_each_segments_newest_run_is_named_and_grows_old(self, desk: Desk, reader: Caller) -> None:
        young = await reader.told("/catalog/summary")
        desk.now = datetime(2026, 8, 31, 6, 0, tzinfo=UTC)
        await reader.catalogue.start()
        old = await reader.told("/catalog/summary")
        before = await reader.told("/catalog/summary", as_of="2026-08-17")

        assert {(run["broker"], run["age_days"], run["fresh"]) for run in young["runs"]} == {("zerodha", 0, True)}
        assert sum(run["rows"] for run in young["runs"]) == 8
        assert {(run["age_days"], run["fresh"]) for run in old["runs"]} == {(13, False)}
        assert (before["runs"], before["instruments"]) == ([], 0)

    async def test_a_dump_that_is_kept_out_is_waiting(self, desk: Desk, reader: Caller) -> None:
        torn = Dump(name="kite_NSE.csv", content=TEA.rstrip("\n").encode()[:-10])
        outcome = await take(
            desk.database, Load(broker="zerodha", day=desk.now.date(), dumps=(torn,)), clock=desk.clock
        )

        assert outcome.status == "quarantined"
        assert (await reader.told("/catalog/summary"))["dumps_waiting"] == 1
