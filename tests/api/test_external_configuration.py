"""Another Instrument Registry as the configuration service: what it says is shown with source and age, and obeyed."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn

from config_service import KEY, config_service
from desk import Caller, Desk
from instrument_registry.access.model import Scope
from instrument_registry.breakers import Breakers
from instrument_registry.breakers.terms import CONFIGURATION_SERVICE
from instrument_registry.configuration.external import External, Keeping, ServiceAddress
from instrument_registry.configuration.parameters import PARAMETERS
from instrument_registry.database import Database
from instrument_registry.sealing import sealer_in

WITHIN_SECONDS = 30.0
BROKER_URL = "redis://:hunter2-hunter2@redis.internal:6379/0"
PREFIX = "INSTRUMENT_REGISTRY_"


@asynccontextmanager
async def listening(app: object) -> AsyncIterator[str]:
    """An app at an address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


def external_of(folder: Path, url: str, key: str, *, desk: Desk) -> External:
    address = ServiceAddress(url=url, environment="production", key=key)
    return External(
        address,
        Keeping(folder, address, sealer=lambda: sealer_in(folder)),
        parameters=list(PARAMETERS.values()),
        pins={},
        required=frozenset(),
        breaker=Breakers(folder).of(CONFIGURATION_SERVICE),
        clock=desk.clock,
    )


async def obeys(caller: Caller, external: External) -> None:
    """Let a worker have an external source, as wiring does."""
    await external.start(bound_seconds=WITHIN_SECONDS)
    configuration = caller.app.state.registry.configuration
    configuration.external = external
    configuration.take_external()


def shown(body: dict, name: str) -> dict:
    return next(one for one in body["parameters"] if one["name"] == name)


async def key_of(caller: Caller) -> str:
    return caller.http.headers["X-Internal-API-Key"]


class TestAnotherRegistry:
    async def test_is_a_source_with_its_age_and_its_defaults_are_none(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path / "there")
        async with desk.caller(Scope.ADMIN) as there, listening(there.app) as url:
            await there.http.post("/actuator/config", json={"MAX_RESULTS_PER_PAGE": 7, "LOG_LEVELS": ""})
            made = await there.http.put(
                f"/secrets/{PREFIX}EVENT_BROKER_URL", json={"value": BROKER_URL, "reason": "trial"}
            )
            assert made.status_code in (200, 201), made.text
            external = external_of(tmp_path, url, await key_of(there), desk=desk)
            await external.start(bound_seconds=WITHIN_SECONDS)

        assert external.problem is None
        assert external.values["MAX_RESULTS_PER_PAGE"] == "7"
        assert external.values["EVENT_BROKER_URL"] == BROKER_URL
        assert "SEARCH_TIMEOUT" not in external.values


class TestWhatTheServiceSays:
    async def test_is_shown_with_source_and_age_obeyed_and_below_what_is_set_live(
        self, database: Database, tmp_path: Path
    ) -> None:
        desk = Desk(database, tmp_path)
        async with config_service() as service, desk.caller() as caller:
            service.values |= {PREFIX + "MAX_RESULTS_PER_PAGE": 7, PREFIX + "SEARCH_TIMEOUT": 900}
            before = await caller.http.get("/actuator/config")
            await obeys(caller, external_of(tmp_path, service.url, KEY, desk=desk))
            await caller.http.post("/actuator/config", json={"SEARCH_TIMEOUT": 800})
            after = await caller.http.get("/actuator/config", headers={"If-None-Match": before.headers["etag"]})
            changed = await caller.http.post(
                "/actuator/config", json={"CACHE_TTL_SECONDS": 9}, headers={"If-Match": after.headers["etag"]}
            )
            refused = await caller.http.get("/search", params={"query": "tea", "limit": 8})
            health = await caller.http.get("http://registry/health")

        page = shown(after.json(), "MAX_RESULTS_PER_PAGE")
        assert (page["value"], page["source"], page["age_seconds"]) == (7, "external", 0)
        assert (shown(after.json(), "SEARCH_TIMEOUT")["value"], changed.status_code) == (800, 200)
        assert refused.status_code == 422
        assert {"check": "configuration_service", "verdict": "passed"}.items() <= next(
            one for one in health.json()["checks"] if one["check"] == "configuration_service"
        ).items()

    async def test_that_is_old_is_noted_by_health_which_goes_on_answering(
        self, database: Database, tmp_path: Path
    ) -> None:
        desk = Desk(database, tmp_path)
        async with config_service() as service, desk.caller() as caller:
            service.status = 503
            await obeys(caller, external_of(tmp_path, service.url, KEY, desk=desk))
            health = await caller.http.get("http://registry/health")

        check = next(one for one in health.json()["checks"] if one["check"] == "configuration_service")
        assert (health.status_code, health.json()["status"], check["verdict"]) == (200, "degraded", "failed")
        assert check["reason"] == "The configuration service answered 503; nothing it said is kept"

    async def test_cannot_fall_back_to_a_default_where_it_is_required(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path)
        async with desk.caller() as caller:
            configuration = caller.app.state.registry.configuration
            await caller.http.post("/actuator/config", json={"CACHE_TTL_SECONDS": 9})
            configuration.sources = type(configuration.sources)(required=frozenset({"CACHE_TTL_SECONDS"}))
            refused = await caller.http.post("/actuator/config", json={"CACHE_TTL_SECONDS": None})
            changed = await caller.http.post("/actuator/config", json={"CACHE_TTL_SECONDS": 10})

        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/BadValue")
        assert "is required and would fall back to its default" in refused.json()["detail"]
        assert changed.status_code == 200


class TestConfigServiceRefresh:
    @pytest.mark.obeys("CONFIG_SERVICE_REFRESH")
    async def test_says_how_often_the_service_is_asked(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path)
        async with config_service() as service, desk.caller() as caller:
            service.values[PREFIX + "MAX_RESULTS_PER_PAGE"] = 7
            external = external_of(tmp_path, service.url, KEY, desk=desk)
            await obeys(caller, external)
            configuration = caller.app.state.registry.configuration
            await caller.http.post("/actuator/config", json={"CONFIG_SERVICE_REFRESH": 60})
            service.values[PREFIX + "MAX_RESULTS_PER_PAGE"] = 8
            desk.now = desk.now.replace(minute=desk.now.minute + 1, second=0)
            asked = len(service.asked)
            await caller.http.post("/actuator/config", json={"CONFIG_SERVICE_REFRESH": 3600})
            await external.step(refresh_seconds=float(configuration.now[PARAMETERS["CONFIG_SERVICE_REFRESH"]]))
            not_yet = len(service.asked) - asked
            await caller.http.post("/actuator/config", json={"CONFIG_SERVICE_REFRESH": 1})

            following = asyncio.create_task(configuration.follow())
            async with asyncio.timeout(WITHIN_SECONDS):
                while shown(await caller.told("/actuator/config"), "MAX_RESULTS_PER_PAGE")["value"] != 8:
                    await asyncio.sleep(0.05)
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

        assert not_yet == 0
