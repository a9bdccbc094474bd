"""A worker that answers on a real socket, with a sequencer beside it: no test transport lets streams through."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiohttp
import uvicorn

from facts import AT, METADATA
from frame import NOON
from instrument_registry import events
from instrument_registry.access import service
from instrument_registry.access.model import Scope
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database
from instrument_registry.events import Fact, sequencer
from instrument_registry.events.model import External
from instrument_registry.http.app import create_app
from instrument_registry.http.routes import PREFIX
from instrument_registry.settings import Settings
from instrument_registry.wiring import Registry

WITHIN_SECONDS = 20.0


@dataclass
class Worker:
    """Answers HTTP for one database."""

    database: Database
    registry: Registry
    server: uvicorn.Server
    url: str
    key: str
    http: aiohttp.ClientSession

    async def post(self, path: str, body: dict | None = None, *, status: int = 200, **more: object) -> dict:
        """The JSON answer to what is sent."""
        async with self.http.post(PREFIX + path, json=body or {}, **more) as answer:
            told = await answer.json(content_type=None)
            assert answer.status == status, told
            return told

    async def get(self, path: str, *, status: int = 200, **query: object) -> dict:
        """The JSON answer to a question."""
        async with self.http.get(PREFIX + path, params=query) as answer:
            told = await answer.json(content_type=None)
            assert answer.status == status, told
            return told

    async def acknowledge(self, consumer: str, *positions: int, **more: object) -> dict:
        """Settle events."""
        return await self.post(f"/consumers/{consumer}/acknowledge", {"positions": list(positions), **more})

    @contextlib.asynccontextmanager
    async def stream(self, **asked: object) -> AsyncIterator["Lines"]:
        """A stream as NDJSON."""
        async with self.http.post(PREFIX + "/events/stream", json=asked) as answer:
            assert answer.status == 200, await answer.text()
            yield Lines(answer)


@dataclass
class Lines:
    """Lines of a stream as they come."""

    answer: aiohttp.ClientResponse
    beats: list[dict] = field(default_factory=list)

    async def event(self, *, within_seconds: float = WITHIN_SECONDS) -> dict:
        """The next event; signs of life are put aside, an end is an error."""
        async with asyncio.timeout(within_seconds):
            while True:
                line = await self.line()
                if line["event_type"] != "heartbeat":
                    return line
                assert "ends" not in line, line

    async def take(self, count: int) -> list[dict]:
        """So many events."""
        return [await self.event() for _ in range(count)]

    async def none_within(self, seconds: float) -> bool:
        """Whether no event comes for a while."""
        try:
            await self.event(within_seconds=seconds)
        except TimeoutError:
            return True
        return False

    async def end(self, *, within_seconds: float = WITHIN_SECONDS) -> str | None:
        """Why it ended."""
        async with asyncio.timeout(within_seconds):
            while True:
                line = await self.line()
                if "ends" in line:
                    return str(line["ends"])

    async def line(self) -> dict:
        """The next line, whatever it is."""
        raw = await self.answer.content.readline()
        if not raw:
            raise EOFError
        line = json.loads(raw)
        if line["event_type"] == "heartbeat":
            self.beats.append(line)
        return line


def registry_of(database: Database, folder: Path, *, now: datetime = NOON, **pinned: str) -> Registry:
    """The parts of a process, at an instant."""
    return Registry(
        settings=Settings(data_dir=folder, demo=False),
        database=database,
        clock=lambda: now,
        catalogue=LiveCatalogue(database, lambda: now),
        configuration=LiveConfiguration(database, Sources(environment=pinned)),
    )


@contextlib.asynccontextmanager
async def worker(database: Database, folder: Path, **pinned: str) -> AsyncIterator[Worker]:
    """A worker on a free port; retries come at once unless told otherwise."""
    registry = registry_of(database, folder, **{"EVENT_RETRY_SECONDS": "0.01", **pinned})
    async with database.transaction() as tx:
        _, key = await service.create_key(tx, name="streams", scope=Scope.OPERATOR, metadata=METADATA, at=NOON)
    app = create_app(registry)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        ordering = asyncio.create_task(sequencer.run(database))
        while not server.started:
            await asyncio.sleep(0.01)
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(
            url, headers={"X-Internal-API-Key": key}, timeout=aiohttp.ClientTimeout(60)
        ) as http:
            yield Worker(database, registry, server, url, key, http)
        app.state.flows.end()
        server.should_exit = True
        await serving
        await app.state.key_ring.close()
        ordering.cancel()
        await asyncio.gather(ordering, return_exceptions=True)


def said(number: int, type_: str = "external.tick") -> External:
    """Something that others told."""
    return External(occurred_at=AT, name=type_, about=f"I{number}", text=json.dumps({"n": number}))


async def tell(database: Database, *facts: Fact, stream: str = "external-tests") -> None:
    """Write facts in one append, and let the sequencer know."""
    async with database.transaction() as tx:
        await events.append(tx, *facts, stream=stream, metadata=METADATA)
    await events.wake(database)


async def tell_each(database: Database, numbers: range, type_: str = "external.tick") -> None:
    """Write facts one by one."""
    for number in numbers:
        await tell(database, said(number, type_))
