"""Toggles for other programs: OpenFeature's own client evaluates them unmodified; parameters by name."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from desk import Desk, opened
from instrument_registry.configuration.model import Sources
from instrument_registry.configuration.toggles import bucket
from instrument_registry.database import Database
from outside.judging import run_node
from streaming import worker

ROOT = "http://registry"


async def evaluated(caller, key: str, context: dict | None = None) -> httpx.Response:
    return await caller.http.post(f"{ROOT}/ofrep/v1/evaluate/flags/{key}", json={"context": context or {}})


class TestAFlag:
    async def test_is_on_until_it_is_turned_off(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            before = await evaluated(caller, "search_catalog")
            await caller.http.post("/actuator/config", json={"SEARCH_CATALOG_ENABLED": False})
            after = await evaluated(caller, "SEARCH_CATALOG_ENABLED")

        assert (before.json()["value"], before.json()["reason"], before.json()["variant"]) == (True, "STATIC", "on")
        assert (after.json()["key"], after.json()["value"], after.json()["reason"]) == (
            "SEARCH_CATALOG_ENABLED", False, "DISABLED",
        )  # fmt: skip

    async def test_is_on_for_its_share_of_the_keys_and_for_those_named(
        self, database: Database, tmp_path: Path
    ) -> None:
        sources = Sources(environment={"EVENT_STREAMING_PERCENT": "25", "EVENT_STREAMING_KEYS": "k-1, k-2"})
        async with Desk(database, tmp_path, sources=sources).caller() as caller:
            named = await evaluated(caller, "event_streaming", {"targetingKey": "k-2"})
            split = {
                key: (await evaluated(caller, "event_streaming", {"targetingKey": key})).json()["value"]
                for key in (f"user-{n}" for n in range(40))
            }
            missing = await evaluated(caller, "event_streaming")

        assert (named.json()["value"], named.json()["reason"]) == (True, "TARGETING_MATCH")
        assert split == {key: bucket(key) < 2_500 for key in split}
        assert set(split.values()) == {True, False}
        assert (missing.status_code, missing.json()["errorCode"]) == (400, "TARGETING_KEY_MISSING")

    async def test_that_nobody_knows_is_not_found(self, database: Database, tmp_path: Path) -> None:
        async with Desk(database, tmp_path).caller() as caller:
            answer = await evaluated(caller, "warp_drive")

        assert (answer.status_code, answer.json()["errorCode"]) == (404, "FLAG_NOT_FOUND")

    async def test_of_all_has_a_tag(self, database: Database, tmp_path: Path) -> None:
        async with Desk(database, tmp_path).caller() as caller:
            url = f"{ROOT}/ofrep/v1/evaluate/flags"
            first = await caller.http.post(url, json={"context": {"targetingKey": "k"}})
            again = await caller.http.post(
                url, json={"context": {"targetingKey": "k"}}, headers={"If-None-Match": first.headers["etag"]}
            )

        features = {one["key"] for one in first.json()["flags"]}
        assert features == {"search_catalog", "event_streaming", "subscription_planning"}
        assert (first.status_code, again.status_code) == (200, 304)


class TestOpenFeaturesClient:
    async def test_evaluates_our_toggles_unmodified(self, database: Database, tmp_path: Path) -> None:
        async with worker(database, tmp_path) as serving:

            def ask() -> list[object]:
                headers = {"X-Internal-API-Key": serving.key}
                api.set_provider(OFREPProvider(serving.url, headers_factory=lambda: headers))
                client = api.get_client()
                context = EvaluationContext(targeting_key="somebody")
                there = client.get_boolean_details("search_catalog", False, context)
                gone = client.get_boolean_details("warp_drive", True, context)
                return [there.value, there.variant, gone.value, gone.error_code]

            value, variant, fallback, error = await asyncio.to_thread(ask)

        assert (value, variant, fallback) == (True, "on", True)
        assert str(error) == "FLAG_NOT_FOUND"

    async def test_of_a_server_and_of_a_browser_evaluate_them_too(self, database: Database, tmp_path: Path) -> None:
        async with worker(database, tmp_path) as serving:
            told = await asyncio.to_thread(run_node, "flags.mjs", serving.url, KEY=serving.key)

        seen = json.loads(told)
        on, unknown = (
            {"value": True, "variant": "on", "reason": "STATIC"},
            {"value": True, "errorCode": "FLAG_NOT_FOUND"},
        )
        assert seen["served"]["there"] == seen["shown"]["there"] == on
        assert unknown.items() <= seen["served"]["gone"].items()
        assert unknown.items() <= seen["shown"]["gone"].items()
        assert seen["statuses"] == [200, 304]


class TestAParameterForOthers:
    async def test_is_asked_for_by_name(self, database: Database, tmp_path: Path) -> None:
        async with Desk(database, tmp_path).caller() as caller:
            plain = await caller.http.get(f"{ROOT}/api/v1/config/CACHE_TTL_SECONDS")
            prefixed = await caller.http.get(f"{ROOT}/api/v1/config/INSTRUMENT_REGISTRY_CACHE_TTL_SECONDS")

        assert plain.json() == prefixed.json() == {
            "key": "CACHE_TTL_SECONDS", "value": 300, "source": "default", "version": 0,
        }  # fmt: skip

    @pytest.mark.parametrize("key", ["NO_SUCH_THING", "EVENT_BROKER_URL"])
    async def test_that_is_none_or_secret_is_not_found(self, database: Database, tmp_path: Path, key: str) -> None:
        async with Desk(database, tmp_path).caller() as caller:
            answer = await caller.http.get(f"{ROOT}/api/v1/config/{key}")

        assert answer.status_code == 404
