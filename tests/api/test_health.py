"""Health as people and probes see it, against a real database."""

import asyncio
import signal
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from conftest import DatabaseUrls
from frame import NOON
from instrument_registry.catalog.ingestion import schedule
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database
from instrument_registry.events import Metadata
from instrument_registry.http import health
from instrument_registry.http.app import create_app
from instrument_registry.settings import Settings
from instrument_registry.wiring import Registry, close_registry

ARRANGED = Metadata(actor="tests", correlation_id="c-1")
DAY = timedelta(days=1)


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Registry:
    def clock() -> datetime:
        return NOON

    catalogue = LiveCatalogue(database, clock)
    return Registry(
        settings=Settings(data_dir=tmp_path, demo=False),
        database=database,
        clock=clock,
        catalogue=catalogue,
        configuration=LiveConfiguration(database, Sources()),
    )


async def ask(registry: Registry, path: str) -> httpx.Response:
    app = create_app(registry)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://registry") as client:
        return await client.get(path)


def verdicts(answer: httpx.Response) -> dict[str, str]:
    return {check["check"]: check["verdict"] for check in answer.json()["checks"]}


class TestHealth:
    @pytest.mark.parametrize("path", ["/health", "/health/ready"])
    async def test_all_is_well_once_searches_are_answered(self, registry: Registry, path: str) -> None:
        before = await ask(registry, path)
        await registry.catalogue.start()
        answer = await ask(registry, path)

        assert before.status_code == 503
        assert verdicts(before)["index"] != "passed"

        assert answer.status_code == 200
        assert set(verdicts(answer).values()) == {"passed"}
        assert answer.headers["cache-control"] == "no-store"

    async def test_ready_names_what_is_wrong_and_how_long_it_took(self, registry: Registry) -> None:
        await registry.catalogue.start()
        lost = replace(registry, settings=Settings(data_dir=Path("/nowhere"), demo=False))

        answer = await ask(lost, "/health/ready")

        assert answer.status_code == 503
        assert answer.json()["type"] == "/problems/NotReady"
        assert [name for name, verdict in verdicts(answer).items() if verdict != "passed"] == ["disk"]
        assert verdicts(answer)["disk"] == "could_not_tell"
        assert all(check["duration_ms"] >= 0 for check in answer.json()["checks"])

    async def test_migrations_that_are_missing_are_named(self, registry: Registry, database_urls: DatabaseUrls) -> None:
        with psycopg.connect(database_urls.owner, autocommit=True) as owner:
            owner.execute("update instrument_registry.alembic_version set version_num = '0001'")

        answer = await ask(registry, "/health/ready")

        assert answer.status_code == 503
        assert verdicts(answer)["migrations"] == "failed"
        assert "0002" in answer.json()["detail"]

    async def test_without_a_database_it_is_alive_and_not_healthy(self, registry: Registry) -> None:
        await close_registry(registry)

        live, health = await ask(registry, "/health/live"), await ask(registry, "/health")

        assert (live.status_code, health.status_code) == (200, 503)
        assert verdicts(health)["database"] == "could_not_tell"


class TestDemo:
    """Whoever wants the demo universe is not called healthy before it can be searched."""

    @pytest.fixture
    def wanting(self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
        monkeypatch.setattr(health, "STARTED", time.monotonic())  # the tests' process may have run for long
        return replace(registry, settings=Settings(data_dir=tmp_path, demo=True))

    async def test_it_is_waited_for(self, wanting: Registry) -> None:
        await wanting.catalogue.start()
        answer = await ask(wanting, "/health")

        assert answer.status_code == 503
        assert [name for name, verdict in verdicts(answer).items() if verdict != "passed"] == ["demo"]

    async def test_a_catalogue_in_use_waits_for_none(self, wanting: Registry, database: Database) -> None:
        async with database.transaction() as tx:
            await tx.execute(
                """insert into ingestions (broker, feed, market_date, status, digest, actor, correlation_id, started_at)
                   values ('zerodha', 'kite_NSE.csv', '2026-08-18', 'quarantined', '', 'tests', 'c-1', now())"""
            )
        await wanting.catalogue.start()
        answer = await ask(wanting, "/health")

        assert (answer.status_code, answer.json()["status"]) == (200, "ready")

    async def test_one_that_could_not_be_loaded_is_said_and_not_waited_for(
        self, wanting: Registry, database: Database
    ) -> None:
        async with database.transaction() as tx:
            await tx.execute(
                "insert into demo_universe values (true, '2026-08-18', 'failed', 'disk full', now(), now())"
            )
        await wanting.catalogue.start()
        answer = await ask(wanting, "/health")

        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert verdicts(answer)["demo_loaded"] == "failed"
        assert "disk full" in answer.text


class TestMornings:
    @pytest.mark.parametrize("path", ["/health", "/health/ready"])
    async def test_a_missed_one_is_said_while_requests_are_answered(
        self, registry: Registry, database: Database, path: str
    ) -> None:
        async with database.transaction() as tx:
            await schedule.save(
                tx,
                "zerodha",
                "30 8 * * *",
                venue="NSE",
                grace_minutes=60,
                paused=False,
                metadata=ARRANGED,
                at=NOON - DAY,
            )
        await registry.catalogue.start()
        answer = await ask(registry, path)

        (morning,) = [check for check in answer.json()["checks"] if check["check"] == "mornings"]
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert morning["verdict"] == "failed"
        assert morning["reason"] == "zerodha: nothing applied for 2026-08-18, due 08:30"


class TestWorker:
    async def test_one_that_cannot_follow_the_facts_ends(self, registry: Registry) -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        app = create_app(replace(registry, catalogue=Broken(registry.database, registry.clock)))

        async with app.router.lifespan_context(app):
            await asyncio.wait_for(told.wait(), timeout=5)

        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


class Broken(LiveCatalogue):
    """A catalogue with a bug in it."""

    async def run(self) -> None:
        raise ZeroDivisionError


class TestScrape:
    async def test_it_is_prometheus_text(self, registry: Registry) -> None:
        answer = await ask(registry, "/metrics")

        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "# TYPE instrument_registry_http_requests_total counter" in answer.text
        assert "# TYPE instrument_registry_http_request_duration_seconds histogram" in answer.text


class TestPages:
    async def test_the_api_pages_need_nothing_from_elsewhere(self, registry: Registry) -> None:
        page, start, document = [await ask(registry, path) for path in ("/docs", "/docs/start.js", "/openapi.json")]

        assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "http://" not in page.text
        assert "https://" not in page.text
        assert '"/openapi.json"' in start.text
        assert document.json()["openapi"] == "3.1.0"

    @pytest.mark.parametrize("asset", ["swagger/swagger-ui-bundle.js", "swagger/swagger-ui.css", "icon/favicon.png"])
    async def test_their_parts_are_served(self, registry: Registry, asset: str) -> None:
        answer = await ask(registry, f"/docs/{asset}")

        assert answer.status_code == 200
        assert len(answer.content) > 1000

    @pytest.mark.parametrize(
        "path", ["swagger/../../openapi.json", "swagger/%2e%2e/%2e%2e/__init__.py", "swagger/no.js"]
    )
    async def test_nothing_else_is(self, registry: Registry, path: str) -> None:
        answer = await ask(registry, f"/docs/{path}")

        assert answer.status_code in (404, 200)
        assert "fastapi_standalone_docs" not in answer.text

    async def test_a_problems_type_leads_to_its_meaning(self, registry: Registry) -> None:
        known, unknown = await ask(registry, "/problems/KeyMissing"), await ask(registry, "/problems/KeyMising")

        assert known.json()["status"] == 401
        assert "X-Internal-API-Key" in known.json()["remedy"]
        assert (unknown.status_code, unknown.json()["nearest"]) == (404, "KeyMissing")
