"""What it costs to follow the facts over HTTP, and how soon one hears: a running instance, a consumer beside it.

Receipt is from just before the commit to the consumer's hands, the consumer acknowledging everything; its reference is
whoever follows the log by the database itself, in the same moment.
Run: python bench/streams.py [--seconds 10] [--facts 40000]
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil

sys.path.insert(0, str(Path(__file__).parent))

from reports import keep
from searching.unlimited import UNLIMITED

from instrument_registry import events
from instrument_registry.clock import now
from instrument_registry.consumer import AsyncConsumer, Consumer, Event, Subscription
from instrument_registry.database import Database
from instrument_registry.events.model import External
from instrument_registry.processes.runfile import service_database_url
from instrument_registry.settings import Settings

TARGETS = {"receipt_p50_ms": 50, "receipt_p99_ms": 250, "idle_share_of_a_core": 0.02}
RATE_PER_SECOND = 200
BATCH = 1_000
TYPE = "external.bench"
METADATA = events.Metadata(actor="bench", correlation_id="bench")
STREAM = "/api/v1/internal/instrument-registry/events/stream"


class Bench:
    """One instance, and what was measured on it."""

    def __init__(self, folder: Path, url: str, process: psutil.Process, *, seconds: float, facts: int) -> None:
        self.url, self.process, self.seconds, self.facts = url, process, seconds, facts
        self.key = (folder / "operator.key").read_text(encoding="ascii").strip()
        self.folder = folder
        self.found: dict[str, float] = {}

    async def run(self) -> dict[str, float]:
        """Measure everything, one thing after the other."""
        database_url = service_database_url(Settings(data_dir=self.folder, demo=False))
        self.database = await Database(database_url, pool_size=20).open()
        for step in (self.idle, self.receipts, self.catch_up):
            await step()
            print(json.dumps(self.found), file=sys.stderr)
        await self.database.close()
        return self.found

    async def idle(self) -> None:
        """Processor time of everything, with a consumer and nine readers connected less with nobody."""
        await asyncio.sleep(3)
        nobody = await self._share()
        following = [asyncio.create_task(self._consumer("idle").run(_nothing))]
        following += [asyncio.create_task(self._look()) for _ in range(9)]
        await asyncio.sleep(2)
        self.found["idle_share_of_a_core"] = round(max(0.0, await self._share() - nobody), 4)
        self.found["idle_share_of_everything"] = round(nobody, 4)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)

    async def receipts(self) -> None:
        """From commit to a consumer's hand, at a steady rate."""
        count = round(RATE_PER_SECOND * self.seconds)
        committed: dict[int, float] = {}
        waits: list[float] = []
        done = asyncio.Event()

        async def receive(event: Event) -> None:
            waits.append(time.perf_counter() - committed[event.data["n"]])
            if len(waits) >= count:
                done.set()

        bare: list[float] = []

        async def reference(after: int) -> None:
            async for page in events.follow(self.database, after=after):
                at = time.perf_counter()
                bare.extend(at - committed[json.loads(one.data)["n"]] for one in page.events if one.type == TYPE)

        at_once = asyncio.Semaphore(16)

        async def send(number: int) -> None:
            async with at_once:
                async with self.database.transaction() as tx:
                    await events.append(tx, told(number), stream=f"bench-{number % 50}", metadata=METADATA)
                    committed[number] = time.perf_counter()
                await events.wake(self.database)

        receiving = asyncio.create_task(self._consumer("receipts").run(receive))
        async with self.database.transaction(read_only=True) as tx:
            beside = asyncio.create_task(reference(await events.head_position(tx)))
        await asyncio.sleep(2)
        began, before = time.perf_counter(), self._spent()
        sending = []
        for number in range(count):
            await asyncio.sleep(max(0, began + number / RATE_PER_SECOND - time.perf_counter()))
            sending.append(asyncio.create_task(send(number)))
        await asyncio.gather(*sending)
        self.found["receipts_sent_per_second"] = round(count / (time.perf_counter() - began))
        await asyncio.wait_for(done.wait(), 60)
        for kind, seconds in self._spent().items():
            self.found[f"receipt_cpu_{kind}_ms"] = round((seconds - before.get(kind, 0.0)) / count * 1000, 2)
        for task in (receiving, beside):
            task.cancel()
        await asyncio.gather(receiving, beside, return_exceptions=True)
        for name, measured in (("receipt", waits), ("receipt_reference_by_database", bare)):
            measured.sort()
            self.found[f"{name}_p50_ms"] = round(measured[len(measured) // 2] * 1000, 1)
            self.found[f"{name}_p99_ms"] = round(measured[len(measured) * 99 // 100] * 1000, 1)

    async def catch_up(self) -> None:
        """What has piled up: looked at alone, and by consumers who acknowledge every event."""
        for start in range(0, self.facts, BATCH):
            async with self.database.transaction() as tx:
                some = [told(n) for n in range(start, start + BATCH)]
                await events.append(tx, *some, stream="bench-pile", metadata=METADATA)
        await events.wake(self.database)
        await asyncio.sleep(2)
        began, count = time.perf_counter(), 0
        asked = {"event_types": ["external.bench"], "from": "earliest", "follow": False}
        async with self._session() as http, http.post(self.url + STREAM, json=asked) as answer:
            async for line in answer.content:
                count += b'"external.bench"' in line
        self.found["catch_up_looking_per_second"] = round(count / (time.perf_counter() - began))
        began = time.perf_counter()
        await self._consumer("asynchronous", start="earliest", follow=False).run(_nothing)
        self.found["catch_up_consumer_async_per_second"] = round(count / (time.perf_counter() - began))
        began = time.perf_counter()
        asked_for = Subscription(
            consumer_id="blocking", event_types=["external.bench"], start="earliest", follow=False, batch_size=1000
        )
        waiting = Consumer(self.url, self.key, asked_for)
        await asyncio.to_thread(waiting.run, lambda _: None)
        self.found["catch_up_consumer_blocking_per_second"] = round(count / (time.perf_counter() - began))

    def _consumer(self, name: str, *, start: str = "latest", follow: bool = True) -> AsyncConsumer:
        asked = Subscription(
            consumer_id=name, event_types=["external.bench"], start=start, follow=follow, batch_size=1000
        )
        return AsyncConsumer(self.url, self.key, asked)

    async def _look(self) -> None:
        async with self._session() as http, http.get(self.url + STREAM) as answer:
            async for _ in answer.content:
                pass

    def _session(self) -> aiohttp.ClientSession:
        headers = {"X-Internal-API-Key": self.key}
        return aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None), read_bufsize=2**20)

    async def _share(self) -> float:
        before = self._cpu_seconds()
        await asyncio.sleep(self.seconds)
        return (self._cpu_seconds() - before) / self.seconds

    def _cpu_seconds(self) -> float:
        return sum(self._spent().values())

    def _spent(self) -> dict[str, float]:
        """Processor seconds by what they were spent on."""
        spent: dict[str, float] = {}
        for one in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                words, times = one.cmdline(), one.cpu_times()
                kind = next((kind for kind in ("api", "worker", "serve") if kind in words), "postgres")
                spent[kind] = spent.get(kind, 0.0) + times.user + times.system
        return spent


def told(number: int) -> External:
    """Something small that somebody else tells."""
    return External(occurred_at=now(), name=TYPE, about=f"I{number % 500}", text=json.dumps({"n": number}))


async def _nothing(_: Event) -> None:
    return None


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """An instance with one worker that answers, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INSTRUMENT_REGISTRY_")}
    environment |= UNLIMITED | {
        "INSTRUMENT_REGISTRY_DATA_DIR": str(folder), "INSTRUMENT_REGISTRY_PORT": str(port),
        "INSTRUMENT_REGISTRY_WORKERS": "1", "INSTRUMENT_REGISTRY_DEMO": "off",
        "INSTRUMENT_REGISTRY_LOG_LEVEL": "warning",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "instrument_registry", "serve"], env=environment, stdin=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        asyncio.run(_answering(url))
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


async def _answering(url: str) -> None:
    async with asyncio.timeout(120), aiohttp.ClientSession() as http:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{url}/health/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.2)


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--facts", type=int, default=40_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as name:
        Path(name).chmod(0o711)
        with serving(Path(name, "data")) as (url, process):
            bench = Bench(Path(name, "data"), url, process, seconds=chosen.seconds, facts=chosen.facts)
            found = asyncio.run(bench.run())
    samples = {"seconds": chosen.seconds, "facts": chosen.facts, "rate_per_second": RATE_PER_SECOND}
    sys.exit(keep("streams", found, bars=TARGETS, samples=samples))


if __name__ == "__main__":
    main()
