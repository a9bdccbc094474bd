"""Relays that are killed, stopped and resumed, and a database that goes down under them: nothing twice, nothing out."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

import instrument_registry
from conftest import DatabaseUrls
from instrument_registry.database import Database, migrations
from instrument_registry.events.streams import layout, relay
from instrument_registry.processes.embedded import EmbeddedServer
from redis_servers import RedisServer, binaries, serving
from relaying import append, copied, marker, reaches, sequencing, standing, told, until

PROGRAM = """
import asyncio, secrets, sys
from instrument_registry.database import Database, DatabaseUnavailable
from instrument_registry.events.streams import redis_streams, relay
from instrument_registry.events.streams.layout import Ordering
from instrument_registry.events.streams.redis_streams import Streams

async def main():
    database = await Database(sys.argv[1], pool_size=1).open()
    bounds = relay.Bounds(poll_seconds=0.01, look_seconds=0.05)
    streams = Streams(redis_streams.connect(sys.argv[2]), Ordering.PARTITION, owner=secrets.token_hex(4))
    while True:
        try:
            await relay.run(database, streams, batch_size=lambda: 7, bounds=bounds)
        except DatabaseUnavailable:
            await asyncio.sleep(0.1)

asyncio.run(main())
"""
# As the server does when it has lost sight of the machine.
SENTENCE = """
select pg_terminate_backend(pid) from pg_locks
 where locktype = 'advisory' and granted and objid = %s::bigint::oid
   and database = (select oid from pg_database where datname = current_database())
"""
WRITTEN = 400
KILLS = 6


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of one's own."""
    with serving(binaries()["valkey"], tmp_path / "redis") as started:
        yield started


@contextlib.asynccontextmanager
async def relay_process(url: str, server: RedisServer) -> AsyncIterator[asyncio.subprocess.Process]:
    """A relay of its own, as the worker runs it."""
    source = str(Path(instrument_registry.__file__).parents[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, url, server.url,
        env=os.environ | {"PYTHONPATH": source}, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()


async def _killed_at_random(database: Database, url: str, server: RedisServer, chance: random.Random) -> None:
    """One relay after another, each killed somewhere, while facts are told; then one that is left in peace."""
    over = asyncio.Event()
    async with sequencing(database):
        writing = asyncio.create_task(_write_until(database, over))
        for _ in range(KILLS):
            async with relay_process(url, server) as process:
                before = marker(server).get("position", "")
                await until(lambda before=before: marker(server).get("position", "") != before)
                await asyncio.sleep(chance.random() * 0.1)
                process.kill()
        over.set()
        written = await writing
        async with relay_process(url, server):
            await reaches(server, written)

    assert copied(server) == await told(database)
    _in_order(server)


async def _write_until(database: Database, over: asyncio.Event) -> int:
    written = 0
    while not over.is_set():
        await append(database, 3)
        written += 3
        await asyncio.sleep(0.003)
    return written


class TestARelayThatIsKilled:
    async def test_anywhere_leaves_nothing_out_and_nothing_twice(
        self, database: Database, database_urls: DatabaseUrls, server: RedisServer
    ) -> None:
        await _killed_at_random(database, database_urls.service, server, random.Random(1))

    @pytest.mark.nemesis
    @pytest.mark.parametrize("seed", range(2, 22))
    async def test_anywhere_at_twenty_more_seeds(
        self, database: Database, database_urls: DatabaseUrls, server: RedisServer, seed: int
    ) -> None:
        await _killed_at_random(database, database_urls.service, server, random.Random(seed))


class TestAZombie:
    async def test_that_wakes_up_after_its_lock_was_lost_changes_nothing(
        self, database: Database, database_urls: DatabaseUrls, server: RedisServer
    ) -> None:
        chance = random.Random(5)
        async with (
            sequencing(database),
            relay_process(database_urls.service, server) as first,
            relay_process(database_urls.service, server) as second,
        ):
            writing = asyncio.create_task(append(database, WRITTEN, at_once=1))
            await until(lambda: "owner" in marker(server))
            for stopped in (first, second, first, second):
                # Whichever has the lock: if it is the stopped one, the other takes over; else nothing happens.
                await asyncio.sleep(chance.random() * 0.1)
                stopped.send_signal(signal.SIGSTOP)
                _end_session(database_urls)
                owner = marker(server)["owner"]
                with contextlib.suppress(TimeoutError):
                    await until(lambda owner=owner: marker(server)["owner"] != owner, within_seconds=1.5)
                stopped.send_signal(signal.SIGCONT)
            await writing
            await reaches(server, WRITTEN)

        assert copied(server) == await told(database)
        _in_order(server)


class TestADatabaseThatGoesDown:
    async def test_at_once_is_waited_for(self, tmp_path: Path, server: RedisServer) -> None:
        postgres = EmbeddedServer(tmp_path)
        postgres.start()
        try:
            migrations.migrate(postgres.owner_url, service_login=postgres.service_login)
            async with relay_process(postgres.service_url, server):
                for rounds in (1, 2):
                    database = await Database(postgres.service_url).open()
                    async with sequencing(database):
                        await append(database, 100, at_once=1)
                        await reaches(server, rounds * 200 - 100)
                        await append(database, 100, at_once=1)
                    os.kill(postgres.pid or 0, signal.SIGQUIT)
                    await until(lambda: postgres.exit_code() is not None)
                    await database.close()
                    postgres.start()
                    database = await Database(postgres.service_url).open()
                    async with sequencing(database):
                        await reaches(server, rounds * 200)
                    everything = await told(database)
                    await database.close()
            assert copied(server) == everything
            _in_order(server)
        finally:
            postgres.stop()


def _in_order(server: RedisServer) -> None:
    for entries in standing(server).values():
        places = [layout.position_of(one) for one, _ in entries]
        assert places == sorted(places)


def _end_session(urls: DatabaseUrls) -> None:
    with psycopg.connect(urls.owner) as owner:
        owner.execute(SENTENCE, (relay.LOCK & 0xFFFFFFFF,))
