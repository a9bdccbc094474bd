"""The ledger of the fast road: consumers write down what they got while everything around them is killed.

Every fact has to be in every ledger, under one id; twice only what was in flight when something was killed or lost.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import instrument_registry
from facts import METADATA
from instrument_registry.clock import now
from instrument_registry.database import Database, DatabaseUnavailable, migrations
from instrument_registry.events.streams import consumers
from instrument_registry.events.streams.model import Wanted
from instrument_registry.processes.embedded import EmbeddedServer
from redis_servers import RedisServer, binaries, serving
from relaying import append, told

RELAY = """
import asyncio, secrets, sys
from instrument_registry.database import Database, DatabaseUnavailable
from instrument_registry.events import sequencer
from instrument_registry.events.streams import redis_streams, relay
from instrument_registry.events.streams.layout import Ordering
from instrument_registry.events.streams.redis_streams import Streams

async def again(work):
    while True:
        try:
            return await work()
        except DatabaseUnavailable:
            await asyncio.sleep(0.1)

async def main():
    database = await again(lambda: Database(sys.argv[1], pool_size=1).open())
    streams = Streams(redis_streams.connect(sys.argv[2]), Ordering.PARTITION, owner=secrets.token_hex(4))
    await asyncio.gather(
        again(lambda: sequencer.run(database)),
        again(lambda: relay.run(database, streams, batch_size=lambda: 100)),
    )

asyncio.run(main())
"""
CONSUMER = """
import asyncio, random, sys, time, uuid
from instrument_registry.clock import now
from instrument_registry.database import Database, DatabaseUnavailable
from instrument_registry.events.streams import redis_streams
from instrument_registry.events.streams.layout import Ordering
from instrument_registry.events.streams.model import Failed, Retrying
from instrument_registry.events.streams.redis_reader import Reader
from instrument_registry.events.streams.redis_streams import Streams

async def again(work, *values):
    while True:
        try:
            return await work(*values)
        except DatabaseUnavailable:
            await asyncio.sleep(0.1)

async def main():
    url, redis_url, name, path = sys.argv[1:]
    chance = random.Random(name)
    database = await again(lambda: Database(url, pool_size=2).open())
    reader = Reader(
        database, Streams(redis_streams.connect(redis_url), Ordering.PARTITION, owner=name), name, process="one",
        stream_id=uuid.uuid4(), batch_size=%d, retrying=Retrying(attempts_max=9, first_wait_seconds=0.01), clock=now,
    )
    with open(path, "a") as ledger:
        while True:
            done = []
            for one in await again(reader.read):
                if one.attempt == 1 and chance.random() < 0.02:
                    await again(reader.fail, one, Failed(one.event.position, "chance"))
                    continue
                ledger.write(f"{one.event.position} {one.event.event_id} {time.time()}\\n")
                ledger.flush()
                done.append(one)
            await again(reader.acknowledge, done)

asyncio.run(main())
"""
BATCH = 50
IN_FLIGHT_SECONDS = 5.0  # from the note in the ledger to that in the database, on a busy machine


@dataclass
class Field:
    """The servers, the processes, and when something was done to them."""

    postgres: EmbeddedServer
    server: RedisServer
    folder: Path
    names: list[str]
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    faults: list[float] = field(default_factory=list)

    async def start(self, name: str) -> None:
        program = RELAY if name == "relay" else CONSUMER.replace("%d", str(BATCH))
        more = [] if name == "relay" else [name, str(self.folder / f"{name}.ledger")]
        source = str(Path(instrument_registry.__file__).parents[1])
        with open(self.folder / f"{name}.log", "ab") as log:  # noqa: ASYNC230
            self.processes[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, self.postgres.service_url, self.server.url, *more,
                env=os.environ | {"PYTHONPATH": source}, stdout=log, stderr=log,
            )  # fmt: skip

    async def kill(self, name: str) -> None:
        """`kill -9`, and started again."""
        process = self.processes[name]
        assert process.returncode is None, f"{name} had ended by itself"
        process.kill()
        await process.wait()
        await self.start(name)

    async def flush(self) -> None:
        self.server.do("FLUSHALL")

    async def restart_redis(self) -> None:
        """A power cut; it comes back with nothing."""
        self.server.end()
        await asyncio.sleep(0.3)
        self.server.start()

    async def restart_postgres(self) -> None:
        """Immediate shutdown, then recovery."""
        os.kill(self.postgres.pid or 0, signal.SIGQUIT)
        while self.postgres.exit_code() is None:
            await asyncio.sleep(0.01)
        self.postgres.start()

    async def suffer(self, what: Callable[[], Awaitable[None]]) -> None:
        self.faults.append(time.time())
        await what()
        self.faults.append(time.time())

    def noted(self, name: str) -> dict[int, list[tuple[str, float]]]:
        """What a consumer wrote down, by position; a line cut short by a kill was never finished."""
        found: dict[int, list[tuple[str, float]]] = defaultdict(list)
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / f"{name}.ledger").read_text().splitlines():
                words = line.split()
                if len(words) == 3:
                    found[int(words[0])].append((words[1], float(words[2])))
        return found

    def last_words(self) -> dict[str, str]:
        """What processes said last, for whoever has to find out."""
        return {name: (self.folder / f"{name}.log").read_text()[-500:] for name in self.processes}

    def explained(self, first: float, second: float) -> bool:
        """Whether something was done between the two, or just while the first was in flight."""
        return any(first - IN_FLIGHT_SECONDS <= fault <= second for fault in self.faults)


async def keep_ledger(
    field_: Field,
    *,
    facts: int,
    faults: list[Callable[[], Awaitable[None]]],
    chance: random.Random,
    within_seconds: float,
) -> dict[str, int]:
    """Tell facts while things are killed, until every ledger is complete; how many came twice."""
    migrations.migrate(field_.postgres.owner_url, service_login=field_.postgres.service_login)
    database = await Database(field_.postgres.service_url).open()
    async with database.transaction() as tx:
        for name in field_.names:
            await consumers.create(tx, name, Wanted(), start="earliest", metadata=METADATA, at=now())
    for name in ("relay", *field_.names):
        await field_.start(name)
    deadline = time.monotonic() + within_seconds
    pieces = len(faults) + 1
    for piece in range(pieces):
        for _ in range(10):
            await _append(database, facts // pieces // 10)
            await asyncio.sleep(0.02)
        if piece < len(faults):
            await asyncio.sleep(chance.random() * 0.3)
            await field_.suffer(faults[piece])
    while True:
        everything = await told(database)
        whole = len(everything) >= pieces * 10 * (facts // pieces // 10)
        if whole and all(set(everything) <= set(field_.noted(name)) for name in field_.names):
            break
        missing = {name: len(set(everything) - set(field_.noted(name))) for name in field_.names}
        assert time.monotonic() < deadline, f"missing: {missing}, {field_.last_words()}"
        await asyncio.sleep(0.2)
    await database.close()

    twice: dict[str, int] = {}
    for name in field_.names:
        noted = field_.noted(name)
        assert {position: entries[0][0] for position, entries in noted.items()} == everything
        assert all(len({event_id for event_id, _ in entries}) == 1 for entries in noted.values())
        again = [entries for entries in noted.values() if len(entries) > 1]
        unexplained = [one for one in again if not field_.explained(one[0][1], one[-1][1])]
        assert unexplained == [], f"{name}: {field_.faults}"
        twice[name] = len(again)
    return twice


async def _append(database: Database, count: int) -> None:
    left = count
    while left:
        try:
            await append(database, min(left, 20), at_once=20)
        except DatabaseUnavailable:
            await asyncio.sleep(0.1)
            continue
        left -= min(left, 20)


@contextlib.asynccontextmanager
async def battlefield(folder: Path, *, readers: int) -> AsyncIterator[Field]:
    postgres = EmbeddedServer(folder)
    postgres.start()
    try:
        with serving(binaries()["valkey"], folder / "redis") as server:
            made = Field(postgres, server, folder, [f"reader-{number}" for number in range(readers)])
            try:
                yield made
            finally:
                for process in made.processes.values():
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
    finally:
        postgres.stop()


@pytest.mark.serial
async def test_a_thousand_facts_for_four_consumers_with_a_fault_of_each_kind(tmp_path: Path) -> None:
    async with battlefield(tmp_path, readers=4) as there:
        faults = [
            there.flush,
            lambda: there.kill("relay"),
            there.flush,
            there.restart_redis,
            lambda: there.kill("reader-1"),
            there.restart_postgres,
            there.flush,
        ]
        twice = await keep_ledger(there, facts=1_000, faults=faults, chance=random.Random(1), within_seconds=120)

    assert max(twice.values()) <= len(faults) * BATCH, twice


@pytest.mark.nemesis
async def test_forty_thousand_facts_for_four_consumers_with_many_faults(tmp_path: Path) -> None:
    chance = random.Random(2)
    async with battlefield(tmp_path, readers=4) as there:
        faults = [there.flush] * 3 + [there.restart_redis] * 3 + [there.restart_postgres] * 2
        faults += [lambda: there.kill("relay")] * 10
        faults += [lambda name=name: there.kill(name) for name in chance.choices(there.names, k=10)]
        chance.shuffle(faults)
        await keep_ledger(there, facts=40_000, faults=faults, chance=chance, within_seconds=2_700)
