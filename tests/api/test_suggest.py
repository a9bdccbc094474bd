"""Suggestions while somebody types."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from desk import Caller, opened
from instrument_registry.access.model import Scope
from instrument_registry.database import Database

pytestmark = pytest.mark.tea


@pytest_asyncio.fixture
async def reader(database: Database, tmp_path: Path) -> AsyncIterator[Caller]:
    async with opened(database, tmp_path) as desk, desk.caller(Scope.READER) as one:
        yield one


async def texts(reader: Caller, query: str, **more: object) -> list[str]:
    return [one["text"] for one in (await reader.told("/search/suggest", query=query, **more))["suggestions"]]


class TestSuggestions:
    @pytest.mark.parametrize(
        ("typed", "first"), [("n", "NIFTY"), ("ni", "NIFTY"), ("tea", "TEALEAF"), ("labor", "R&D"), ("r&", "R&D")]
    )
    async def test_a_beginning_grows_into_a_name(self, reader: Caller, typed: str, first: str) -> None:
        assert (await texts(reader, typed))[0] == first

    async def test_a_name_is_suggested_once_however_many_listings_bear_it(self, reader: Caller) -> None:
        assert await texts(reader, "tea") == ["TEALEAF"]

    async def test_what_begins_no_name_gets_the_hits_of_a_search(self, reader: Caller) -> None:
        told = await reader.told("/search/suggest", query="nifty 24500 ce")

        assert told["suggestions"][0]["key"] == "NFO:NIFTY;2026-09-01;24500;C"

    @pytest.mark.parametrize("typed", ["", "   ", "zzzzzz"])
    async def test_nothing_is_suggested_for_nothing(self, reader: Caller, typed: str) -> None:
        assert await texts(reader, typed) == []

    async def test_no_more_than_asked_for(self, reader: Caller) -> None:
        assert len(await texts(reader, "nifty 24500", limit=1)) == 1

    async def test_the_limit_is_bounded(self, reader: Caller) -> None:
        refused = await reader.told("/search/suggest", query="n", limit=11, status=422)

        assert refused["errors"][0]["field"] == "query.limit"
