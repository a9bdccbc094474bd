"""The ledger of webhooks: every event is taken by every endpoint, whatever is killed, restarted or refused meanwhile.

Receivers write down what they took. Nothing may be missing; what was taken twice must have been under way when the
deliverer was killed or the database went, and must have come under the same id.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from aiohttp import web
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

import instrument_registry
from facts import METADATA, counted
from instrument_registry import events
from instrument_registry.database import Database, DatabaseUnavailable, migrations
from instrument_registry.processes.embedded import EmbeddedServer
from receivers import endpoint_at

PROGRAM = """
import asyncio, sys
from ipaddress import ip_network
from pathlib import Path
from instrument_registry import clock
from instrument_registry.database import Database, DatabaseUnavailable
from instrument_registry.events import sequencer
from instrument_registry.events.webhooks import delivering
from instrument_registry.events.webhooks.addresses import guard_of
from instrument_registry.events.webhooks.model import Plan
from instrument_registry.sealing import sealer_in

async def sequence(database):
    while True:
        try:
            await sequencer.run(database, poll_seconds=0.05)
        except DatabaseUnavailable:
            await asyncio.sleep(0.1)

async def main():
    database = await Database(sys.argv[1]).open()
    plan = Plan(scale=1 / 1000, timeout_seconds=float(sys.argv[3]))
    await asyncio.gather(sequence(database), delivering.run(
        database, sealer=sealer_in(Path(sys.argv[2])), guard=guard_of((ip_network("127.0.0.0/8"),)), clock=clock.now,
        plan=plan, poll_seconds=0.2))

asyncio.run(main())
"""
TIMEOUT_SECONDS = 2.0
BAD_SHARE = 0.2  # of the answers, as long as an event has not been refused too often by one endpoint
HANGING, RESET = 0.03, 0.2  # of the bad ones; the others are 500
# What was taken so shortly before a fault may have been unrecorded: sent, and written down 10 ms later with others.
IN_FLIGHT_SECONDS = 2.0
APPENDED_AT_ONCE = 20


@dataclass
class Ledger:
    """What receivers took and when, what they refused, and when something was broken."""

    secrets: dict[str, Webhook]
    chance: random.Random
    refused_max: int  # one more takes 7 s of the schedule's thousandth, the next one 18 s
    taken: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[float] = field(default_factory=list)
    total: int = 0
    unverified: int = 0
    hanging: set["asyncio.Task[None]"] = field(default_factory=set)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take a request, or refuse it in one of three ways."""
        body = await request.read()
        endpoint, message = request.path, request.headers["webhook-id"]
        try:
            self.secrets[endpoint].verify(body, {name.lower(): value for name, value in request.headers.items()})
        except WebhookVerificationError:
            self.unverified += 1
        if self.refused[endpoint, message] < self.refused_max and self.chance.random() < BAD_SHARE:
            self.refused[endpoint, message] += 1
            return await self._refuse(request)
        times = self.taken.setdefault(endpoint, {}).setdefault(message, [])
        times.append(time.monotonic())
        self.total += len(times) == 1
        return web.Response(status=200)

    async def _refuse(self, request: web.BaseRequest) -> web.StreamResponse:
        way = self.chance.random()
        if way < HANGING:
            self.kinds["timeout"] += 1
            await asyncio.sleep(TIMEOUT_SECONDS + 1)
        elif way < HANGING + RESET:
            self.kinds["reset"] += 1
            if request.transport is not None:
                request.transport.abort()
        else:
            self.kinds["500"] += 1
        return web.Response(status=500)

    def twice(self) -> list[tuple[str, str, list[float]]]:
        """What was taken more than once."""
        return [
            (endpoint, message, times)
            for endpoint, took in self.taken.items()
            for message, times in took.items()
            if len(times) > 1
        ]

    def unexplained(self) -> list[tuple[str, str, list[float]]]:
        """What was taken once more although nothing was broken shortly after it had been taken."""
        return [
            one
            for one in self.twice()
            for first in one[2][:-1]
            if not any(0 <= fault - first <= IN_FLIGHT_SECONDS for fault in self.faults)
        ]


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """A database server of one's own, to be restarted."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-ledger-") as folder:
        Path(folder).chmod(0o711)
        one = EmbeddedServer(Path(folder))
        one.start()
        try:
            migrations.migrate(one.owner_url, service_login=one.service_login)
            yield one
        finally:
            one.stop()


@pytest.mark.serial
async def test_nothing_is_missing_after_one_fault_of_each_kind(server: EmbeddedServer, tmp_path: Path) -> None:
    await _kept(server, tmp_path, count=2_000, endpoints=4, kills=1, restarts=1, refused_max=3, within_seconds=60)


@pytest.mark.nemesis
@pytest.mark.timeout(3600)
async def test_nothing_is_missing_after_many_faults(server: EmbeddedServer, tmp_path: Path) -> None:
    await _kept(
        server, tmp_path, count=50_000, endpoints=20, kills=10, restarts=2, refused_max=5, within_seconds=45 * 60
    )


async def _kept(
    server: EmbeddedServer,
    folder: Path,
    *,
    count: int,
    endpoints: int,
    kills: int,
    restarts: int,
    refused_max: int,
    within_seconds: float,
) -> None:
    database = await Database(server.service_url, pool_size=4).open()
    ledger = Ledger({}, random.Random(11), refused_max)
    began = time.monotonic()
    async with _listening(ledger) as port:
        for number in range(endpoints):
            url = f"http://127.0.0.1:{port}/{number}"
            _, secret = await endpoint_at(database, folder, url, event_types=("test.counted",))
            ledger.secrets[f"/{number}"] = Webhook(secret)
        writing = asyncio.create_task(_write(database, count))
        faults = [_kill] * kills + [_restart] * restarts
        random.Random(5).shuffle(faults)
        deliverer = Deliverer(server, folder)
        await deliverer.start()
        try:
            async with asyncio.timeout(within_seconds):
                for number, fault in enumerate(faults, start=1):
                    await _reached(ledger, deliverer, count * endpoints * number // (len(faults) + 1))
                    ledger.faults.append(time.monotonic())
                    await fault(deliverer)
                    ledger.faults.append(time.monotonic())
                await writing
                await _reached(ledger, deliverer, count * endpoints)
                await _none_waits(database)
        finally:
            writing.cancel()
            await deliverer.end()
    ids = await _told(database)
    await database.close()
    spent = time.monotonic() - began
    print(
        f"\nledger: {count} events x {endpoints} endpoints in {spent:.0f} s, {ledger.total / spent:.0f}/s; refused "
        f"{dict(ledger.kinds)}; {len(ledger.twice())} taken twice in {kills} kills and {restarts} restarts"
    )

    assert await _statuses(server) == {"delivered": count * endpoints}
    assert len(ids) == count
    assert {endpoint: len(took) for endpoint, took in ledger.taken.items()} == {
        f"/{number}": count for number in range(endpoints)
    }
    assert all(set(took) == ids for took in ledger.taken.values())
    assert ledger.unexplained() == []
    assert ledger.unverified == 0
    assert set(ledger.kinds) == {"500", "reset", "timeout"}


class Deliverer:
    """The process that is killed, and the server that is restarted under it."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        source = str(Path(instrument_registry.__file__).parents[1])
        with open(self.folder / "deliverer.log", "ab") as log:  # noqa: ASYNC230  a moment
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, self.server.service_url, str(self.folder), str(TIMEOUT_SECONDS),
                env=os.environ | {"PYTHONPATH": source}, stdout=log, stderr=log,
            )  # fmt: skip

    def check(self) -> None:
        """See that it runs."""
        assert self.process is not None
        if self.process.returncode is not None:
            raise AssertionError((self.folder / "deliverer.log").read_text(errors="replace")[-5_000:])

    async def end(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


async def _kill(deliverer: Deliverer) -> None:
    assert deliverer.process is not None
    deliverer.process.send_signal(signal.SIGKILL)
    await deliverer.process.wait()
    await deliverer.start()


async def _restart(deliverer: Deliverer) -> None:
    server = deliverer.server
    assert server.pid is not None
    before = server.service_url
    os.kill(server.pid, signal.SIGQUIT)  # an immediate shutdown: the next start recovers
    while server.exit_code() is None:
        await asyncio.sleep(0.02)
    server.launch()
    while not server.answers():
        await asyncio.sleep(0.05)
    assert server.service_url == before


@contextlib.asynccontextmanager
async def _listening(ledger: Ledger) -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(ledger.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1, backlog=1024).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _write(database: Database, count: int) -> None:
    """Tell so many facts, some at once; what was cut off is told again under the same ids."""
    for first in range(0, count, APPENDED_AT_ONCE):
        facts = [counted(number) for number in range(first, min(first + APPENDED_AT_ONCE, count))]
        event_id = UUID(int=(0x0198_B9A2_0000_7000_8000 << 48) + (first + 1 << 20))
        while True:
            try:
                async with database.transaction() as tx:
                    await events.append(tx, *facts, stream="ledger", metadata=METADATA, event_id=event_id)
                break
            except DatabaseUnavailable:
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.005)


async def _reached(ledger: Ledger, deliverer: Deliverer, total: int) -> None:
    while ledger.total < total:
        deliverer.check()
        await asyncio.sleep(0.05)


async def _none_waits(database: Database) -> None:
    """Wait until the last outcomes have been written down too."""
    while True:
        async with database.transaction(read_only=True) as tx:
            row = await (
                await tx.execute("select count(*) from webhook_deliveries where status = 'waiting'")
            ).fetchone()
        if row == (0,):
            return
        await asyncio.sleep(0.1)


async def _statuses(server: EmbeddedServer) -> dict[str, int]:
    async with await psycopg.AsyncConnection.connect(server.owner_url) as owner:
        statement = "select status, count(*) from instrument_registry.webhook_deliveries group by status"
        return dict(await (await owner.execute(statement)).fetchall())


async def _told(database: Database) -> set[str]:
    found: set[str] = set()
    after = 0
    while True:
        async with database.transaction(read_only=True) as tx:
            page = await events.read(tx, after=after, limit=10_000, types=["test.counted"])
        if page.position == after:
            return found
        after = page.position
        found |= {str(event.event_id) for event in page.events}
