"""The catalogue of all real dumps, built once in a test run and read by many tests."""

import asyncio

import pytest

import dumps
from catalogues import NOW, Catalogue, shared
from instrument_registry.catalog.ingestion import intake
from instrument_registry.database import Database
from keeper import Template


@pytest.fixture(scope="session")
def everything(templates: dict[str, Template]) -> Catalogue:
    """Every dump in scope, in market-date order, in one catalogue."""
    folder = dumps.folder()

    def build(service_url: str) -> None:
        asyncio.run(_take_all(service_url))

    async def _take_all(service_url: str) -> None:
        database = await Database(service_url, application="test", pool_size=2).open()
        try:
            for run in intake.runs_of(
                intake.plan_folder(folder), intake.Asked(broker="", actor="tests", correlation_id="c-1")
            ):
                await intake.take_in(database, run, clock=lambda: NOW)
        finally:
            await database.close()

    return shared(templates["embedded"], "everything", build)
