"""A consumer on the fast road: Redis may burn down at any moment, and it misses nothing."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from facts import METADATA
from instrument_registry.clock import now
from instrument_registry.database import Database
from instrument_registry.events.streams import consumers, dead_letters, layout, redis_streams
from instrument_registry.events.streams.layout import Ordering
from instrument_registry.events.streams.model import Failed, Handed, Letters, Retrying, Wanted
from instrument_registry.events.streams.redis_reader import NotOnRedis, Reader
from instrument_registry.events.streams.redis_streams import Streams
from instrument_registry.events.streams.relay import Bounds
from redis_servers import RedisServer, binaries, serving
from relaying import append, reaches, relaying, sequencing, tell, told

CONSUMER = "prices"
ATTEMPTS = 3
GOES_ON_WITHIN_SECONDS = 20
SMALL = Bounds(poll_seconds=0.02, look_seconds=0.05, kept_events=20, cap_events=50, trim_after_events=10)


@pytest.fixture(params=list(binaries()))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of one's own."""
    with serving(binaries()[request.param], tmp_path / "redis") as started:
        yield started


@contextlib.asynccontextmanager
async def reading(
    database: Database, server: RedisServer, *, process: str = "first", dies: bool = False, batch_size: int = 20
) -> AsyncIterator[Reader]:
    """One process of the consumer; one that dies gives nothing back."""
    client = redis_streams.connect(server.url)
    reader = Reader(
        database,
        Streams(client, Ordering.PARTITION, owner=process),
        CONSUMER,
        process=process,
        stream_id=uuid4(),
        batch_size=batch_size,
        retrying=Retrying(attempts_max=ATTEMPTS, first_wait_seconds=0.01),
        clock=now,
        dead_after_seconds=0.2,
    )
    try:
        yield reader
    finally:
        if not dies:
            await reader.close()
        await redis_streams.disconnect(client)


async def create(database: Database, wanted: Wanted | None = None) -> None:
    async with database.transaction() as tx:
        await consumers.create(tx, CONSUMER, wanted or Wanted(), start="earliest", metadata=METADATA, at=now())


async def drink(reader: Reader, into: list[Handed], *, up_to: int, within_seconds: float = 20) -> None:
    """Take and acknowledge until every position up to that one has come: streams have no common order."""
    async with asyncio.timeout(within_seconds):
        while not _all_up_to(into, up_to):
            batch = await reader.read()
            into += batch
            await reader.acknowledge(batch)


def _all_up_to(taken: list[Handed], last: int) -> bool:
    places = {one.event.position or 0 for one in taken}
    return last in places and set(range(min(places), last)) <= places


async def position(database: Database) -> int:
    async with database.transaction() as tx:
        return (await consumers.find(tx, CONSUMER)).position


def seen(taken: list[Handed]) -> Counter[int]:
    return Counter(one.event.position or 0 for one in taken)


class TestAGroupWhosePositionIsOnRedisAlone:
    async def test_misses_what_was_told_while_all_was_lost(self, database: Database, server: RedisServer) -> None:
        """What programs do when they are told NOGROUP: they make the group again."""
        taken: list[int] = []

        def read() -> None:
            with server.client() as client:
                for _, entries in client.xreadgroup("naive", "me", {layout.ONE_STREAM: ">"}):
                    taken.extend(layout.position_of(one) for one, _ in entries)

        async with relaying(database, server.url, ordering=Ordering.GLOBAL):
            await reaches(server, 0)
            server.do("XGROUP", "CREATE", layout.ONE_STREAM, "naive", "0")
            await tell(database, 20)
            await reaches(server, 20)
            read()
            await tell(database, 10)
            await reaches(server, 30)
            server.do("FLUSHALL")
            await reaches(server, 30)
            server.do("XGROUP", "CREATE", layout.ONE_STREAM, "naive", "$")
            await tell(database, 10)
            await reaches(server, 40)
            read()

        assert set(range(1, 41)) - set(taken) == set(range(21, 31))


class TestTheFastRoad:
    async def test_brings_everything_once_and_notes_how_far(self, database: Database, server: RedisServer) -> None:
        taken: list[Handed] = []
        await create(database)
        async with sequencing(database), relaying(database, server.url), reading(database, server) as reader:
            writing = asyncio.create_task(append(database, 300, at_once=3))
            await drink(reader, taken, up_to=300)
            await writing
            everything = await told(database)  # one of them is that the consumer was made
            await drink(reader, taken, up_to=max(everything))

            assert {one.event.position: str(one.event.event_id) for one in taken} == everything
            assert set(seen(taken).values()) == {1}
            assert await position(database) == max(everything)
            subjects: dict[str | None, list[int]] = {}
            for one in taken:
                subjects.setdefault(one.event.subject, []).append(one.event.position or 0)
            assert all(places == sorted(places) for places in subjects.values())
            for key in reader._streams.keys[1:]:
                (group,) = await reader._streams.client.xinfo_groups(key)
                assert (group["pending"], group["lag"]) == (0, 0)

    async def test_goes_on_by_itself_when_all_is_lost(self, database: Database, server: RedisServer) -> None:
        taken: list[Handed] = []
        await create(database)
        async with sequencing(database), relaying(database, server.url), reading(database, server) as reader:
            for round_ in range(3):
                await append(database, 100, at_once=10)
                before = 1 + 100 * round_ + 50
                await drink(reader, taken, up_to=before)
                server.do("FLUSHALL")
                await append(database, 1)
                async with asyncio.timeout(GOES_ON_WITHIN_SECONDS):  # bench/relay.py says how long it takes
                    await drink(reader, taken, up_to=102 + 100 * round_)
            everything = await told(database)
            await drink(reader, taken, up_to=max(everything))

        assert set(seen(taken)) == set(everything)
        assert set(seen(taken).values()) == {1}
        assert await position(database) == max(everything)

    async def test_gives_only_what_was_asked_for(self, database: Database, server: RedisServer) -> None:
        taken: list[Handed] = []
        await create(database, Wanted(event_types=("consumer.*", "test.counted")))
        async with relaying(database, server.url), reading(database, server) as reader:
            await tell(database, 50)
            await reaches(server, 51)
            async with asyncio.timeout(20):
                while await position(database) < 51:
                    taken += await reader.read()
                    await reader.acknowledge(taken)

        assert {one.name for one in taken} <= {"consumer.created"}

    async def test_is_not_for_bulk_runs(self, database: Database, server: RedisServer) -> None:
        await create(database, Wanted(bulk=True))
        async with reading(database, server) as reader:
            with pytest.raises(NotOnRedis):
                await reader.read()


class TestWhatCouldNotBeDone:
    async def test_is_tried_again_and_then_a_dead_letter_while_the_others_go_on(
        self, database: Database, server: RedisServer
    ) -> None:
        taken: list[Handed] = []
        tries: list[int] = []
        await create(database)
        await tell(database, 30)
        async with relaying(database, server.url), reading(database, server) as reader:
            async with asyncio.timeout(20):
                while len(tries) < ATTEMPTS or await position(database) < 31:
                    for one in await reader.read():
                        if one.event.position == 7:
                            tries.append(one.attempt)
                            await reader.fail(one, Failed(7, "no price"))
                            if len(tries) == 1:
                                server.do("FLUSHALL")  # the count is kept elsewhere
                        else:
                            taken.append(one)
                            await reader.acknowledge([one])
        async with database.transaction() as tx:
            letters = await dead_letters.listed(tx, Letters(consumer_id=CONSUMER))

        assert tries == [1, 2, 3]
        assert [(letter.position, letter.reason, letter.attempts) for letter in letters] == [(7, "no price", 3)]
        assert set(seen(taken)) == set(range(1, 32)) - {7}
        assert set(seen(taken).values()) == {1}

    async def test_because_it_kills_whoever_tries_is_a_dead_letter_too(
        self, database: Database, server: RedisServer
    ) -> None:
        taken: list[Handed] = []
        await create(database)
        await tell(database, 12)
        deaths = 0
        async with relaying(database, server.url):
            await reaches(server, 13)
            for _ in range(20):
                async with reading(database, server, process="same", dies=True, batch_size=5) as reader:
                    async with asyncio.timeout(20):
                        while await position(database) < 13:
                            batch = await reader.read()
                            if any(one.event.position == 7 for one in batch):
                                deaths += 1
                                break
                            taken += batch
                            await reader.acknowledge(batch)
                        else:
                            break
        async with database.transaction() as tx:
            letters = await dead_letters.listed(tx, Letters(consumer_id=CONSUMER))

        assert [letter.position for letter in letters] == [7]
        assert ATTEMPTS <= deaths <= ATTEMPTS + 1
        assert set(seen(taken)) == set(range(1, 14)) - {7}


class TestWhatRedisHasNot:
    async def test_is_read_from_the_store(self, database: Database, server: RedisServer) -> None:
        taken: list[Handed] = []
        await create(database)
        await tell(database, 200)
        async with relaying(database, server.url, bounds=SMALL), reading(database, server) as reader:
            await reaches(server, 201)
            await drink(reader, taken, up_to=201)
            await tell(database, 30)
            await drink(reader, taken, up_to=231)
            async with asyncio.timeout(20):
                while not reader._joined:
                    assert await reader.read() == []
            await tell(database, 10)
            await drink(reader, taken, up_to=241)
            assert reader._joined

        assert set(seen(taken)) == set(range(1, 242))
        assert set(seen(taken).values()) == {1}

    async def test_because_it_is_away_is_read_from_the_store(self, database: Database, server: RedisServer) -> None:
        taken: list[Handed] = []
        await create(database)
        await tell(database, 50)
        async with relaying(database, server.url), reading(database, server) as reader:
            await drink(reader, taken, up_to=51)
            server.end()
            await tell(database, 50)
            await drink(reader, taken, up_to=101)
            server.start()
            await reaches(server, 101)
            await tell(database, 50)
            await drink(reader, taken, up_to=151)

        assert set(seen(taken)) == set(range(1, 152))

    async def test_because_it_has_no_memory_is_read_from_the_store(
        self, database: Database, server: RedisServer
    ) -> None:
        taken: list[Handed] = []
        await create(database)
        await tell(database, 50)
        async with relaying(database, server.url), reading(database, server) as reader:
            await drink(reader, taken, up_to=51)
            server.do("CONFIG", "SET", "maxmemory", "1")
            for last in (101, 151):
                await tell(database, 50)
                await drink(reader, taken, up_to=last)
            server.do("CONFIG", "SET", "maxmemory", "0")
            await reaches(server, 151)
            await tell(database, 50)
            await drink(reader, taken, up_to=201)

        assert set(seen(taken)) == set(range(1, 202))
        assert set(seen(taken).values()) == {1}

    async def test_because_an_operator_went_back_is_read_again(self, database: Database, server: RedisServer) -> None:
        taken: list[Handed] = []
        again: list[Handed] = []
        await create(database)
        await tell(database, 50)
        async with relaying(database, server.url), reading(database, server) as reader:
            await drink(reader, taken, up_to=51)
            async with database.transaction() as tx:
                await consumers.seek(tx, CONSUMER, 20, reason="a mistake", metadata=METADATA, at=now())
            reader._renew_at = 0.0
            await tell(database, 1)
            await drink(reader, again, up_to=53)

        assert set(seen(again)) == set(range(20, 54))
