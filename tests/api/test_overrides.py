"""Overrides: an operator's word for one field, seen at once by everyone, taken back and ended."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from desk import Caller, Desk, opened
from instrument_registry.access.model import Scope
from instrument_registry.catalog.live import Proof
from instrument_registry.database import Database

pytestmark = pytest.mark.tea

CALL = "NFO:NIFTY;2026-09-01;24500;C"
PATH = f"/instruments/{CALL}/overrides"
WANTED = {"field": "lot_size", "value": 75, "reason": "The circular says 75", "valid_to": "2026-08-28"}


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


async def put(operator: Caller, **changed: object) -> dict:
    answer = await operator.http.post(PATH, json=WANTED | changed)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def everywhere(caller: Caller) -> list[dict]:
    """The call as every kind of answer shows it."""
    bulk = await caller.http.post("/instruments/bulk", json={"instrument_ids": [CALL], "include_metadata": True})
    pages = [await caller.told("/search", query="nifty 24500 ce"), await caller.told("/instruments", option_type="C")]
    listed = [next(one for one in page["instruments"] if one["key"] == CALL) for page in pages]
    return [await caller.instrument(CALL), bulk.json()["instruments"][0], *listed]


class TestOverriding:
    async def test_every_answer_of_every_worker_shows_it_and_what_the_files_say(
        self, desk: Desk, operator: Caller
    ) -> None:
        async with desk.caller(Scope.READER) as reader:
            made = await put(operator)
            await operator.caught_up((reader,))
            shown = [*await everywhere(operator), *await everywhere(reader)]

        assert {(one["lot_size"], one["overridden"]["lot_size"]) for one in shown} == {(75, 65)}
        assert (made["value"], made["in_force"], made["actor"]) == ("75", True, operator.actor)

    async def test_the_index_is_proved_equal_to_the_tables_with_it(self, operator: Caller) -> None:
        for field, value in (("lot_size", 75), ("name", 'Nifty "weekly" ☕'), ("tick_size", "0.10")):
            await put(operator, field=field, value=value)
        withdrawn = await put(operator, field="freeze_qty", value=1200)
        gone = await operator.http.delete(f"{PATH}/{withdrawn['id']}", params={"reason": "Not so after all"})
        assert gone.status_code == 200, gone.text
        await operator.caught_up()

        assert await operator.catalogue.prove() is Proof.EQUAL

    async def test_the_option_chain_shows_it_too(self, operator: Caller) -> None:
        await put(operator)
        await operator.caught_up()

        chain = await operator.told("/chains/NIFTY", expiry="2026-09-01")
        assert chain["strikes"][0]["call"]["lot_size"] == 75
        assert chain["strikes"][0]["put"]["lot_size"] == 65

    async def test_other_fields_stay_as_the_files_have_them(self, operator: Caller) -> None:
        before = await operator.instrument(CALL)
        await put(operator, field="tick_size", value="0.1")
        await operator.caught_up()
        after = await operator.instrument(CALL)

        assert after == before | {"tick_size": "0.1", "overridden": {"tick_size": "0.05"}}

    async def test_a_name_is_found_by_what_the_operator_calls_it(self, operator: Caller) -> None:
        path = "/instruments/NSE:TEALEAF/overrides"
        answer = await operator.http.post(path, json=WANTED | {"field": "name", "value": "Darjeeling Gardens"})
        await operator.caught_up()

        hits = await operator.told("/search", query="darjeeling")
        assert answer.status_code == 201
        assert hits["instruments"][0]["key"] == "NSE:TEALEAF"
        assert hits["instruments"][0]["overridden"] == {"name": "TEA LEAF ESTATES"}

    async def test_withdrawn_it_is_gone_everywhere_and_still_told_of(self, operator: Caller) -> None:
        made = await put(operator)
        await operator.caught_up()
        there = await operator.http.delete(f"{PATH}/{made['id']}", params={"reason": "The file is right by now"})
        await operator.caught_up()
        again = await operator.http.delete(f"{PATH}/{made['id']}", params={"reason": "Once more"})
        of_one = await operator.told(PATH)
        history = await operator.told(f"/instruments/{CALL}/history")

        assert {one["lot_size"] for one in await everywhere(operator)} == {65}
        assert "overridden" not in await operator.instrument(CALL)
        assert (there.status_code, there.json()["withdrawn_by"]) == (200, operator.actor)
        assert (again.status_code, again.json()["type"]) == (409, "/problems/AlreadyWithdrawn")
        assert [(one["id"], one["in_force"]) for one in of_one["overrides"]] == [(made["id"], False)]
        told = [event for event in history["events"] if "override" in event["type"] or "overridden" in event["type"]]
        assert [event["type"] for event in told] == ["instrument.overridden", "instrument.override_withdrawn"]
        assert told[0]["data"]["old"] == {"lot_size": 65}
        assert told[0]["data"]["new"] | {"override": 0} == {
            "lot_size": "75", "override": 0, "valid_from": "2026-08-18", "valid_to": "2026-08-28",
            "reason": "The circular says 75",
        }  # fmt: skip
        assert told[1]["data"]["new"]["reason"] == "The file is right by now"

    async def test_it_ends_with_the_day_before_its_end(self, desk: Desk, operator: Caller) -> None:
        await put(operator)
        await operator.caught_up()
        on_last, on_end = [await operator.instrument(CALL, as_of=day) for day in ("2026-08-27", "2026-08-28")]
        desk.now = datetime(2026, 8, 27, 18, 31, tzinfo=UTC)  # shortly after midnight in Mumbai
        await operator.catalogue.start()  # as it does every midnight
        after = await operator.instrument(CALL)

        assert (on_last["lot_size"], on_end["lot_size"], after["lot_size"]) == (75, 65, 65)
        assert "overridden" not in after

    async def test_what_was_known_before_it_does_not_know_it(self, desk: Desk, operator: Caller) -> None:
        before = desk.now
        desk.now = datetime(2026, 8, 18, 7, 0, tzinfo=UTC)
        await put(operator)
        # The rows of this catalogue became known when the test ran.
        async with desk.database.transaction(read_only=True) as tx:
            (known,) = await (await tx.execute("select max(known_from) from instrument_versions")).fetchone()

        earlier = await operator.http.get(f"/instruments/{CALL}", params={"as_known_at": before.isoformat()})
        now = await operator.instrument(CALL, as_known_at=max(known, desk.now).isoformat())

        assert earlier.status_code == 404 or earlier.json()["lot_size"] == 65
        assert (now["lot_size"], now["overridden"]) == (75, {"lot_size": 65})


class TestRefusals:
    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"field": "isin", "value": "INE002A01018"}, "body.field"),
            ({"value": "many"}, "value"),
            ({"value": "0"}, "value"),
            ({"value": "7.5"}, "value"),
            ({"value": "-1"}, "value"),
            ({"value": "1e400"}, "value"),
            ({"field": "tick_size", "value": "NaN"}, "value"),
            ({"field": "tick_size", "value": "0"}, "value"),
            ({"field": "tick_size", "value": "0.0000000000001"}, "value"),
            ({"field": "name", "value": "two\nlines"}, "value"),
            ({"reason": "   "}, "reason"),
            ({"valid_to": "2026-08-18"}, "valid_to"),
            ({"valid_to": "soon"}, "body.valid_to"),
            ({"until": "2026-08-28"}, "body.until"),
        ],
    )
    async def test_what_cannot_be_is_refused_by_name(
        self, operator: Caller, changed: dict[str, object], field: str
    ) -> None:
        answer = await operator.http.post(PATH, json=WANTED | changed)

        told = answer.json()
        assert answer.status_code == 422
        assert field in {told.get("field"), *(error["field"] for error in told.get("errors", []))}
        assert (await operator.told(PATH))["overrides"] == []

    async def test_a_field_has_one_override_at_a_time(self, operator: Caller) -> None:
        made = await put(operator)
        again = await operator.http.post(
            PATH, json=WANTED | {"value": 80, "valid_from": "2026-08-27", "valid_to": "2026-08-30"}
        )
        after = await operator.http.post(
            PATH, json=WANTED | {"value": 80, "valid_from": "2026-08-28", "valid_to": "2026-08-30"}
        )

        assert (again.status_code, again.json()["type"], again.json()["override"]) == (
            409, "/problems/OverrideExists", made["id"],
        )  # fmt: skip
        assert after.status_code == 201

    async def test_a_reader_may_look_and_not_touch(self, desk: Desk, operator: Caller) -> None:
        made = await put(operator)
        async with desk.caller(Scope.READER) as reader:
            added = await reader.http.post(PATH, json=WANTED | {"field": "freeze_qty"})
            withdrawn = await reader.http.delete(f"{PATH}/{made['id']}", params={"reason": "no"})
            listed = await reader.told(PATH)

        assert (added.status_code, withdrawn.status_code) == (403, 403)
        assert [one["in_force"] for one in listed["overrides"]] == [True]

    @pytest.mark.parametrize("override", ["999999", "first", "-1", "99999999999999999999"])
    async def test_an_id_that_is_none_is_not_found(self, operator: Caller, override: str) -> None:
        answer = await operator.http.delete(f"{PATH}/{override}", params={"reason": "no"})

        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/OverrideNotFound")

    async def test_another_instruments_override_is_not_found_here(self, operator: Caller) -> None:
        made = await put(operator)
        answer = await operator.http.delete(f"/instruments/NSE:TEALEAF/overrides/{made['id']}", params={"reason": "no"})

        assert answer.status_code == 404
        assert (await operator.told(PATH))["overrides"][0]["withdrawn_at"] is None


class TestList:
    async def test_all_instruments_overrides_are_listed_page_by_page_the_newest_first(self, operator: Caller) -> None:
        made = [await put(operator, field=field, value=2) for field in ("lot_size", "freeze_qty", "multiplier")]
        await operator.http.delete(f"{PATH}/{made[0]['id']}", params={"reason": "no"})

        first = await operator.told("/overrides", limit=1)
        second = await operator.told("/overrides", limit=1, cursor=first["pagination"]["next_cursor"])
        ever = await operator.told("/overrides", in_force=False)

        assert [page["overrides"][0]["id"] for page in (first, second)] == [made[2]["id"], made[1]["id"]]
        assert second["pagination"]["next_cursor"] is None
        assert [one["id"] for one in ever["overrides"]] == [one["id"] for one in reversed(made)]
        assert {one["key"] for one in ever["overrides"]} == {CALL}
