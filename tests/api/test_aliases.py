"""Aliases: what operators call things is what everybody finds them by."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from desk import Caller, Desk, opened
from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.database import Database

pytestmark = pytest.mark.tea

GARDEN = {"alias": "the  Garden", "target": "tealeaf", "reason": "What the desk says"}


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


async def found(caller: Caller, text: str) -> list[str]:
    return [one["key"] for one in (await caller.told("/search", query=text))["instruments"]]


class TestAliases:
    async def test_one_that_is_added_is_found_by_every_worker_and_gone_after_its_removal(
        self, desk: Desk, operator: Caller
    ) -> None:
        async with desk.caller(Scope.READER) as reader:
            before = [await found(one, "the garden") for one in (operator, reader)]
            added = await operator.http.post("/aliases", json=GARDEN)
            await operator.caught_up((reader,))
            between = [await found(one, "the garden") for one in (operator, reader)]
            removed = await operator.http.delete(
                "/aliases/The Garden", params={"target": "TEALEAF", "reason": "No more"}
            )
            await operator.caught_up((reader,))
            after = [await found(one, "the garden") for one in (operator, reader)]

        assert (added.status_code, removed.status_code) == (201, 200)
        assert (added.json()["alias"], added.json()["target"]) == ("the garden", "TEALEAF")
        assert (added.json()["actor"], added.json()["origin"]) == (operator.actor, "operator")
        assert before == after == [[], []]
        assert between == [["NSE:TEALEAF", "BSE:TEALEAF"]] * 2

    async def test_what_was_done_is_told_with_reason_and_actor(self, desk: Desk, operator: Caller) -> None:
        await operator.http.post("/aliases", json=GARDEN)
        await operator.http.delete("/aliases/the garden", params={"target": "TEALEAF", "reason": "No more"})
        await operator.http.delete("/aliases/the garden", params={"target": "TEALEAF", "reason": "No more"})

        async with desk.database.transaction(read_only=True) as tx:
            told = await events.read_stream(tx, "alias-the garden")
        assert [event.type for event in told] == ["alias.added", "alias.removed"]
        assert {event.metadata.actor for event in told} == {operator.actor}
        assert '"reason":"No more"' in told[1].data

    async def test_the_list_has_operators_aliases_and_with_seed_our_own(self, operator: Caller) -> None:
        await operator.http.post("/aliases", json=GARDEN)
        own = await operator.told("/aliases")
        first = await operator.told("/aliases", seed=True, limit=3)
        second = await operator.told("/aliases", seed=True, limit=3, cursor=first["pagination"]["next_cursor"])
        of_nifty = await operator.told("/aliases", seed=True, target="nifty", limit=1000)

        assert [(one["alias"], one["origin"]) for one in own["aliases"]] == [("the garden", "operator")]
        names = [one["alias"] for page in (first, second) for one in page["aliases"]]
        assert names == sorted(names)
        assert len(set(names)) == 6
        assert ("nifty 50", "seed") in {(one["alias"], one["origin"]) for one in of_nifty["aliases"]}
        assert {one["target"] for one in of_nifty["aliases"]} == {"NIFTY"}


class TestRefusals:
    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"alias": " "}, "alias"),
            ({"alias": "a\x07b"}, "alias"),
            ({"alias": "x" * 61}, "body.alias"),
            ({"target": "NOBODY"}, "target"),
            ({"reason": " "}, "reason"),
            ({"reson": "x"}, "body.reson"),
        ],
    )
    async def test_what_cannot_be_is_refused_by_name(
        self, operator: Caller, changed: dict[str, object], field: str
    ) -> None:
        answer = await operator.http.post("/aliases", json=GARDEN | changed)

        told = answer.json()
        assert answer.status_code == 422
        assert field in {told.get("field"), *(error["field"] for error in told.get("errors", []))}

    async def test_twice_is_a_conflict(self, operator: Caller) -> None:
        await operator.http.post("/aliases", json=GARDEN)
        again = await operator.http.post("/aliases", json=GARDEN | {"alias": "THE GARDEN"})

        assert (again.status_code, again.json()["type"]) == (409, "/problems/AliasTaken")

    async def test_our_own_list_stays(self, operator: Caller) -> None:
        answer = await operator.http.delete("/aliases/nifty 50", params={"target": "NIFTY", "reason": "no"})

        assert (answer.status_code, "our own list" in answer.json()["detail"]) == (404, True)
        assert (await found(operator, "nifty 50"))[0] == "NSE:NIFTY;IDX"

    async def test_a_reader_adds_and_removes_none(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as reader:
            added = await reader.http.post("/aliases", json=GARDEN)
            removed = await reader.http.delete("/aliases/nifty 50", params={"target": "NIFTY", "reason": "no"})

        assert (added.status_code, removed.status_code) == (403, 403)
