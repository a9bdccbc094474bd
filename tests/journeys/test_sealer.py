"""A sealer that is killed anywhere leaves no record out of the tree, none in it twice, and signs one history alone."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import instrument_registry
from conftest import DatabaseUrls
from facts import METADATA, counted
from instrument_registry import events
from instrument_registry.database import Database
from instrument_registry.events.audit import inspection, service
from instrument_registry.events.audit.outside import Outside, read_checkpoints

PROGRAM = """
import asyncio, sys
from pathlib import Path
from instrument_registry.clock import now
from instrument_registry.database import Database
from instrument_registry.events import sequencer
from instrument_registry.events.audit import sealer
from instrument_registry.events.audit.outside import Outside

sealer.CHECKPOINT_RECORDS = 20

async def main():
    database = await Database(sys.argv[1]).open()
    outside = Outside(Path(sys.argv[2]))
    await asyncio.gather(
        sequencer.run(database, poll_seconds=0.01), sealer.run(database, outside, clock=now, poll_seconds=0.01)
    )

asyncio.run(main())
"""
KILLS = 6
WRITERS = 3


async def test_killed_again_and_again_while_others_write(
    database: Database, database_urls: DatabaseUrls, tmp_path: Path
) -> None:
    chance = random.Random(5)
    over = asyncio.Event()
    writing = [asyncio.create_task(_write(database, writer, over)) for writer in range(WRITERS)]
    outside = Outside(tmp_path)
    for _ in range(KILLS):
        before = await _signed(database)
        async with _sealer(database_urls.service, tmp_path) as process:
            async with asyncio.timeout(30):
                while await _signed(database) == before:
                    await asyncio.sleep(0.005)
            await asyncio.sleep(chance.random() * 0.05)
            process.send_signal(signal.SIGKILL)
    over.set()
    written = sum(await asyncio.gather(*writing))
    async with _sealer(database_urls.service, tmp_path):
        last = await service.checkpoint_now(database, timeout_seconds=30)

    with database.blocking_session("verify") as connection:
        verdict = inspection.inspect(
            connection, keys=outside.trusted(), outside=read_checkpoints(outside.checkpoints), sample_offset=1
        )
    assert verdict.records == verdict.covered == last.size == written + 1  # the sealer told of its key
    assert verdict.outside >= KILLS
    async with database.transaction(read_only=True) as tx:
        skipped = await tx.execute("select count(*) from appends where number not in (select number from audit_leaves)")
        assert await skipped.fetchone() == (0,)


@contextlib.asynccontextmanager
async def _sealer(url: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    source = str(Path(instrument_registry.__file__).parents[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, url, str(folder),
        env=os.environ | {"PYTHONPATH": source}, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _write(database: Database, writer: int, over: asyncio.Event) -> int:
    written = 0
    while not over.is_set():
        async with database.transaction() as tx:
            for stream in ("shared", f"own-{writer}"):
                await events.append(tx, counted(written), stream=stream, metadata=METADATA)
                written += 1
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.01)
    return written


async def _signed(database: Database) -> int:
    async with database.transaction(read_only=True) as tx:
        newest = await service.checkpoints(tx, limit=1)
    return newest[0].size if newest else 0
