"""Streaming is turned off and on: doors say which toggle, work in the background stops and goes on where it was."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from facts import AT, METADATA
from instrument_registry.access.model import presented
from instrument_registry.configuration import service
from instrument_registry.configuration.model import Sources
from instrument_registry.configuration.toggles import EVENT_STREAMING
from instrument_registry.database import Database
from instrument_registry.wiring import Registry
from instrument_registry.workers.switching import while_on
from streaming import Worker, registry_of, worker


async def turn(database: Database, *, on: bool, registry: Registry) -> None:
    async with database.transaction() as tx:
        await service.change(
            tx, {"EVENT_STREAMING_ENABLED": str(on)}, Sources(), reason="trial", metadata=METADATA, at=AT
        )
    await registry.configuration.refresh()


@pytest.fixture
async def serving(database: Database, tmp_path: Path) -> AsyncIterator[Worker]:
    async with worker(database, tmp_path) as one:
        yield one


class TestTheDoors:
    @pytest.mark.obeys("EVENT_STREAMING_ENABLED")
    async def test_answer_503_naming_the_toggle_while_streaming_is_off(
        self, database: Database, serving: Worker
    ) -> None:
        await turn(database, on=False, registry=serving.registry)
        body = {"events": [{"event_type": "external.tick", "data": {}}]}
        published = await serving.post("/events/publish", body, status=503)
        streamed = await serving.post("/events/stream", {}, status=503)
        listed = await serving.get("/events")
        await turn(database, on=True, registry=serving.registry)

        assert published["toggle"] == streamed["toggle"] == "EVENT_STREAMING_ENABLED"
        assert "events" in listed
        await serving.post("/events/publish", body, status=201)

    @pytest.mark.obeys("EVENT_STREAMING_PERCENT", "EVENT_STREAMING_KEYS")
    async def test_serve_the_keys_it_is_on_for(self, database: Database, tmp_path: Path) -> None:
        body = {"events": [{"event_type": "external.tick", "data": {}}]}
        async with worker(database, tmp_path) as serving:
            own = presented(serving.key).id
            await serving.post("/actuator/config", {"EVENT_STREAMING_PERCENT": 0})
            refused = await serving.post("/events/publish", body, status=503)
            await serving.post("/actuator/config", {"EVENT_STREAMING_KEYS": own})
            await serving.post("/events/publish", body, status=201)

        assert refused["reason"] == "SPLIT"

    async def test_end_an_open_stream_with_the_reason(self, database: Database, serving: Worker) -> None:
        async with serving.stream(consumer_id="c") as lines:
            await lines.line()
            await turn(database, on=False, registry=serving.registry)
            assert await lines.end() == "refused"


class TestBackgroundWork:
    async def test_stops_and_goes_on(self, database: Database, tmp_path: Path) -> None:
        registry = registry_of(database, tmp_path)
        begun, ended = [], []

        async def work(_: Registry) -> None:
            begun.append(True)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        working = asyncio.create_task(while_on(EVENT_STREAMING, work)(registry))
        await _until(lambda: len(begun) == 1)
        await turn(database, on=False, registry=registry)
        await _until(lambda: len(ended) == 1)
        still_off = len(begun)
        await turn(database, on=True, registry=registry)
        await _until(lambda: len(begun) == 2)
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

        assert (still_off, len(ended)) == (1, 2)

    async def test_that_finishes_or_fails_says_so(self, database: Database, tmp_path: Path) -> None:
        async def fail(_: Registry) -> None:
            raise ZeroDivisionError

        async def finish(_: Registry) -> None:
            return

        registry = registry_of(database, tmp_path)
        await while_on(EVENT_STREAMING, finish)(registry)
        with pytest.raises(ZeroDivisionError):
            await while_on(EVENT_STREAMING, fail)(registry)


async def _until(reached) -> None:
    async with asyncio.timeout(20):
        while not reached():
            await asyncio.sleep(0.005)
