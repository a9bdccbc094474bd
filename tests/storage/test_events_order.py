"""The order everybody reads in: two reads that look right and are not, and the one that is."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import pytest
import pytest_asyncio

from facts import METADATA, catch_up, counted
from instrument_registry import events
from instrument_registry.database import Database, Transaction
from instrument_registry.events import Event, sequencer

WRITERS = 8
STREAMS = 12
Seen = tuple[str, int]  # stream and version


class ByNumber:
    """The naive read: whatever has a higher insertion number than the last one seen."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._last = 0

    async def read(self, tx: Transaction) -> None:
        rows = await _events(tx, "e.number > %s", self._last)
        self.seen += [seen for seen, _ in rows]
        self._last = max([self._last, *(number for _, number in rows)])


class BySnapshot:
    """The clever read: transactions older than any that still runs, window by window, sorted by number."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._horizon = 0

    async def read(self, tx: Transaction) -> None:
        row = await (
            await tx.execute("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint % (2 ^ 32)::bigint")
        ).fetchone()
        assert row is not None
        window = "e.xmin::text::bigint >= %s and e.xmin::text::bigint < %s"
        self.seen += [seen for seen, _ in await _events(tx, window, self._horizon, row[0])]
        self._horizon = row[0]


class ByPosition:
    """The read of this house."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._last = 0

    @property
    def seen(self) -> list[Seen]:
        return [(event.stream, event.stream_version) for event in self.events]

    async def read(self, tx: Transaction) -> None:
        page = await events.read(tx, after=self._last)
        self.events += page.events
        self._last = page.position


class TestATransactionThatCommitsLate:
    async def test_is_missed_by_number_and_not_by_position(self, database: Database) -> None:
        naive, ours = ByNumber(), ByPosition()

        async with database.transaction() as late:
            await events.append(late, counted(1), stream="late", metadata=METADATA)
            async with database.transaction() as tx:
                await events.append(tx, counted(2), stream="quick", metadata=METADATA)
            await _read_all(database, naive, ours)
        await _read_all(database, naive, ours)

        assert naive.seen == [("quick", 1)]
        assert ours.seen == [("quick", 1), ("late", 1)]

    async def test_delays_nobody_else(self, database: Database) -> None:
        ours = ByPosition()
        async with database.transaction() as late:
            await events.append(late, counted(1), stream="late", metadata=METADATA)
            for number in range(20):
                async with database.transaction() as tx:
                    await events.append(tx, counted(number), stream="quick", metadata=METADATA)
            await _read_all(database, ours)
            assert len(ours.seen) == 20

    async def test_that_is_undone_leaves_no_gap(self, database: Database) -> None:
        ours = ByPosition()
        for number in range(6):
            try:
                async with database.transaction() as tx:
                    await events.append(tx, counted(number), stream="a", metadata=METADATA)
                    if number % 2:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        await _read_all(database, ours)

        assert [event.position for event in ours.events] == [1, 2, 3]
        assert [event.data for event in ours.events] == ['{"number":0}', '{"number":2}', '{"number":4}']


class TestATransactionThatTakesItsIdEarly:
    async def test_breaks_a_stream_in_a_snapshot_window_and_not_by_position(self, database: Database) -> None:
        clever, ours = BySnapshot(), ByPosition()

        async with database.transaction() as holding:
            async with database.transaction() as early:
                await early.execute("select pg_current_xact_id()")
                await holding.execute("select pg_current_xact_id()")
                async with database.transaction() as tx:
                    await events.append(tx, counted(1), stream="shared", metadata=METADATA)
                await events.append(early, counted(2), stream="shared", metadata=METADATA)
            # Other tests' transactions on this server hold the horizon back for a moment.
            await _until(lambda: _read_all(database, clever, ours), lambda: bool(clever.seen))
        await _until(lambda: _read_all(database, clever, ours), lambda: len(clever.seen) == 2)

        assert clever.seen == [("shared", 2), ("shared", 1)]
        assert ours.seen == [("shared", 1), ("shared", 2)]


class TestEightWriters:
    @pytest.mark.parametrize("seed", [1, 2])
    async def test_lose_nothing_and_keep_each_streams_order(self, database: Database, seed: int) -> None:
        await _eight_write_three_read(database, seed=seed, appends=2_000)

    @pytest.mark.nemesis
    @pytest.mark.parametrize("seed", range(3, 23))
    async def test_lose_nothing_in_a_long_run(self, database: Database, seed: int) -> None:
        await _eight_write_three_read(database, seed=seed, appends=12_000)


async def _eight_write_three_read(database: Database, *, seed: int, appends: int) -> None:
    naive, clever, readers = ByNumber(), BySnapshot(), [ByPosition() for _ in range(3)]
    done = asyncio.Event()

    async def read_on(*reading: ByNumber | BySnapshot | ByPosition, sequencing: bool) -> None:
        while not done.is_set():
            await _read_all(database, *reading, sequencing=sequencing)
            await asyncio.sleep(0.001)

    first, *others = readers
    tasks = [asyncio.create_task(read_on(naive, clever, first, sequencing=True))]
    tasks += [asyncio.create_task(read_on(one, sequencing=False)) for one in others]
    written = Counter[str]()
    for counts in await asyncio.gather(
        *(_write(database, random.Random(f"{seed}/{writer}"), appends // WRITERS) for writer in range(WRITERS))
    ):
        written += counts
    done.set()
    await asyncio.gather(*tasks)
    await _read_all(database, naive, *readers)
    await _until(lambda: _read_all(database, clever), lambda: len(clever.seen) == written.total())

    for ours in readers:
        assert Counter(stream for stream, _ in ours.seen) == written
        assert len(set(ours.seen)) == len(ours.seen)
        assert [event.position for event in ours.events] == list(range(1, written.total() + 1))
        assert len({event.event_id for event in ours.events}) == written.total()
        assert _out_of_order(ours.seen) == 0
    assert written.total() - len(set(naive.seen)) > 0
    assert _out_of_order(clever.seen) > 0


class TestFollowing:
    @pytest_asyncio.fixture
    async def sequencing(self, database: Database) -> AsyncIterator[None]:
        task = asyncio.create_task(sequencer.run(database))
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def test_hears_of_a_commit_soon_after_it(self, database: Database, sequencing: None) -> None:
        pages = events.follow(database, after=0)
        waits_seconds = []
        for number in range(10):
            coming = asyncio.ensure_future(anext(pages))
            await asyncio.sleep(0.05)
            async with database.transaction() as tx:
                await events.append(tx, counted(number), stream="a", metadata=METADATA)
            committed = time.perf_counter()
            await events.wake(database)
            page = await asyncio.wait_for(coming, 5)
            waits_seconds.append(time.perf_counter() - committed)
            assert [event.data for event in page.events] == [f'{{"number":{number}}}']
        await pages.aclose()

        assert sorted(waits_seconds)[5] < 0.2  # alone it is a few milliseconds; the poll would take up to 250

    async def test_hears_of_it_without_being_woken(self, database: Database, sequencing: None) -> None:
        async with database.transaction() as tx:
            await events.append(tx, counted(1), counted(2), stream="a", metadata=METADATA)
        pages = events.follow(database, after=1, types=["test.counted"])

        page = await asyncio.wait_for(anext(pages), 5)
        await pages.aclose()

        assert (page.position, [event.position for event in page.events]) == (2, [2])

    async def test_moves_on_past_what_was_not_asked_for(self, database: Database) -> None:
        async with database.transaction() as tx:
            await events.append(tx, *map(counted, range(30)), stream="a", metadata=METADATA)
        await catch_up(database)
        pages = events.follow(database, after=0, types=["test.renamed"], limit=20)

        assert [((await anext(pages)).position) for _ in range(2)] == [20, 30]
        await pages.aclose()


class TestASecondSequencer:
    async def test_waits_until_the_first_is_gone(self, database: Database) -> None:
        first = asyncio.create_task(sequencer.run(database))
        async with database.transaction() as tx:
            await events.append(tx, counted(1), stream="a", metadata=METADATA)
        await _reaches(database, 1)
        second = asyncio.create_task(sequencer.run(database))
        await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with database.transaction() as tx:
            await events.append(tx, counted(2), stream="a", metadata=METADATA)

        await _reaches(database, 2)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


async def _write(database: Database, chance: random.Random, appends: int) -> Counter[str]:
    """Some transactions that take their id early and write several streams, some that stay open."""
    written = Counter[str]()
    left = appends
    while left > 0:
        streams = sorted(chance.sample(range(STREAMS), k=min(left, chance.choice([1, 1, 2, 3]))))
        async with database.transaction() as tx:
            if chance.random() < 0.5:
                await tx.execute("select pg_current_xact_id()")
                await asyncio.sleep(chance.random() * 0.005)
            for stream in streams:
                facts = chance.choice([1, 1, 1, 2])
                await events.append(tx, *map(counted, range(facts)), stream=f"s{stream}", metadata=METADATA)
                written[f"s{stream}"] += facts
            if chance.random() < 0.05:
                await asyncio.sleep(0.02 + chance.random() * 0.08)
        left -= len(streams)
    return written


async def _events(tx: Transaction, condition: str, *values: object) -> list[tuple[Seen, int]]:
    statement = f"""
        select a.stream, a.version - a.facts + 1 + (e.number & 1048575), e.number
          from events e join appends a on a.number = e.number >> 20 << 20 where {condition} order by e.number
    """
    rows = await (await tx.execute(statement.encode(), values)).fetchall()
    return [((stream, version), number) for stream, version, number in rows]


async def _read_all(database: Database, *readers: ByNumber | BySnapshot | ByPosition, sequencing: bool = True) -> None:
    if sequencing and any(isinstance(reader, ByPosition) for reader in readers):
        await catch_up(database)
    for reader in readers:
        before = -1
        while before != len(reader.seen):
            before = len(reader.seen)
            async with database.transaction(read_only=True) as tx:
                await reader.read(tx)


async def _reaches(database: Database, position: int) -> None:
    async with asyncio.timeout(10):
        while True:
            async with database.transaction() as tx:
                if await events.head_position(tx) >= position:
                    return
            await asyncio.sleep(0.01)


async def _until(step: Callable[[], Awaitable[object]], reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        await step()
        while not reached():
            await asyncio.sleep(0.01)
            await step()


def _out_of_order(seen: Iterable[Seen]) -> int:
    newest: dict[str, int] = {}
    broken = 0
    for stream, version in seen:
        broken += version != newest.get(stream, 0) + 1
        newest[stream] = version
    return broken
