"""Receivers of webhooks on the loopback, and a deliverer at work in a test's own event loop."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractResolver

from instrument_registry import clock
from instrument_registry.database import Database
from instrument_registry.events import Metadata, sequencer
from instrument_registry.events.webhooks import delivering, service
from instrument_registry.events.webhooks.addresses import guard_of
from instrument_registry.events.webhooks.model import Delivery, Endpoint, Plan, Wanted
from instrument_registry.events.webhooks.queue import listed
from instrument_registry.sealing import sealer_in

LOOPBACK = (ip_network("127.0.0.0/8"),)
METADATA = Metadata(actor="tests", correlation_id="c-1")
QUICK = Plan(scale=1 / 1000, timeout_seconds=2.0)
WITHIN_SECONDS = 20.0

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """Keeps every request; `answer` may be replaced by whoever wants another one than 204."""

    port: int = 0
    requests: list[Received] = field(default_factory=list)
    answer: Answering | None = None
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def of(self, path: str) -> list[Received]:
        return [one for one in self.requests if one.path == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Received(request.path, headers, body))
        self._came.set()
        return web.Response(status=204) if self.answer is None else await self.answer(request)

    async def got(self, count: int, *, within_seconds: float = WITHIN_SECONDS) -> list[Received]:
        """Wait until so many requests have come."""
        async with asyncio.timeout(within_seconds):
            while len(self.requests) < count:
                self._came.clear()
                await self._came.wait()
        return self.requests


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    server = web.Server(receiver.handle)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def delivering_from(
    database: Database,
    folder: Path,
    *,
    plan: Plan = QUICK,
    sequenced: bool = True,
    listed_networks: object = LOOPBACK,
    inner: AbstractResolver | None = None,
) -> AsyncIterator[None]:
    """A deliverer at work, and a sequencer beside it."""
    work = [
        asyncio.create_task(
            delivering.run(
                database, sealer=sealer_in(folder), guard=guard_of(listed_networks), clock=clock.now, plan=plan,
                poll_seconds=0.1, chance=random.Random(7).random, inner=inner,
            )
        )
    ]  # fmt: skip
    if sequenced:
        work.append(asyncio.create_task(sequencer.run(database, poll_seconds=0.02)))
    try:
        yield
    finally:
        for task in work:
            task.cancel()
        ended = await asyncio.gather(*work, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error


async def endpoint_at(database: Database, folder: Path, url: str, **wanted: object) -> tuple[Endpoint, str]:
    """An endpoint, and what its receiver verifies with."""
    async with database.transaction() as tx:
        return await service.create(
            tx, Wanted(url=url, **wanted), sealer=sealer_in(folder), metadata=METADATA, at=clock.now()
        )


async def deliveries(database: Database, endpoint: Endpoint) -> list[Delivery]:
    """An endpoint's deliveries, the oldest first."""
    async with database.transaction(read_only=True) as tx:
        return (await listed(tx, endpoint.id, before=2**62, limit=10_000))[::-1]


async def settled(database: Database, endpoint: Endpoint, count: int) -> list[Delivery]:
    """An endpoint's deliveries once so many have ended."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            found = await deliveries(database, endpoint)
            if sum(one.status != "waiting" for one in found) >= count:
                return found
            await asyncio.sleep(0.02)
