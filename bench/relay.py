"""What the relay to Redis costs and how soon it tells, on servers of its own.

Beside the rate stands its reference: the same entries written by a bare pipelined XADD, in turn, five times each.
Run: python bench/relay.py [--events 20000] [--seconds 10]
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from reports import keep

from instrument_registry import events
from instrument_registry.catalog.events import InstrumentListed
from instrument_registry.clock import now
from instrument_registry.database import Database, DatabaseUnavailable, migrations
from instrument_registry.events import sequencer
from instrument_registry.events.streams import consumers, layout, redis_streams, relay
from instrument_registry.events.streams.layout import Entry, Ordering
from instrument_registry.events.streams.model import Retrying, Wanted
from instrument_registry.events.streams.redis_reader import Reader
from instrument_registry.events.streams.redis_streams import Streams
from instrument_registry.processes.embedded import EmbeddedServer
from redis_servers import RedisServer, binaries, serving

BARS = {
    "times_a_bare_pipelined_xadd": 0.4,
    "receipt_p50_ms": 50,
    "receipt_p99_ms": 250,
    "resumed_after_flushall_seconds": 5,
    "idle_share_of_a_core": 0.02,
}
PAIRS = 5
BATCH = 100
WRITERS = 6
RATE_PER_SECOND = 200
METADATA = events.Metadata(actor="bench", correlation_id="bench", source="dhan")


@dataclass
class Bench:
    """One database, one Redis, and what was measured on them."""

    database: Database
    url: str
    server: RedisServer
    events: int
    seconds: float
    found: dict[str, float] = field(default_factory=dict)

    async def run(self) -> dict[str, float]:
        """Measure everything, one thing after the other."""
        await self.rate()
        await self.receipts()
        await self.resuming()
        await self.idle()
        return self.found

    async def rate(self) -> None:
        """A backlog brought over, and the same by a bare client."""
        ours, bare = [], []
        async with relaying(self.url, self.server):
            await self._reaches(0)
        for _ in range(PAIRS):
            before = self._position()
            await self._tell(self.events)
            async with relaying(self.url, self.server) as process:
                async with asyncio.timeout(60):
                    while self._position() == before:
                        await asyncio.sleep(0.001)
                began, first = time.perf_counter(), self._position()
                cpu = _cpu_seconds(process.pid)
                await self._reaches(before + self.events)
                ours.append((before + self.events - first) / (time.perf_counter() - began))
                cpu = _cpu_seconds(process.pid) - cpu
            bare.append(await self._bare(before))
        self.found["relayed_per_second"] = round(statistics.median(ours))
        self.found["bare_pipelined_xadd_per_second"] = round(statistics.median(bare))
        pairs = [one / other for one, other in zip(ours, bare, strict=True)]
        self.found["times_a_bare_pipelined_xadd"] = round(statistics.median(pairs), 2)
        self.found["relay_cpu_microseconds_an_event"] = round(cpu / self.events * 1e6, 1)

    async def receipts(self) -> None:
        """From commit to a reader's hand at a steady rate, by way of sequencer, relay and XREAD."""
        count = round(RATE_PER_SECOND * self.seconds)
        committed: dict[str, float] = {}
        waits: list[float] = []
        client = redis_streams.connect(self.server.url)
        at_once = asyncio.Semaphore(WRITERS)

        async def receive() -> None:
            last = dict.fromkeys(layout.STREAMS, "$")
            for key in last:
                last[key] = (await client.xinfo_stream(key))["last-generated-id"]
            while len(waits) < count:
                for key, entries in await client.xread(last, block=1000):
                    at = time.perf_counter()
                    last[key] = entries[-1][0]
                    waits.extend(at - committed[fields["stream"]] for _, fields in entries)

        async def send(number: int) -> None:
            stream = f"receipt-{number}"
            async with at_once:
                async with self.database.transaction() as tx:
                    await events.append(tx, _fact(number), stream=stream, metadata=METADATA)
                    committed[stream] = time.perf_counter()  # just before it
                await events.wake(self.database)

        async with relaying(self.url, self.server, sequence=True) as process:
            await asyncio.sleep(1)
            receiving = asyncio.create_task(receive())
            await asyncio.sleep(0.2)
            began, cpu = time.perf_counter(), _cpu_seconds(process.pid)
            sending = []
            for number in range(count):
                await asyncio.sleep(max(0, began + number / RATE_PER_SECOND - time.perf_counter()))
                sending.append(asyncio.create_task(send(number)))
            await asyncio.gather(*sending)
            taken = time.perf_counter() - began
            self.found["receipts_sent_per_second"] = round(count / taken)
            self.found["sequencer_and_relay_share_of_a_core"] = round((_cpu_seconds(process.pid) - cpu) / taken, 3)
            await asyncio.wait_for(receiving, 30)
        await redis_streams.disconnect(client)
        waits.sort()
        self.found["receipt_p50_ms"] = round(waits[len(waits) // 2] * 1000, 1)
        self.found["receipt_p99_ms"] = round(waits[len(waits) * 99 // 100] * 1000, 1)

    async def resuming(self) -> None:
        """From FLUSHALL to the next event in the hands of a consumer that reads from Redis; the longest of three."""
        async with self.database.transaction() as tx:
            await consumers.create(tx, "bench", Wanted(), start="latest", metadata=METADATA, at=now())
        client = redis_streams.connect(self.server.url)
        reader = Reader(
            self.database, Streams(client, Ordering.PARTITION, owner="bench"), "bench", process="one",
            stream_id=uuid4(), batch_size=BATCH, retrying=Retrying(attempts_max=3, first_wait_seconds=1), clock=now,
        )  # fmt: skip
        longest = refilled = 0.0
        async with relaying(self.url, self.server, sequence=True):
            for round_ in range(3):
                await self._drink(reader, f"before-{round_}")
                self.server.do("FLUSHALL")
                began = time.perf_counter()
                await self._drink(reader, f"after-{round_}")
                longest = max(longest, time.perf_counter() - began)
                async with self.database.transaction() as tx:
                    head = await events.head_position(tx)
                await self._reaches(head)
                refilled = max(refilled, time.perf_counter() - began)
        await reader.close()
        await redis_streams.disconnect(client)
        self.found["resumed_after_flushall_seconds"] = round(longest, 2)
        self.found["refilled_after_flushall_seconds"] = round(refilled, 2)

    async def idle(self) -> None:
        """The relay, its session of the database and Redis while nothing happens."""
        async with relaying(self.url, self.server) as process:
            await asyncio.sleep(2)
            async with self.database.transaction() as tx:
                query = "select pid from pg_stat_activity where application_name like %s"
                row = await (await tx.execute(query, ("%relay",))).fetchone()
            assert row is not None
            assert self.server.process is not None
            pids = (process.pid, row[0], self.server.process.pid)
            before = [_cpu_seconds(pid) for pid in pids]
            await asyncio.sleep(self.seconds)
            used = [(_cpu_seconds(pid) - was) / self.seconds for pid, was in zip(pids, before, strict=True)]
        self.found["idle_share_of_a_core"] = round(sum(used), 4)
        self.found["idle_share_of_the_relay_alone"] = round(used[0], 4)

    async def _drink(self, reader: Reader, stream: str) -> None:
        """Tell one more fact and read until it has come."""
        async with self.database.transaction() as tx:
            await events.append(tx, _fact(0), stream=stream, metadata=METADATA)
        await events.wake(self.database)
        async with asyncio.timeout(60):
            while True:
                batch = await reader.read()
                await reader.acknowledge(batch)
                if any(one.event.stream == stream for one in batch):
                    return

    async def _tell(self, count: int) -> None:
        for start in range(0, count, 1000):
            async with self.database.transaction() as tx:
                facts = [_fact(number) for number in range(start, min(start + 1000, count))]
                await events.append(tx, *facts, stream="bench", metadata=METADATA)
        async with self.database.session("bench") as session:
            await sequencer.catch_up(session)

    async def _bare(self, after: int) -> float:
        entries: list[Entry] = []
        while len(entries) < self.events:
            async with self.database.transaction(read_only=True) as tx:
                page = await events.read(tx, after=after + len(entries), limit=1000)
            entries += [layout.entry(event, Ordering.PARTITION) for event in page.events]
        keys = [f"bare:{secrets.token_hex(2)}:{key}" for key in layout.STREAMS]
        client = redis_streams.connect(self.server.url)
        began = time.perf_counter()
        for start in range(0, len(entries), BATCH):
            async with client.pipeline(transaction=False) as pipe:
                for one in entries[start : start + BATCH]:
                    pipe.execute_command("XADD", keys[one.stream], layout.id_of(one.position), *one.fields)
                await pipe.execute()
        rate = len(entries) / (time.perf_counter() - began)
        await client.delete(*keys)
        await redis_streams.disconnect(client)
        return rate

    def _position(self) -> int:
        return int(self.server.do("HGET", layout.MARKER, "position") or 0)

    async def _reaches(self, position: int) -> None:
        async with asyncio.timeout(120):
            while not self.server.do("EXISTS", layout.MARKER) or self._position() < position:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def relaying(
    url: str, server: RedisServer, *, sequence: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A relay, and a sequencer beside it if wanted, in a process of its own as the worker has them."""
    more = ["--sequence"] if sequence else []
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, "--relay", url, server.url, *more)
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def relay_on(url: str, redis_url: str, *, sequence: bool) -> None:
    """Be that process."""
    database = await Database(url).open()
    streams = Streams(redis_streams.connect(redis_url), Ordering.PARTITION, owner=secrets.token_hex(8))
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run(database, streams, batch_size=lambda: BATCH))
        if sequence:
            group.create_task(sequencer.run(database))


def _fact(number: int) -> InstrumentListed:
    return InstrumentListed(
        occurred_at=now(), instrument_id=f"01K3{number:022X}", key=f"NFO:NIFTY;2026-09-01;{number};C",
        effective_date="2026-08-18", source="dhan", ingestion=1, evidence=None, old=None, new=None,
    )  # fmt: skip


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--relay", nargs=2)
    parser.add_argument("--sequence", action="store_true")
    chosen = parser.parse_args()
    if chosen.relay:
        with contextlib.suppress(DatabaseUnavailable):
            asyncio.run(relay_on(*chosen.relay, sequence=chosen.sequence))
        return
    found = measure(count=chosen.events, seconds=chosen.seconds)
    samples = {"events": chosen.events, "seconds": chosen.seconds, "pairs": PAIRS}
    sys.exit(keep("relay", found, bars=BARS, samples=samples))


def measure(*, count: int, seconds: float) -> dict[str, float]:
    """Everything, on servers of our own that go afterwards."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as folder:
        Path(folder).chmod(0o711)
        postgres = EmbeddedServer(Path(folder))
        postgres.start()
        try:
            migrations.migrate(postgres.owner_url, service_login=postgres.service_login)

            async def run() -> dict[str, float]:
                database = await Database(postgres.service_url).open()
                try:
                    with serving(binaries()["valkey"], Path(folder) / "redis") as server:
                        return await Bench(database, postgres.service_url, server, count, seconds).run()
                finally:
                    await database.close()

            return asyncio.run(run())
        finally:
            postgres.stop()


if __name__ == "__main__":
    main()
