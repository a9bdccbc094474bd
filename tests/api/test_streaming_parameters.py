"""Streaming obeys its parameters while it runs: attempts, waits, batches, how long things are kept or waited for."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

import relaying
from instrument_registry.clock import now
from instrument_registry.database import Database
from instrument_registry.settings import Settings
from instrument_registry.wiring import Registry
from instrument_registry.workers.consumers import look_after
from instrument_registry.workers.relay import relay_to_redis
from redis_servers import binaries, serving
from streaming import Worker, registry_of, said, tell, tell_each, worker

TICKS = {"consumer_id": "ticker", "event_types": ["external.*"], "from": "earliest"}


@pytest_asyncio.fixture
async def here(database: Database, tmp_path: Path) -> AsyncIterator[Worker]:
    async with worker(database, tmp_path) as one:
        yield one


async def failed(here: Worker, line: dict) -> None:
    await here.acknowledge("ticker", failed=[{"position": line["position"], "reason": "ValueError"}])


class TestAConsumer:
    @pytest.mark.obeys("EVENT_RETRY_ATTEMPTS")
    async def test_has_as_many_attempts_as_are_set_while_it_follows(self, here: Worker) -> None:
        await tell_each(here.database, range(2))
        await here.post("/actuator/config", {"EVENT_RETRY_ATTEMPTS": 1})
        async with here.stream(**TICKS) as stream:
            for line in await stream.take(2):
                await failed(here, line)
            nothing = await stream.none_within(0.3)
        letters = (await here.get("/events/dlq/external.tick"))["dead_letters"]

        assert nothing
        assert [one["attempts"] for one in letters] == [1, 1]

    @pytest.mark.obeys("EVENT_RETRY_SECONDS")
    async def test_waits_as_long_as_is_set_before_the_second_attempt(self, database: Database, tmp_path: Path) -> None:
        async with worker(database, tmp_path, EVENT_RETRY_SECONDS="3600") as patient:
            await tell_each(database, range(1))
            async with patient.stream(**TICKS) as stream:
                await failed(patient, await stream.event())
                waits = await stream.none_within(0.5)
            standing = await patient.get("/consumers/ticker")

        assert waits
        assert standing["waiting"] == 1

    @pytest.mark.obeys("EVENT_BATCH_SIZE")
    async def test_has_as_many_in_hand_as_are_set_unless_it_says_another_number(self, here: Worker) -> None:
        await tell(here.database, *(said(n) for n in range(10)))
        await here.post("/actuator/config", {"EVENT_BATCH_SIZE": 2})
        async with here.stream(**TICKS) as stream:
            await stream.take(2)
            stopped = await stream.none_within(0.5)
        async with here.stream(**TICKS | {"consumer_id": "other"}, batch_size=5) as stream:
            more = await stream.take(5)

        assert stopped
        assert len(more) == 5

    @pytest.mark.obeys("CONSUMER_SILENT_DAYS")
    async def test_is_reported_when_it_has_been_silent_for_as_long_as_is_set(self, here: Worker) -> None:
        async with here.stream(**TICKS) as stream:
            await stream.line()
        usual = await here.get("/events/health")
        await here.post("/actuator/config", {"CONSUMER_SILENT_DAYS": 0.001})
        async with here.database.transaction() as tx:
            await tx.execute("update consumers set seen_at = seen_at - interval '1 hour'")
        silent = await here.get("/events/health")
        await look_after(here.registry)
        told = await here.get("/events", stream="consumer-ticker")

        assert usual["silent_consumers"] == []
        assert silent["silent_consumers"] == ["ticker"]
        assert "consumer.silent" in [one["event_type"] for one in told["events"]]


class TestADeadLetter:
    @pytest.mark.obeys("DLQ_RETENTION_HOURS")
    async def test_is_kept_for_as_many_hours_as_are_set(self, database: Database, tmp_path: Path) -> None:
        async with worker(database, tmp_path, EVENT_RETRY_ATTEMPTS="1") as here:
            await tell_each(database, range(1))
            async with here.stream(**TICKS) as stream:
                await failed(here, await stream.event())
            await here.post("/actuator/config", {"DLQ_RETENTION_HOURS": 48})
            left = []
            for hours in (47, 49):
                await look_after(_later(here.registry, hours))
                left.append(len((await here.get("/events/dlq/external.tick"))["dead_letters"]))

        assert left == [1, 0]


class TestTheRelay:
    @pytest.mark.obeys("EVENT_BROKER_URL", "EVENT_ORDERING_GUARANTEE")
    @pytest.mark.parametrize(("ordering", "streams"), [("global", 1), ("none", 16)])
    async def test_goes_where_and_in_the_order_that_the_environment_says(
        self, database: Database, tmp_path: Path, ordering: str, streams: int
    ) -> None:
        await relaying.tell(database, 7)
        with serving(next(iter(binaries().values())), tmp_path / "redis") as redis:
            settings = Settings(
                data_dir=tmp_path, demo=False, event_broker_url=redis.url, event_ordering_guarantee=ordering
            )
            relay = asyncio.create_task(relay_to_redis(replace(registry_of(database, tmp_path), settings=settings)))
            await relaying.reaches(redis, 7)
            relay.cancel()
            await asyncio.gather(relay, return_exceptions=True)
            there = relaying.standing(redis)

        assert len(there) == streams

    async def test_is_not_wanted_without_an_address(self, database: Database, tmp_path: Path) -> None:
        assert await relay_to_redis(registry_of(database, tmp_path)) is None


def _later(registry: Registry, hours: int) -> Registry:
    """The same parts, some hours after."""
    later = now() + timedelta(hours=hours)
    return replace(registry, clock=lambda: later)
