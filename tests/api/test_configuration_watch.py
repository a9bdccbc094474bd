"""The configuration as a stream: what is in force, each version as it comes, resumed where it broke off."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from facts import AT, METADATA
from instrument_registry.access import service as access
from instrument_registry.configuration import service
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database
from instrument_registry.http.routes import PREFIX
from streaming import Worker, worker

PATH = PREFIX + "/configuration/watch"
WITHIN_SECONDS = 20


@pytest.fixture
async def serving(database: Database, tmp_path: Path) -> AsyncIterator[Worker]:
    async with worker(database, tmp_path) as one:
        yield one


async def change(serving: Worker, **values: str) -> int:
    """Set some parameters; the version that this made."""
    async with serving.database.transaction() as tx:
        made = await service.change(tx, values, Sources(), reason="trial", metadata=METADATA, at=AT)
    await serving.registry.configuration.refresh()
    return made.version


@contextlib.asynccontextmanager
async def watched(serving: Worker, *, headers: dict | None = None, **query: object) -> AsyncIterator["Watch"]:
    async with serving.http.get(PATH, params=query, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        yield Watch(answer)


class Watch:
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def line(self) -> bytes:
        async with asyncio.timeout(WITHIN_SECONDS):
            return await self.answer.content.readline()

    async def told(self) -> dict:
        return json.loads(await self.line())


class TestWatching:
    async def test_begins_with_what_is_in_force_and_tells_each_version_as_it_comes(self, serving: Worker) -> None:
        await change(serving, CACHE_TTL_SECONDS="5")
        async with watched(serving) as watch:
            first = await watch.told()
            await change(serving, CACHE_TTL_SECONDS="6", SEARCH_TIMEOUT="900")
            second = await watch.told()

        assert first == {"kind": "snapshot", "version": 1}
        assert (second["kind"], second["version"], second["actor"], second["reason"]) == (
            "change", 2, METADATA.actor, "trial",
        )  # fmt: skip
        assert second["changes"]["CACHE_TTL_SECONDS"] == {"old": "5", "new": "6"}
        assert set(second["changes"]) == {"CACHE_TTL_SECONDS", "SEARCH_TIMEOUT"}

    async def test_resumes_after_a_version_without_a_gap(self, serving: Worker) -> None:
        for seconds in range(1, 251):
            async with serving.database.transaction() as tx:
                await service.change(
                    tx, {"CACHE_TTL_SECONDS": str(seconds)}, Sources(), reason="trial", metadata=METADATA, at=AT
                )
        await serving.registry.configuration.refresh()
        async with watched(serving, **{"from": 3}) as watch:
            told = [(await watch.told())["version"] for _ in range(248)]

        assert told == list(range(3, 251))

    async def test_is_sent_as_events_to_who_asks_for_them_and_resumes_by_their_id(self, serving: Worker) -> None:
        await change(serving, CACHE_TTL_SECONDS="5")
        await change(serving, CACHE_TTL_SECONDS="6")
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
        async with watched(serving, headers=headers) as watch:
            lines = [await watch.line() for _ in range(8)]

        assert lines[:2] == [b"id: 1\n", b"event: snapshot\n"]
        assert lines[4:6] == [b"id: 2\n", b"event: change\n"]
        assert json.loads(lines[6].removeprefix(b"data: "))["version"] == 2

    async def test_ends_when_the_worker_stops_and_when_the_key_is_revoked(
        self, serving: Worker, database: Database
    ) -> None:
        async with watched(serving) as watch:
            await watch.told()
            async with database.transaction() as tx:
                for key in await access.list_keys(tx):
                    await access.revoke_key(tx, key.id, metadata=METADATA, at=AT)
            revoked = await watch.told()
            rest = await watch.line()

        assert (revoked["kind"], revoked["reason"].partition(":")[0]) == ("end", "refused")
        assert rest == b""

    async def test_says_that_the_worker_stops(self, serving: Worker) -> None:
        async with watched(serving) as watch:
            await watch.told()
            serving.server.config.app.state.flows.end()
            end = await watch.told()

        assert end == {"kind": "end", "reason": "stopping"}

    @pytest.mark.parametrize(("start", "status"), [("7", 404), ("-1", 422), ("x", 422)])
    async def test_from_a_version_that_is_not_there_is_refused(self, serving: Worker, start: str, status: int) -> None:
        await serving.get("/configuration/watch", status=status, **{"from": start})
