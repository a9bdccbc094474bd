"""What webhooks cost and how soon they arrive, on an embedded server with the settings we ship.

Signed deliveries stand beside what a bare client sends to the same receiver in the same run; healthy endpoints with a
sick one beside them stand beside the same endpoints alone, in turn. Receiver, deliverer and sequencer are processes.
Run: python bench/webhooks.py [--events 4000] [--seconds 10] [--pairs 5] [--down 500] [--only receipts]
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import aiohttp
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent))

from reports import keep

from instrument_registry import clock, events
from instrument_registry.catalog.events import Evidence, InstrumentListed
from instrument_registry.database import Database, migrations
from instrument_registry.events import schemas, sequencer
from instrument_registry.events.webhooks import delivering, service
from instrument_registry.events.webhooks.addresses import guard_of
from instrument_registry.events.webhooks.messages import Told, message
from instrument_registry.events.webhooks.model import Endpoint, Format, Wanted
from instrument_registry.processes.embedded import EmbeddedServer
from instrument_registry.sealing import sealer_in

BARS = {
    "times_of_a_bare_client": 0.25,
    "deliveries_per_second": 500,
    "receipt_p50_ms": 50,
    "receipt_p99_ms": 250,
    "idle_share_of_a_core": 0.02,
    "hanging_p99_beyond_ms": 0,
    "down_p99_beyond_ms": 0,
}
METADATA = events.Metadata(actor="bench", correlation_id="bench")
LOOPBACK = (ip_network("127.0.0.0/8"),)
ENDPOINTS, RATE_PER_SECOND, AT_ONCE = 4, 200, 32
SICK_RATE_PER_SECOND = 20  # events, while every one of them goes to hundreds of endpoints
HANGS_SECONDS = 30


def fact(number: int) -> InstrumentListed:
    """A fact of the usual size."""
    return InstrumentListed(
        occurred_at=clock.now(), instrument_id=str(number), key="NFO:NIFTY;2026-09-01;24500;C",
        effective_date="2026-08-18", source="dhan", ingestion=1, evidence=Evidence(file="dhan.csv", line=number),
        old=None, new={"kind": "option", "name": "NIFTY 24500 CE", "lot_size": 65, "tick_size": "0.05"},
    )  # fmt: skip


class Bench:
    """One server and one receiver, and what was measured with them."""

    def __init__(self, database: Database, url: str, folder: Path, port: int, chosen: argparse.Namespace) -> None:
        self.database, self.url, self.folder, self.port, self.chosen = database, url, folder, port, chosen
        self.found: dict[str, float] = {}

    async def run(self) -> dict[str, float]:
        """Measure everything, one thing after the other."""
        async with working("sequence", self.url, self.folder):
            for step in (self.throughput, self.receipts, self.hanging, self.down, self.idle):
                if self.chosen.only in (None, step.__name__):
                    await step()
                    print(json.dumps(self.found), file=sys.stderr)
        return self.found

    async def throughput(self) -> None:
        """Signed deliveries of a backlog, and bare requests with the same bodies, three times in turn."""
        ours, bare = [], []
        for _ in range(3):
            bare.append(await self._bare(self.chosen.events))
            endpoints = [await self._endpoint(f"/t{number}") for number in range(ENDPOINTS)]
            await self._tell(range(self.chosen.events))
            async with working("deliver", self.url, self.folder):
                times = await self._received(self.chosen.events * ENDPOINTS)
            await self._delete(endpoints)
            # From a tenth to the end: the process has started by then.
            tenth = len(times) // 10
            ours.append((len(times) - tenth) / (times[-1] - times[tenth]))
        self.found["deliveries_per_second"] = round(statistics.median(ours))
        self.found["bare_client_per_second"] = round(statistics.median(bare))
        ratios = sorted(one / other for one, other in zip(ours, bare, strict=True))
        self.found["times_of_a_bare_client"] = round(ratios[len(ratios) // 2], 3)

    async def receipts(self) -> None:
        """From commit to the receiver's hand, at a steady rate."""
        endpoint = await self._endpoint("/r")
        async with working("deliver", self.url, self.folder):
            waits = await self._waits("/r", RATE_PER_SECOND, self.chosen.seconds)
        await self._delete([endpoint])
        self.found["receipt_p50_ms"] = round(1000 * waits[len(waits) // 2], 1)
        self.found["receipt_p99_ms"] = round(1000 * waits[len(waits) * 99 // 100], 1)

    async def hanging(self) -> None:
        """Healthy endpoints beside one that hangs."""
        await self._beside("hanging", lambda: self._sick(["/hang"]), RATE_PER_SECOND / 2)

    async def down(self) -> None:
        """Healthy endpoints beside hundreds that refuse connections."""
        nobody = [f"http://127.0.0.1:{2000 + number}/" for number in range(self.chosen.down)]  # where nobody listens
        await self._beside("down", lambda: self._sick(nobody), SICK_RATE_PER_SECOND)

    async def idle(self) -> None:
        """The deliverer and its sessions while nothing happens, with twenty endpoints."""
        endpoints = [await self._endpoint(f"/i{number}") for number in range(20)]
        async with working("deliver", self.url, self.folder) as pid:
            await asyncio.sleep(3)
            async with self.database.transaction(read_only=True) as tx:
                query = "select pid from pg_stat_activity where application_name like 'bench deliver%'"
                pids = [pid, *(row[0] for row in await (await tx.execute(query)).fetchall())]
            before = sum(map(cpu_seconds, pids))
            await asyncio.sleep(self.chosen.seconds)
            used = sum(map(cpu_seconds, pids)) - before
        await self._delete(endpoints)
        self.found["idle_share_of_a_core"] = round(used / self.chosen.seconds, 4)

    async def _beside(self, name: str, sicken, rate: float) -> None:  # type: ignore[no-untyped-def]
        healthy = await self._endpoint("/h")
        alone, beside = [], []
        for pair in range(self.chosen.pairs):
            for sick in (False, True) if pair % 2 else (True, False):
                others = await sicken() if sick else []
                async with working("deliver", self.url, self.folder):
                    waits = await self._waits("/h", rate, self.chosen.seconds / 2)
                await self._delete(others)
                (beside if sick else alone).append(1000 * waits[len(waits) * 99 // 100])
        await self._delete([healthy])
        beyond = [with_ - max(1.5 * without, without + 50) for with_, without in zip(beside, alone, strict=True)]
        self.found[f"{name}_p99_ms"] = round(statistics.median(beside), 1)
        self.found[f"{name}_p99_alone_ms"] = round(statistics.median(alone), 1)
        self.found[f"{name}_p99_beyond_ms"] = round(statistics.median(beyond), 1)

    async def _sick(self, addresses: list[str]) -> list[Endpoint]:
        return [await self._endpoint(address) for address in addresses]

    async def _waits(self, path: str, rate: float, seconds: float) -> list[float]:
        await self._reset()
        await asyncio.sleep(1.5)
        committed: dict[str, float] = {}
        began, count = time.monotonic(), round(rate * seconds)

        async def send(number: int) -> None:
            async with self.database.transaction() as tx:
                await events.append(tx, fact(number), stream=f"bench-{number % 16}", metadata=METADATA)
                committed[str(number)] = time.monotonic()  # just before it
            await events.wake(self.database)

        sending = []
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            sending.append(asyncio.create_task(send(number)))
        await asyncio.gather(*sending)
        receipts = await self._of(path, count)
        return sorted(at - committed[number] for number, at in receipts.items())

    async def _bare(self, count: int) -> float:
        told = Told(uuid.uuid4(), "instrument.listed", clock.now(), schemas.encode(fact(1)), "1", 1)
        body = message(told, Format.STANDARD).body
        left = iter(range(count * ENDPOINTS))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

            async def send() -> None:
                for _ in left:
                    async with client.post(f"http://127.0.0.1:{self.port}/bare", data=body) as response:
                        await response.read()

            began = time.monotonic()
            await asyncio.gather(*(send() for _ in range(AT_ONCE)))
            return count * ENDPOINTS / (time.monotonic() - began)

    async def _endpoint(self, path: str) -> Endpoint:
        url = path if "://" in path else f"http://127.0.0.1:{self.port}{path}"
        wanted = Wanted(url=url, event_types=("instrument.listed",), concurrency=AT_ONCE // ENDPOINTS)
        async with self.database.transaction() as tx:
            made, _ = await service.create(tx, wanted, sealer=sealer_in(self.folder), metadata=METADATA, at=clock.now())
        return made

    async def _delete(self, endpoints: list[Endpoint]) -> None:
        for one in endpoints:
            async with self.database.transaction(statement_timeout_seconds=600) as tx:
                await service.delete(tx, one.id, reason="over", metadata=METADATA, at=clock.now())

    async def _tell(self, numbers: range) -> None:
        await self._reset()
        for first in range(0, len(numbers), 200):
            async with self.database.transaction() as tx:
                told = [fact(number) for number in numbers[first : first + 200]]
                await events.append(tx, *told, stream="bench", metadata=METADATA)
        await events.wake(self.database)

    async def _received(self, count: int) -> list[float]:
        deadline = time.monotonic() + 300
        while (await self._ask("/count"))["count"] < count:
            assert time.monotonic() < deadline, "not everything arrived"
            await asyncio.sleep(0.2)
        return sorted((await self._ask("/times"))["times"])

    async def _of(self, path: str, count: int) -> dict[str, float]:
        deadline = time.monotonic() + 120
        while True:
            found: dict[str, float] = (await self._ask(f"/receipts{path}"))["receipts"]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} arrived"
            await asyncio.sleep(0.5)

    async def _reset(self) -> None:
        await self._ask("/reset")

    async def _ask(self, path: str) -> dict:  # type: ignore[type-arg]
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{self.port}{path}") as response:
            return await response.json()


@contextlib.asynccontextmanager
async def working(what: str, url: str, folder: Path) -> AsyncIterator[int]:
    """A worker in a process of its own; its process id."""
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, f"--{what}", url, "--folder", str(folder))
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def sequence(url: str) -> None:
    """Be the sequencer."""
    await sequencer.run(await Database(url).open())


async def deliver(url: str, folder: Path) -> None:
    """Be the deliverer."""
    database = await Database(url, application="bench deliver").open()
    await delivering.run(database, sealer=sealer_in(folder), guard=guard_of(LOOPBACK), clock=clock.now)


async def receive() -> None:
    """Be the receiver: writes down what came when, and tells it."""
    times: list[float] = []
    receipts: dict[str, dict[str, float]] = {}

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            body = await request.read()
            if request.path == "/hang":
                await asyncio.sleep(HANGS_SECONDS)
            elif request.path != "/bare":
                at = time.monotonic()
                times.append(at)
                receipts.setdefault(request.path, {}).setdefault(json.loads(body)["subject"], at)
            return web.Response()
        if request.path == "/reset":
            times.clear()
            receipts.clear()
        if request.path.startswith("/receipts"):
            return web.json_response({"receipts": receipts.get(request.path.removeprefix("/receipts"), {})})
        return web.json_response({"count": len(times)} if request.path == "/count" else {"times": times})

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measured(server: EmbeddedServer, folder: Path, chosen: argparse.Namespace) -> dict[str, float]:
    """Everything, with a receiver of our own."""
    receiver = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--receive", stdout=asyncio.subprocess.PIPE
    )
    assert receiver.stdout is not None
    database = await Database(server.service_url, pool_size=8).open()
    try:
        port = int(await receiver.stdout.readline())
        return await Bench(database, server.service_url, folder, port, chosen).run()
    finally:
        await database.close()
        receiver.terminate()
        await receiver.wait()


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=4_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--down", type=int, default=500)
    parser.add_argument("--only", help="one of the measurements: throughput, receipts, hanging, down or idle")
    parser.add_argument("--sequence")
    parser.add_argument("--deliver")
    parser.add_argument("--receive", action="store_true")
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if chosen.sequence:
            asyncio.run(sequence(chosen.sequence))
        elif chosen.deliver:
            asyncio.run(deliver(chosen.deliver, chosen.folder))
        elif chosen.receive:
            asyncio.run(receive())
        else:
            sys.exit(_kept(chosen))


def _kept(chosen: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            migrations.migrate(server.owner_url, service_login=server.service_login)
            found = asyncio.run(measured(server, Path(folder), chosen))
        finally:
            server.stop()
    if chosen.only:
        print(json.dumps(found, indent=2))
        return 0
    samples = {name: getattr(chosen, name) for name in ("events", "seconds", "pairs", "down")}
    return keep("webhooks", found, bars=BARS, samples=samples)


if __name__ == "__main__":
    main()
