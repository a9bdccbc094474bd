"""The relay to Redis: what stands there is the newest of the log, whatever becomes of Redis."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import structlog
from redis_servers import RedisServer, binaries, serving

from facts import AT, METADATA, Counted, catch_up, counted, renamed
from instrument_registry import events
from instrument_registry.database import Database
from instrument_registry.events.streams import layout, redis_streams, relay, relay_storage
from instrument_registry.events.streams.layout import Ordering
from instrument_registry.events.streams.redis_streams import Streams
from instrument_registry.events.streams.relay import Bounds

QUICK = Bounds(poll_seconds=0.02, look_seconds=0.05)
WITHIN_SECONDS = 20.0


@pytest.fixture(params=list(binaries()))
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of one's own."""
    with serving(binaries()[request.param], tmp_path / "redis") as server:
        yield server


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
    task = asyncio.create_task(relay.run(database, streams, batch_size=batch_size, bounds=bounds))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await redis_streams.disconnect(client)


async def tell(database: Database, count: int, *, streams: int = 7) -> None:
    """Append facts about some subjects, several at once, and give them positions."""
    for start in range(0, count, 50):
        async with database.transaction() as tx:
            for number in range(start, min(start + 50, count)):
                fact = renamed(f"N{number}", instrument_id=f"I{number % streams}")
                await events.append(tx, fact, stream=f"s{number % streams}", metadata=METADATA)
    await catch_up(database)


def standing(broker: RedisServer) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Everything on the streams."""
    with broker.client() as client:
        return {key: client.xrange(key) for key in (layout.ONE_STREAM, *layout.STREAMS) if client.exists(key)}


def positions(broker: RedisServer) -> list[int]:
    """The positions on Redis, sorted."""
    return sorted(layout.position_of(one) for entries in standing(broker).values() for one, _ in entries)


async def reaches(broker: RedisServer, position: int) -> None:
    """Wait until the marker says so."""

    def there() -> bool:
        with contextlib.suppress(Exception), broker.client() as client:
            return client.hget(layout.MARKER, "position") == str(position)
        return False

    await until(there)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while not reached():
            await asyncio.sleep(0.02)


class TestASteadyRelay:
    @pytest.mark.parametrize("ordering", list(Ordering))
    async def test_brings_everything_once_and_in_order(
        self, database: Database, broker: RedisServer, ordering: Ordering
    ) -> None:
        await tell(database, 400)
        async with relaying(database, broker.url, ordering=ordering):
            await reaches(broker, 400)
            await tell(database, 37)
            await reaches(broker, 437)

        there = standing(broker)
        assert positions(broker) == list(range(1, 438))
        for entries in there.values():
            assert [layout.position_of(one) for one, _ in entries] == sorted(
                int(each["position"]) for _, each in entries
            )
        if ordering is Ordering.GLOBAL:
            assert list(there) == [layout.ONE_STREAM]
        if ordering is Ordering.PARTITION:
            homes = {(fields["subject"], key) for key, entries in there.items() for _, fields in entries}
            assert len(homes) == 7
