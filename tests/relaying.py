"""A relay at work in a test, and what stands on its Redis."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from facts import METADATA, catch_up, renamed
from instrument_registry import events
from instrument_registry.database import Database
from instrument_registry.events import sequencer
from instrument_registry.events.streams import layout, redis_streams, relay
from instrument_registry.events.streams.layout import Ordering
from instrument_registry.events.streams.redis_streams import Streams
from instrument_registry.events.streams.relay import Bounds
from redis_servers import RedisServer

QUICK = Bounds(poll_seconds=0.02, look_seconds=0.05)
WITHIN_SECONDS = 20.0


@contextlib.asynccontextmanager
async def relaying(
    database: Database,
    url: str,
    *,
    ordering: Ordering = Ordering.PARTITION,
    bounds: Bounds = QUICK,
    owner: str = "first",
    batch_size: int = 100,
) -> AsyncIterator["asyncio.Task[None]"]:
    """A relay at work."""
    client = redis_streams.connect(url)
    streams = Streams(client, ordering, owner=owner)
    task = asyncio.create_task(relay.run(database, streams, batch_size=lambda: batch_size, bounds=bounds))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await redis_streams.disconnect(client)


@contextlib.asynccontextmanager
async def sequencing(database: Database) -> AsyncIterator[None]:
    """A sequencer at work."""
    task = asyncio.create_task(sequencer.run(database, poll_seconds=0.02))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def append(database: Database, count: int, *, subjects: int = 7, at_once: int = 50) -> None:
    """Tell facts about some subjects, several in a transaction."""
    for start in range(0, count, at_once):
        async with database.transaction() as tx:
            for number in range(start, min(start + at_once, count)):
                fact = renamed(f"N{number}", instrument_id=f"I{number % subjects}")
                await events.append(tx, fact, stream=f"s{number % subjects}", metadata=METADATA)


async def tell(database: Database, count: int, *, subjects: int = 7) -> None:
    """Tell facts and give them positions."""
    await append(database, count, subjects=subjects)
    await catch_up(database)


async def told(database: Database, *, after: int = 0) -> dict[int, str]:
    """Position and event id of everything on the log that goes to Redis."""
    found: dict[int, str] = {}
    while True:
        async with database.transaction(read_only=True) as tx:
            page = await events.read(tx, after=after, limit=10_000, bulk=False)
        if page.position == after:
            return found
        found |= {event.position or 0: str(event.event_id) for event in page.events}
        after = page.position


Standing = dict[str, list[tuple[str, dict[str, str]]]]


def standing(server: RedisServer) -> Standing:
    """Every stream there is, and everything on it."""
    with server.client() as client:
        return {key: client.xrange(key) for key in (layout.ONE_STREAM, *layout.STREAMS) if client.exists(key)}


def copied(server: RedisServer) -> dict[int, str]:
    """Position and event id of everything on Redis; an event that is there twice is an error."""
    entries = [entry for stream in standing(server).values() for entry in stream]
    found = {layout.position_of(one): fields.get("event_id", "") for one, fields in entries}
    assert len(found) == len(entries)
    return found


def marker(server: RedisServer) -> dict[str, str]:
    """What stands beside the streams."""
    with server.client() as client:
        return client.hgetall(layout.MARKER)


async def reaches(server: RedisServer, position: int) -> None:
    """Wait until the marker says so."""

    def there() -> bool:
        with contextlib.suppress(Exception):
            return marker(server).get("position") == str(position)
        return False

    await until(there)


async def until(reached: Callable[[], bool], *, within_seconds: float = WITHIN_SECONDS) -> None:
    """Wait for something."""
    async with asyncio.timeout(within_seconds):
        while not reached():
            await asyncio.sleep(0.01)


@dataclass
class Door:
    """A port that leads to a server, which may be changed behind it; with TLS if it has a context."""

    target: int
    context: ssl.SSLContext | None = None
    port: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator["Door"]:
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0, ssl=self.context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.lead(self.target)

    def lead(self, target: int) -> None:
        """Lead elsewhere from now on; who is inside is put out."""
        self.target = target
        for writer in list(self._open):
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, inner_writer}
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        self._open -= {writer, inner_writer}


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.transport.abort()
