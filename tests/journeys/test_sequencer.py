"""A sequencer that is killed anywhere leaves nothing twice, nothing out and no gap."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import instrument_registry
from conftest import DatabaseUrls
from facts import METADATA, catch_up, counted
from instrument_registry import events
from instrument_registry.database import Database, Transaction

PROGRAM = """
import asyncio, sys
from instrument_registry.database import Database
from instrument_registry.events import sequencer

async def main():
    await sequencer.run(await Database(sys.argv[1]).open(), poll_seconds=0.01)

asyncio.run(main())
"""
KILLS = 8
WRITERS = 4


async def test_killed_again_and_again_while_others_write(database: Database, database_urls: DatabaseUrls) -> None:
    chance = random.Random(3)
    over = asyncio.Event()
    writing = [asyncio.create_task(_write(database, writer, over)) for writer in range(WRITERS)]
    for _ in range(KILLS):
        before = await _head(database)
        async with _sequencer(database_urls.service) as process:
            async with asyncio.timeout(20):
                while await _head(database) == before:
                    await asyncio.sleep(0.005)
            await asyncio.sleep(chance.random() * 0.05)
            process.send_signal(signal.SIGKILL)
    over.set()
    written = sum(await asyncio.gather(*writing), Counter[str]())
    async with _sequencer(database_urls.service), asyncio.timeout(20):
        while await _head(database) < written.total():
            await asyncio.sleep(0.01)

    assert await catch_up(database) == 0
    async with database.transaction() as tx:
        told = (await events.read(tx, after=0, limit=100_000)).events
        assert await _waiting(tx) == 0
    assert written.total() > KILLS
    assert [event.position for event in told] == list(range(1, written.total() + 1))
    assert Counter(event.stream for event in told) == written
    for stream, count in written.items():
        assert [event.stream_version for event in told if event.stream == stream] == list(range(1, count + 1))


@contextlib.asynccontextmanager
async def _sequencer(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    source = str(Path(instrument_registry.__file__).parents[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, url, env=os.environ | {"PYTHONPATH": source}, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _write(database: Database, writer: int, over: asyncio.Event) -> Counter[str]:
    written = Counter[str]()
    while not over.is_set():
        async with database.transaction() as tx:
            for stream in ("shared", f"own-{writer}"):
                await events.append(tx, counted(writer), stream=stream, metadata=METADATA)
                written[stream] += 1
        await asyncio.sleep(0.002)
    return written


async def _head(database: Database) -> int:
    async with database.transaction() as tx:
        return await events.head_position(tx)


async def _waiting(tx: Transaction) -> int:
    row = await (await tx.execute("select count(*) from pending")).fetchone()
    assert row is not None
    return int(row[0])
