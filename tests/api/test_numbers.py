"""Numbers of rooms: what ingestions, features, caches and doors of configuration say of themselves."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from catalogues import Load, take
from desk import TEA, opened
from frame import NOON
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.catalog.ingestion import measures
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.measures import IN_FORCE
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database
from instrument_registry.database.measures import CONNECTIONS
from instrument_registry.operations.measures import REMEMBERED

PREFIX = "instrument_registry_"


def number(name: str, **labels: str) -> float:
    """What a metric says now."""
    return REGISTRY.get_sample_value(PREFIX + name, labels) or 0.0


def run_of(text: str) -> Load:
    return Load(broker="zerodha", day=NOON.date(), dumps=(Dump(name="kite_NSE.csv", content=text.encode()),))


async def test_ingestions_are_counted_by_how_they_ended(database: Database) -> None:
    before = {verdict: number("ingestion_runs_total", broker="zerodha", verdict=verdict) for verdict in VERDICTS}
    rows = number("ingestion_rows_total", broker="zerodha")

    for text in (TEA, TEA, "no,such,columns\n1,2,3\n"):
        await take(database, run_of(text), clock=lambda: NOON)
    async with database.transaction() as tx:
        await measures.measure(tx)

    counted = {verdict: number("ingestion_runs_total", broker="zerodha", verdict=verdict) for verdict in VERDICTS}
    assert {verdict: counted[verdict] - before[verdict] for verdict in VERDICTS} == dict.fromkeys(VERDICTS, 1.0)
    assert number("ingestion_rows_total", broker="zerodha") - rows == TEA.count("\n") - 1
    assert number("ingestion_last_success_timestamp_seconds", broker="zerodha") == NOON.timestamp()


VERDICTS = ("applied", "unchanged", "quarantined")


@pytest.mark.parametrize(("pinned", "share"), [("on", 1.0), ("off", 0.0)])
async def test_a_feature_says_whether_it_is_on(database: Database, pinned: str, share: float) -> None:
    configuration = LiveConfiguration(database, Sources(environment={"SEARCH_CATALOG_ENABLED": pinned}))

    IN_FORCE.watch(configuration)

    assert number("feature_enabled", feature="search_catalog") == share


async def test_what_is_remembered_and_who_is_at_work_is_told_as_it_is(database: Database, tmp_path: Path) -> None:
    CONNECTIONS.watch(database)
    async with opened(database, tmp_path) as desk, desk.caller() as caller:
        REMEMBERED.watch(caller.catalogue)
        for _ in range(3):
            await caller.told("/search", query="tea")
        asked = number("config_access_total", parameter="SLA_P95_MS")
        answer = await caller.http.get("http://registry/api/v1/config/SLA_P95_MS")
        await caller.http.get("http://registry/api/v1/config/NO_SUCH_NAME")
        async with database.transaction(), database.transaction():
            at_work = number("db_connections_active")

        assert (number("cache_misses_total", cache="answers"), number("cache_hits_total", cache="answers")) == (1, 2)
        assert number("cache_entries", cache="answers") == 1
        assert number("cache_bytes", cache="answers") > 100
        assert answer.status_code == 200
        assert number("config_access_total", parameter="SLA_P95_MS") - asked == 1
        assert at_work >= 2
        assert number("db_connections_max") == 12
