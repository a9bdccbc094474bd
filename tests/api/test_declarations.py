"""Declarations: corporate actions that operators know of and no dump says."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from desk import Caller, Desk, opened
from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.database import Database

pytestmark = pytest.mark.tea

RENAMED = {
    "what": "symbol_change", "exchange": "nse", "old_symbol": "oldtea", "new_symbol": "TEALEAF",
    "effective_date": "2026-08-17", "reason": "Circular 12 of the exchange",
}  # fmt: skip


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


class TestDeclaring:
    async def test_a_changed_symbol_is_found_by_the_old_one_in_every_worker(self, desk: Desk, operator: Caller) -> None:
        async with desk.caller(Scope.READER) as reader:
            made = await operator.http.post("/declarations", json=RENAMED)
            await operator.caught_up((reader,))
            hits = [await one.told("/search", query="oldtea") for one in (operator, reader)]

        assert made.status_code == 201
        assert (made.json()["exchange"], made.json()["old_symbol"], made.json()["actor"]) == (
            "NSE", "OLDTEA", operator.actor,
        )  # fmt: skip
        assert [[one["key"] for one in page["instruments"]] for page in hits] == [["NSE:TEALEAF", "BSE:TEALEAF"]] * 2

    async def test_it_is_told_once(self, desk: Desk, operator: Caller) -> None:
        await operator.http.post("/declarations", json=RENAMED)
        again = await operator.http.post("/declarations", json=RENAMED | {"old_symbol": "OldTea"})

        async with desk.database.transaction(read_only=True) as tx:
            told = await events.read_stream(tx, "declaration-NSE-OLDTEA")
        assert (again.status_code, again.json()["type"]) == (409, "/problems/AlreadyDeclared")
        assert [event.type for event in told] == ["declaration.added"]
        assert told[0].metadata.actor == operator.actor

    async def test_the_latest_are_listed_first_page_by_page(self, operator: Caller) -> None:
        for old in ("ALPHA", "BETA", "GAMMA"):
            await operator.http.post("/declarations", json=RENAMED | {"old_symbol": old})
        first = await operator.told("/declarations", limit=2)
        second = await operator.told("/declarations", limit=2, cursor=first["pagination"]["next_cursor"])
        one = await operator.told("/declarations", symbol="beta")
        none = await operator.told("/declarations", what="merger")

        listed = [[found["old_symbol"] for found in page["declarations"]] for page in (first, second, one, none)]
        assert listed == [["GAMMA", "BETA"], ["ALPHA"], ["BETA"], []]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"what": "split"}, "body.what"),
            ({"exchange": "LSE"}, "exchange"),
            ({"old_symbol": "TEALEAF"}, "new_symbol"),
            ({"new_symbol": "NEWTEA"}, "old_symbol"),
            ({"new_symbol": "a\tb"}, "new_symbol"),
            ({"effective_date": "2028-01-01"}, "effective_date"),
            ({"effective_date": "1980-01-01"}, "effective_date"),
            ({"reason": " "}, "reason"),
        ],
    )
    async def test_what_cannot_be_is_refused_by_name(
        self, operator: Caller, changed: dict[str, object], field: str
    ) -> None:
        answer = await operator.http.post("/declarations", json=RENAMED | changed)

        told = answer.json()
        assert answer.status_code == 422
        assert field in {told.get("field"), *(error["field"] for error in told.get("errors", []))}
        assert (await operator.told("/declarations"))["declarations"] == []

    async def test_a_reader_declares_nothing(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as reader:
            answer = await reader.http.post("/declarations", json=RENAMED)

        assert answer.status_code == 403
