"""Searching obeys its parameters while it runs: time, pages, memory, reading, and being turned off."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from desk import Caller, opened
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Sources
from instrument_registry.configuration.parameters import SEARCH_INDEX_REFRESH
from instrument_registry.database import Database
from instrument_registry.settings import Settings
from instrument_registry.wiring import open_registry

pytestmark = pytest.mark.tea


@pytest_asyncio.fixture
async def caller(database: Database, tmp_path: Path) -> AsyncIterator[Caller]:
    async with opened(database, tmp_path) as desk, desk.caller() as caller:
        yield caller


async def put(caller: Caller, **parameters: object) -> None:
    answer = await caller.http.post("/actuator/config", json=parameters)
    assert answer.status_code == 200, answer.text


async def keys(caller: Caller, query: str, **more: object) -> list[str]:
    return [one["key"] for one in (await caller.told("/search", query=query, **more))["instruments"]]


class TestSearching:
    @pytest.mark.obeys("SEARCH_TIMEOUT")
    async def test_is_given_up_after_search_timeout(self, caller: Caller) -> None:
        # As if every search had begun ten seconds ago.
        caller.catalogue.answers._elapsed = lambda: time.perf_counter() - 10
        refused = await caller.told("/search", status=503, query="tealeaf")
        await put(caller, SEARCH_TIMEOUT=25_000)
        answered = await caller.told("/search", query="tealeaf")

        assert refused["type"] == "/problems/SearchTookTooLong"
        assert answered["instruments"]
        assert "SEARCH_TIMEOUT" in refused["detail"]

    @pytest.mark.obeys("MAX_RESULTS_PER_PAGE")
    async def test_asks_for_no_more_than_max_results_per_page(self, caller: Caller) -> None:
        await put(caller, MAX_RESULTS_PER_PAGE=3)
        usual = await caller.told("/instruments")
        refused = await caller.told("/instruments", status=422, limit=4)

        assert len(usual["instruments"]) == 3
        assert refused["errors"][0]["field"] == "query.limit"
        assert "MAX_RESULTS_PER_PAGE" in refused["errors"][0]["remedy"]

    @pytest.mark.obeys("QUERY_OPTIMIZATION")
    async def test_reads_queries_while_query_optimization_is_on(self, caller: Caller) -> None:
        read = await keys(caller, "nifty 24500 ce")
        await put(caller, QUERY_OPTIMIZATION=False)
        plain = await keys(caller, "nifty 24500 ce")
        names = await keys(caller, "tealeaf")

        assert read[0] == "NFO:NIFTY;2026-09-01;24500;C"
        assert read[0] not in plain
        assert names[0] == "NSE:TEALEAF"

    @pytest.mark.obeys("CACHE_TTL_SECONDS")
    async def test_remembers_answers_for_cache_ttl_seconds(self, caller: Caller) -> None:
        answers = caller.catalogue.answers
        for _ in range(2):
            await keys(caller, "tealeaf")
        remembered = answers.hits
        await put(caller, CACHE_TTL_SECONDS=0)
        for _ in range(2):
            await keys(caller, "tealeaf")

        assert (remembered, answers.hits) == (1, 1)

    @pytest.mark.obeys("SEARCH_CATALOG_ENABLED")
    async def test_is_turned_off_by_its_toggle_and_resolving_goes_on(self, caller: Caller) -> None:
        await put(caller, SEARCH_CATALOG_ENABLED=False)
        off = await caller.told("/search", status=503, query="tealeaf")
        listed = await caller.told("/instruments", status=503)
        suggested = await caller.told("/search/suggest", status=503, query="tea")
        resolved = await caller.told("/instruments/resolve", identifier="NSE:TEALEAF")
        await put(caller, SEARCH_CATALOG_ENABLED=True)

        assert {one["toggle"] for one in (off, listed, suggested)} == {"SEARCH_CATALOG_ENABLED"}
        assert resolved
        assert await keys(caller, "tealeaf")

    @pytest.mark.obeys("SEARCH_CATALOG_PERCENT", "SEARCH_CATALOG_KEYS")
    async def test_is_on_for_the_keys_its_toggle_names(self, caller: Caller) -> None:
        await put(caller, SEARCH_CATALOG_PERCENT=0)
        others = await caller.told("/search", status=503, query="tealeaf")
        await put(caller, SEARCH_CATALOG_KEYS=caller.actor.removeprefix("api_key:"))

        assert others["reason"] == "SPLIT"
        assert await keys(caller, "tealeaf")


@pytest.mark.obeys("SEARCH_INDEX_REFRESH")
async def test_the_index_is_proved_every_search_index_refresh(database_urls, tmp_path: Path) -> None:
    registry = await open_registry(Settings(data_dir=tmp_path, demo=False), database_url=database_urls.service)
    catalogue: LiveCatalogue = registry.catalogue
    usual = catalogue._proof_seconds()
    registry.configuration.sources = Sources(environment={"SEARCH_INDEX_REFRESH": "7"})
    await registry.configuration.refresh()
    await registry.database.close()

    assert isinstance(registry.configuration, LiveConfiguration)
    assert (usual, catalogue._proof_seconds()) == (SEARCH_INDEX_REFRESH.default, 7)
