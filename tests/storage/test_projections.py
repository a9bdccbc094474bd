"""Projections: each event counted once, whoever is killed or doubled; built anew, the same."""

import asyncio
import contextlib

import pytest

from facts import METADATA, catch_up, counted, renamed
from instrument_registry import events
from instrument_registry.clock import MARKET_ZONE, now
from instrument_registry.database import Database
from instrument_registry.events import sequencer, snapshots
from instrument_registry.events.projections import daily, service
from instrument_registry.events.projections.model import AlreadyProjected, Rebuilt
from instrument_registry.events.snapshots import NoSuchVersion

KEPT = daily.DAILY_FACTS


async def tell(database: Database, count: int, *, stream: str = "a") -> None:
    """Facts, with their positions."""
    for number in range(count):
        async with database.transaction() as tx:
            await events.append(tx, counted(number), renamed(), stream=stream, metadata=METADATA)
    await catch_up(database)


async def reached(database: Database, position: int) -> None:
    async with asyncio.timeout(20):
        while True:
            async with database.transaction(read_only=True) as tx:
                if await service.position(tx, KEPT.name) == position:
                    return
            await asyncio.sleep(0.01)


async def totals(database: Database) -> dict[str, int]:
    today = now().astimezone(MARKET_ZONE).date()
    async with database.transaction(read_only=True) as tx:
        return {one.type: one.facts for one in await daily.listed(tx, first=today, last=today)}


@contextlib.asynccontextmanager
async def kept_up(database: Database, workers: int = 1):
    tasks = [asyncio.create_task(service.keep_up(database, KEPT)) for _ in range(workers)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class TestKeepingUp:
    async def test_counts_each_event_once_though_two_workers_do_it(self, database: Database) -> None:
        async with kept_up(database, workers=2):
            await tell(database, 30)
            await reached(database, 60)

        assert await totals(database) == {"test.counted": 30, "test.renamed": 30}

    async def test_goes_on_where_it_was(self, database: Database) -> None:
        await tell(database, 2)
        async with kept_up(database):
            await reached(database, 4)
        await tell(database, 3)
        async with kept_up(database):
            await reached(database, 10)

        assert await totals(database) == {"test.counted": 5, "test.renamed": 5}


class TestBuildingAnew:
    async def test_says_the_same_as_the_one_that_was_kept_up(self, database: Database) -> None:
        await tell(database, 20)
        async with kept_up(database):
            await reached(database, 40)

        made = await service.rebuild(database, KEPT)

        assert made.equal
        assert (made.generation, made.position, made.events) == (2, 40, 40)
        assert await totals(database) == {"test.counted": 20, "test.renamed": 20}
        async with database.transaction(read_only=True) as tx:
            assert [one.generation for one in await service.states(tx)] == [2]

    async def test_finds_and_mends_one_that_went_wrong(self, database: Database) -> None:
        await tell(database, 5)
        async with kept_up(database):
            await reached(database, 10)
        async with database.transaction() as tx:
            await tx.execute("update daily_facts set facts = facts + 1 where type = 'test.counted'")

        made = await service.rebuild(database, KEPT)

        assert not made.equal
        assert await totals(database) == {"test.counted": 5, "test.renamed": 5}

    async def test_misses_nothing_while_others_tell_and_one_keeps_up(self, database: Database) -> None:
        await tell(database, 5)
        sequencing = asyncio.create_task(sequencer.run(database))
        async with kept_up(database):
            made, _ = await asyncio.gather(_rebuilt_thrice(database), _tell_on(database, 60))
            await reached(database, 130)
        sequencing.cancel()
        await asyncio.gather(sequencing, return_exceptions=True)

        assert all(one.equal for one in made)
        assert await totals(database) == {"test.counted": 65, "test.renamed": 65}

    async def test_of_nothing_is_nothing(self, database: Database) -> None:
        made = await service.rebuild(database, KEPT)

        assert (made.equal, made.position, made.events) == (True, 0, 0)


class TestAPosition:
    async def test_only_moves_forward(self, database: Database) -> None:
        async with database.transaction() as tx:
            await service.move(tx, "mine", to=5)
        for position in (5, 4):
            with pytest.raises(AlreadyProjected):
                async with database.transaction() as tx:
                    await service.move(tx, "mine", to=position)
        async with database.transaction() as tx:
            assert await service.position(tx, "mine") == 5
            assert await service.position(tx, "other") is None


class TestSnapshots:
    async def test_the_newest_is_where_reading_goes_on(self, database: Database) -> None:
        await tell(database, 3, stream="s")
        async with database.transaction() as tx:
            await snapshots.save(tx, "s", version=2, data='{"sum":1}')
            await snapshots.save(tx, "s", version=4, data='{"sum":2}')
            found = await snapshots.newest(tx, "s")
            before = await snapshots.newest(tx, "s", at_version=3)
            nothing = await snapshots.newest(tx, "t")
            rest = await events.read_stream(tx, "s", after_version=4)

        assert found is not None and (found.version, found.data) == (4, '{"sum":2}')
        assert before is not None and before.version == 2
        assert nothing is None
        assert [event.stream_version for event in rest] == [5, 6]

    @pytest.mark.parametrize("version", [1, 7], ids=["taken", "not reached"])
    async def test_of_a_version_that_is_taken_or_not_reached_is_refused(self, database: Database, version: int) -> None:
        await tell(database, 3, stream="s")
        async with database.transaction() as tx:
            await snapshots.save(tx, "s", version=1, data="{}")
        with pytest.raises(NoSuchVersion):
            async with database.transaction() as tx:
                await snapshots.save(tx, "s", version=version, data="{}")


async def _rebuilt_thrice(database: Database) -> list[Rebuilt]:
    return [await service.rebuild(database, KEPT) for _ in range(3)]


async def _tell_on(database: Database, count: int) -> None:
    for number in range(count):
        async with database.transaction() as tx:
            await events.append(tx, counted(number), renamed(), stream="b", metadata=METADATA)
        await asyncio.sleep(0.005)
