"""The database is stopped or hangs while requests come in: reads go on from memory and say so, writes wait. Redis, too.

Sixty seconds of each are for `make nemesis`; what is here is the same, shorter.
"""

import asyncio
import contextlib
import json
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path

import httpx
import psutil
import pytest

from desk import TEA
from instrument_registry.clock import MARKET_ZONE
from instrument_registry.processes.embedded import EmbeddedServer
from journeys.test_serve import Serving, eventually
from redis_servers import binaries
from redis_servers import serving as redis_serving

ROOT = "/api/v1/internal/instrument-registry"
CONNECTIONS = 16
RECOVERS_WITHIN_SECONDS = 5.0
# Until it is certain that nobody answers, an answer is as new as any: two seconds of silence, and the look at them.
CERTAIN_AFTER_SECONDS = 4.5
PAUSE_SECONDS = 0.8  # exports are expensive: a hundred a minute
PAST = "2026-01-05"


@dataclass
class Seen:
    """What callers were told."""

    reads: list[tuple[float, str, int, str | None, float]] = field(default_factory=list)  # at, path, status, why, age
    away: list[tuple[str, int, str | None]] = field(default_factory=list)  # what needs the tables, and Retry-After

    def failed(self) -> list[tuple[str, int]]:
        return [(path, status) for _, path, status, _, _ in self.reads if status != 200]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="instrument-registry-outage-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def instance(folder: Path) -> Iterator[Serving]:
    one = Serving(folder / "data", workers=2)
    yield one
    process = getattr(one, "process", None)
    if process is not None and process.poll() is None:
        family = one.family()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(30)
        except Exception:
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            raise


@pytest.fixture
def outside(folder: Path) -> Iterator[EmbeddedServer]:
    (folder / "outside").mkdir(mode=0o711)
    server = EmbeddedServer(folder / "outside")
    server.start()
    yield server
    server.stop()


class Callers:
    """Reads at a rate over several connections, and now and then what needs the tables."""

    def __init__(self, instance: Serving, *, rate: float) -> None:
        self._key = (instance.data_dir / "operator.key").read_text(encoding="ascii").strip()
        self._url, self._rate, self._numbers = instance.url, rate, count()
        self.seen, self.paths = Seen(), []

    async def __aenter__(self) -> "Callers":
        limits = httpx.Limits(max_connections=CONNECTIONS * 8)
        self.http = httpx.AsyncClient(
            base_url=self._url + ROOT, headers={"X-Internal-API-Key": self._key}, timeout=30, limits=limits
        )
        page = (await self.http.get("/search", params={"query": "nifty", "limit": 3})).json()
        key, more = page["instruments"][0]["key"], page["instruments"][0]
        broker, token = next(iter(more["tokens"].items()))
        self.paths = [
            "/search?query=nifty+fut&limit=5", "/search/suggest?query=ni", "/instruments?limit=5",
            f"/instruments/{key}",
            f"/instruments/resolve?broker={broker}&token={token}", f"/instruments/{key}/tokens", "/chains/NIFTY",
            "/instruments/bulk", "/catalog/summary",
        ]  # fmt: skip
        self._body = {"instrument_ids": [key, f"{broker}:{token}"]}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def read(self, seconds: float) -> None:
        """Read at the rate, whatever the answers do."""
        began, sent = time.perf_counter(), set()
        for number in range(round(seconds * self._rate)):
            await asyncio.sleep(max(0.0, began + number / self._rate - time.perf_counter()))
            task = asyncio.create_task(self._one(self.paths[number % len(self.paths)]))
            sent.add(task)
            task.add_done_callback(sent.discard)
        await asyncio.gather(*sent)

    async def need_tables(self, seconds: float) -> None:
        """Ask for what memory does not have, and write."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for method, path in (
                ("POST", "/aliases"), ("GET", f"/search?query=nifty&as_of={PAST}"), ("GET", "/events?limit=5"),
                ("GET", f"/diff?from={PAST}&to=2026-01-06"), ("GET", "/export?format=csv"),
            ):  # fmt: skip
                status, answer = await self.write() if method == "POST" else await self._get(path)
                self.seen.away.append((path, status, answer.headers.get("retry-after")))
            await asyncio.sleep(PAUSE_SECONDS)

    async def write(self) -> tuple[int, httpx.Response]:
        """Change something: 201 when it is done."""
        body = {"alias": f"outage {next(self._numbers)}", "target": "NIFTY", "reason": "test"}
        answer = await self.http.post("/aliases", json=body)
        return answer.status_code, answer

    async def position(self) -> int:
        """Up to which fact the index of whoever answers has come."""
        return (await self.http.get("/search?query=nifty")).json()["catalog_position"]

    async def _get(self, path: str) -> tuple[int, httpx.Response]:
        answer = await self.http.get(path)
        return answer.status_code, answer

    async def _one(self, path: str) -> None:
        began = time.perf_counter()
        status, why, age = 0, None, 0.0
        with suppress(httpx.HTTPError):
            if path == "/instruments/bulk":
                answer = await self.http.post(path, json=self._body)
            else:
                answer = await self.http.get(path)
            status, why = answer.status_code, answer.headers.get("x-registry-stale")
            age = float(answer.headers.get("x-index-age-seconds", 0))
            if status != 200:
                path += " " + answer.text
        self.seen.reads.append((began, path, status, why, age))


async def outage(
    instance: Serving, *, begin: Callable[[], None], end: Callable[[], None], seconds: float, rate: float = 100
) -> tuple[Seen, Seen, float]:
    """Reads before, during and after; what was seen before, what during it, and how soon all was as before."""
    async with Callers(instance, rate=rate) as callers:
        await callers.read(2)
        before, callers.seen = callers.seen, Seen()
        stood = await callers.position()
        begin()
        began = time.perf_counter()
        await asyncio.gather(callers.read(seconds), callers.need_tables(seconds - 1))
        ready = await callers.http.get(instance.url + "/health/ready")
        during, callers.seen = callers.seen, Seen()
        end()
        back = time.perf_counter()
        took = answer = None
        while took is None and time.perf_counter() - back < 30:
            await callers.read(0.5)
            written, _ = await callers.write()
            known = await callers.position()
            if written == 201 and known > stood and all(why is None for _, _, _, why, _ in callers.seen.reads[-40:]):
                took = time.perf_counter() - back
        after = callers.seen
        assert took is not None, f"never as before: {after.reads[-3:]}, {answer and answer.text}"
        assert after.failed() == []
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        certain = [one for one in during.reads if one[0] - began > CERTAIN_AFTER_SECONDS]
        assert certain, "too short to tell"
        assert {why for _, _, _, why, _ in certain} == {"database"}
        assert max(age for *_, age in certain) > seconds / 2
        return before, during, took


def as_promised(before: Seen, during: Seen, took: float) -> None:
    """No read failed, all that needs the tables was told when to come again, and all was soon as before."""
    assert before.failed() == []
    assert {why for _, _, _, why, _ in before.reads} == {None}
    assert during.failed() == []
    assert during.away
    assert {(status, after is not None and int(after) >= 1) for _, status, after in during.away} == {(503, True)}
    assert took <= RECOVERS_WITHIN_SECONDS


def hang(instance: Serving) -> tuple[Callable[[], None], Callable[[], None]]:
    """Stop every process of the embedded server, and let them go on."""

    def everyone(number: signal.Signals) -> None:
        for server in instance.children("postgres"):
            for process in (server, *server.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    return lambda: everyone(signal.SIGSTOP), lambda: everyone(signal.SIGCONT)


def on_outside(instance: Serving, outside: EmbeddedServer) -> Serving:
    instance.environment["INSTRUMENT_REGISTRY_DATABASE_URL"] = outside.service_url
    instance.environment["INSTRUMENT_REGISTRY_OWNER_DATABASE_URL"] = outside.owner_url
    return instance.start()


def loaded(instance: Serving) -> None:
    """Let the instance have something to be asked for, in both workers."""
    key = (instance.data_dir / "operator.key").read_text(encoding="ascii").strip()
    day = datetime.now(MARKET_ZONE).date()
    with httpx.Client(base_url=instance.url + ROOT, headers={"X-Internal-API-Key": key}, timeout=30) as http:
        answer = http.post(
            "/brokers/zerodha/upload", params={"name": "kite_NSE.csv", "market_date": str(day)},
            content=listed(day + timedelta(days=20)).encode(), headers={"Content-Type": "application/octet-stream"},
        )  # fmt: skip
        assert answer.status_code == 202, answer.text
        eventually(lambda: http.get(answer.headers["location"].removeprefix(ROOT)).json()["status"] == "done")
    eventually(lambda: all_know(instance))


def all_know(instance: Serving) -> bool:
    """Whether both workers have the instruments in memory."""
    _, text = instance.get("/metrics")
    rows = re.findall(r"^instrument_registry_index_instruments{process=\"api-\d\"} ([\d.]+)$", text, re.MULTILINE)
    return len(rows) == 2 and all(float(count) > 0 for count in rows)


def listed(expiry: date) -> str:
    """A company, an index, its future and a chain of options."""
    month = f"{expiry:%y%b}".upper()
    lines = [
        *TEA.splitlines()[:4],
        f"23552002,92000,NIFTY{month}FUT,NIFTY,0,{expiry},0,0.1,65,FUT,NFO-FUT,NFO",
    ]
    for number, strike in enumerate(range(24000, 24500, 50)):
        for side, token in (("CE", 92100 + 2 * number), ("PE", 92101 + 2 * number)):
            symbol = f"NIFTY{month}{strike}{side}"
            lines.append(f"{token * 256 + 2},{token},{symbol},NIFTY,0,{expiry},{strike},0.05,65,{side},NFO-OPT,NFO")
    return "\n".join(lines) + "\n"


@pytest.mark.serial
class TestADatabaseThatIsAway:
    def test_outside_stopped_no_read_fails(self, instance: Serving, outside: EmbeddedServer) -> None:
        loaded(on_outside(instance, outside))

        as_promised(*asyncio.run(outage(instance, begin=outside.stop, end=outside.launch, seconds=8)))

    def test_embedded_hanging_no_read_fails(self, instance: Serving) -> None:
        loaded(instance.start())
        begin, end = hang(instance)

        as_promised(*asyncio.run(outage(instance, begin=begin, end=end, seconds=8)))

    def test_embedded_killed_comes_back_and_no_read_fails(self, instance: Serving) -> None:
        loaded(instance.start())

        async def killed() -> tuple[Seen, bool]:
            async with Callers(instance, rate=50) as callers:
                (server,) = instance.children("postgres")
                server.kill()
                await callers.read(6)
                for _ in range(50):
                    status, _ = await callers.write()
                    if status == 201:
                        return callers.seen, True
                    await asyncio.sleep(0.2)
                return callers.seen, False

        seen, written = asyncio.run(killed())

        assert seen.failed() == []
        assert written

    @pytest.mark.nemesis
    @pytest.mark.timeout(400)
    def test_outside_stopped_for_a_minute(self, instance: Serving, outside: EmbeddedServer) -> None:
        loaded(on_outside(instance, outside))

        as_promised(*asyncio.run(outage(instance, begin=outside.stop, end=outside.launch, seconds=60, rate=200)))

    @pytest.mark.nemesis
    @pytest.mark.timeout(400)
    def test_embedded_hanging_for_a_minute(self, instance: Serving) -> None:
        loaded(instance.start())
        begin, end = hang(instance)

        as_promised(*asyncio.run(outage(instance, begin=begin, end=end, seconds=60, rate=200)))


@pytest.mark.serial
class TestRedisThatIsAway:
    @pytest.mark.skipif(not binaries(), reason="there is no Redis to stop")
    def test_events_are_streamed_by_http_all_the_same_and_callers_limited(
        self, instance: Serving, folder: Path
    ) -> None:
        with redis_serving(next(iter(binaries().values())), folder / "redis") as redis:
            for name in ("EVENT_BROKER_URL", "LIMITS_REDIS_URL"):
                instance.environment[f"INSTRUMENT_REGISTRY_{name}"] = redis.url
            instance.start()
            redis.end()
            key = (instance.data_dir / "operator.key").read_text(encoding="ascii").strip()
            with httpx.Client(base_url=instance.url + ROOT, headers={"X-Internal-API-Key": key}, timeout=30) as http:
                said = [{"event_type": "external.desk.opened", "data": {"number": number}} for number in range(20)]
                published = http.post("/events/publish", json={"events": said})
                told: list[int] = []

                def streamed() -> bool:
                    answer = http.get("/events/stream", params={"follow": "false", "from": "earliest"})
                    lines = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
                    opened = [one for one in lines if one["event_type"] == "external.desk.opened"]
                    told[:] = [one["data"]["number"] for one in opened]
                    return answer.status_code == 200 and len(told) >= 20

                eventually(streamed)

            assert published.status_code == 201
            assert told == list(range(20))
            assert "ratelimit" in published.headers
