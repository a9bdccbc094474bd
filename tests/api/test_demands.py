"""Demands through the door: put as a whole, named in any way, refused by name, listed by whoever asks."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from desk import Caller, Desk, opened
from facts import METADATA
from instrument_registry import events
from instrument_registry.access import binding
from instrument_registry.access.model import Scope
from instrument_registry.database import Database

pytestmark = pytest.mark.tea

TEA, CALL = "NSE:TEALEAF", "NFO:NIFTY;2026-09-01;24500;C"
PATH = "/subscriptions/demands"


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


def body(*instruments: str | dict[str, object], user: str = "asha") -> dict[str, object]:
    wanted = [{"instrument": one} if isinstance(one, str) else one for one in instruments]
    return {"user_id": user, "instruments": wanted}


async def listed(caller: Caller, **asked: object) -> list[tuple[str, str, str]]:
    told = await caller.told(PATH, **asked)
    return [(one["source"], one["owner"], one["key"]) for one in told["demands"]]


class TestPutting:
    async def test_takes_any_identifier_and_says_what_has_changed(self, operator: Caller) -> None:
        first = await operator.http.put(
            f"{PATH}/position/p-1", json=body("nse:tealeaf", {"instrument": "zerodha:23552258", "mode": "full"})
        )
        again = await operator.http.put(f"{PATH}/position/p-1", json=body({"instrument": CALL, "mode": "full"}, TEA))
        told = await operator.told(PATH)

        assert (first.json()["added"], first.json()["wanted"]) == (2, 2)
        assert [again.json()[name] for name in ("added", "changed", "released")] == [0, 0, 0]
        assert {(one["key"], one["mode"], one["tier"], one["counts"]) for one in told["demands"]} == {
            (TEA, "ltp", 1, True), (CALL, "full", 1, True),
        }  # fmt: skip

    async def test_of_a_contract_ends_with_the_contract(self, operator: Caller) -> None:
        await operator.http.put(f"{PATH}/manual/m", json=body(CALL, TEA))

        told = await operator.told(PATH)
        assert {one["key"]: one["expires_at"] for one in told["demands"]} == {
            CALL: "2026-09-01T10:00:00Z", TEA: None,
        }  # fmt: skip

    async def test_of_a_contract_that_has_ended_says_so(self, desk: Desk, operator: Caller) -> None:
        desk.now = desk.now.replace(month=9, day=1, hour=10, minute=0, second=0, microsecond=0)

        answer = await operator.http.put(f"{PATH}/manual/m", json=body(CALL, TEA))

        assert answer.json()["ended"] == [CALL]
        assert {one["key"]: one["counts"] for one in (await operator.told(PATH))["demands"]} == {CALL: False, TEA: True}

    async def test_is_told_once_with_counts(self, desk: Desk, operator: Caller) -> None:
        await operator.http.put(f"{PATH}/strategy/straddle", json=body(TEA, CALL))
        await operator.http.put(f"{PATH}/strategy/straddle", json=body(TEA))
        gone = await operator.http.delete(f"{PATH}/strategy/straddle")
        again = await operator.http.delete(f"{PATH}/strategy/straddle")

        async with desk.database.transaction(read_only=True) as tx:
            told = await events.read_stream(tx, "demand:strategy:straddle")
        assert (gone.status_code, again.status_code, again.json()["type"]) == (204, 404, "/problems/NoSuchDemand")
        assert [event.type for event in told] == [
            "subscription.wanted", "subscription.released", "subscription.released",
        ]  # fmt: skip
        assert {event.metadata.actor for event in told} == {operator.actor}


class TestListing:
    async def test_is_by_instrument_user_or_source_and_page_by_page(self, operator: Caller) -> None:
        await operator.http.put(f"{PATH}/position/p", json=body(TEA, CALL))
        await operator.http.put(f"{PATH}/holding/h", json=body(TEA, user="biju"))

        first = await operator.told(PATH, limit=2)
        second = await operator.told(PATH, limit=2, cursor=first["pagination"]["next_cursor"])
        assert [one["owner"] for page in (first, second) for one in page["demands"]] == ["h", "p", "p"]
        assert second["pagination"]["next_cursor"] is None
        assert await listed(operator, instrument="tealeaf") == [("holding", "h", TEA), ("position", "p", TEA)]
        assert await listed(operator, user_id="biju") == [("holding", "h", TEA)]
        assert await listed(operator, source="position", instrument=CALL) == [("position", "p", CALL)]
        assert await listed(operator, source="strategy") == []


class TestRefusals:
    async def test_name_each_instrument_that_is_unknown_with_the_nearest(self, operator: Caller) -> None:
        answer = await operator.http.put(f"{PATH}/manual/m", json=body(TEA, "NSE:TEALEEF", "zerodha:1"))

        errors = {error["field"]: error for error in answer.json()["errors"]}
        assert answer.status_code == 422
        assert set(errors) == {"body.instruments[1].instrument", "body.instruments[2].instrument"}
        assert TEA in errors["body.instruments[1].instrument"]["remedy"]
        assert await listed(operator) == []

    async def test_name_what_is_listed_twice(self, operator: Caller) -> None:
        answer = await operator.http.put(f"{PATH}/manual/m", json=body(TEA, "zerodha:23040257"))

        (error,) = answer.json()["errors"]
        assert (error["field"], error["value"]) == ("body.instruments[1].instrument", "zerodha:23040257")
        assert TEA in error["remedy"]

    @pytest.mark.parametrize(
        ("path", "changed", "field"),
        [
            ("live_feed/x", {}, "source"),
            ("manual/-x", {}, "owner"),
            ("manual/m", {"user_id": ""}, "body.user_id"),
            ("manual/m", {"instruments": [{"instrument": TEA, "mode": "depth"}]}, "body.instruments[0].mode"),
            ("manual/m", {"instruments": [{"instrument": TEA, "priority": 101}]}, "body.instruments[0].priority"),
            ("manual/m", {"instruments": [{"instrument": TEA, "copies": 3}]}, "body.instruments[0].copies"),
        ],
    )
    async def test_name_the_field(self, operator: Caller, path: str, changed: dict[str, object], field: str) -> None:
        answer = await operator.http.put(f"{PATH}/{path}", json=body(TEA) | changed)

        told = answer.json()
        assert answer.status_code == 422
        assert field in {told.get("field"), *(error["field"] for error in told.get("errors", []))}

    async def test_a_key_bound_to_a_user_touches_what_is_wanted_for_that_user_alone(self, desk: Desk) -> None:
        async with desk.caller() as bound, desk.caller() as free:
            async with desk.database.transaction() as tx:
                key = bound.actor.removeprefix("api_key:")
                await binding.bind(tx, key, ["asha"], reason="hers", metadata=METADATA, at=desk.now)
            await bound.app.state.key_ring._read()
            await free.http.put(f"{PATH}/manual/hers", json=body(TEA))
            await free.http.put(f"{PATH}/manual/his", json=body(TEA, user="biju"))
            answers = [
                await bound.http.put(f"{PATH}/manual/hers", json=body(TEA, CALL)),
                await bound.http.put(f"{PATH}/manual/another", json=body(TEA, user="biju")),
                await bound.http.put(f"{PATH}/manual/his", json=body(TEA)),
                await bound.http.delete(f"{PATH}/manual/his"),
                await bound.http.get(PATH, params={"user_id": "asha"}),
                await bound.http.get(PATH),
                await bound.http.get("/subscriptions/ladders"),
            ]

            assert [one.status_code for one in answers] == [200, 403, 403, 403, 200, 403, 403]
            assert {one.json()["type"] for one in answers if one.status_code == 403} == {"/problems/NotYourUser"}

    async def test_a_reader_demands_nothing(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as reader:
            put, gone = (
                await reader.http.put(f"{PATH}/manual/m", json=body(TEA)),
                await reader.http.delete(f"{PATH}/manual/m"),
            )

        assert (put.status_code, gone.status_code) == (403, 403)
