"""One instrument through the whole door: whatever it is called by, on both axes of time, its tokens and its history."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from desk import Caller, Desk, opened
from instrument_registry.access.model import Scope
from instrument_registry.database import Database
from instrument_registry.http.shapes import History, Instrument, Tokens
from market import CALL, ENDED, ISIN

pytestmark = pytest.mark.tea

TEALEAF = "NSE:TEALEAF"
NEVER = "2026-01-01T00:00:00Z"  # nothing of the market was known then


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


async def resolved(caller: Caller, identifier: str, **more: object) -> dict:
    return await caller.told("/instruments/resolve", identifier=identifier, **more)


class TestIdentifiers:
    @pytest.mark.parametrize(
        ("identifier", "key"),
        [
            (TEALEAF, TEALEAF),
            ("nse:tealeaf", TEALEAF),
            ("TEALEAF", TEALEAF),
            ("zerodha:23040257", TEALEAF),
            (f"upstox:NSE_EQ|{ISIN}", TEALEAF),
            ("upstox:NSE_EQ:90001", TEALEAF),
            ("shoonya:NSE:92001", "NSE:GADGETS"),
            ("shoonya:NFO:92001", CALL),
            ("shoonya:92002", "NFO:NIFTY;2026-09-01;24500;P"),
            ("NIFTY01SEP2624500CE", CALL),
            ("NFO:NIFTY;F;@1", "NFO:NIFTY;F;2026-08-25"),
            ("NFO:NIFTY;@1;24500;C", "NFO:NIFTY;2026-08-25;24500;C"),
            ("NFO:NIFTY;@weekly;24500;C", CALL),
            ("NFO:NIFTY;@monthly2;24500;C", "NFO:NIFTY;2026-09-29;24500;C"),
            ("NSE:OLDLEAF", TEALEAF),
            (ENDED, ENDED),
        ],
    )
    async def test_each_sort_leads_to_its_instrument(self, market_reader: Caller, identifier: str, key: str) -> None:
        one = await resolved(market_reader, identifier)
        by_id = await resolved(market_reader, one["id"])
        in_path = await market_reader.instrument(one["id"].lower())

        assert one["key"] == key
        assert {name: value for name, value in one.items() if name != "meant"} == {
            name: value for name, value in by_id.items() if name != "meant"
        }
        assert by_id == in_path
        msgspec.convert(one, Instrument)

    async def test_a_token_may_be_sent_in_parts(self, market_reader: Caller) -> None:
        path = "/instruments/resolve"
        whole = await market_reader.told(path, broker="shoonya", segment="NFO", token="92001")
        without = await market_reader.told(path, broker="zerodha", token="23552258")

        assert whole == without == await resolved(market_reader, CALL)

    async def test_a_key_in_the_path_may_hold_any_sign(self, market_reader: Caller) -> None:
        assert (await market_reader.instrument("NSE:R%26D"))["key"] == "NSE:R&D"

    @pytest.mark.parametrize(
        ("identifier", "candidates"),
        [
            ("shoonya:92001", {"NSE:GADGETS", CALL}),
            (f"isin:{ISIN}", {TEALEAF, "BSE:TEALEAF"}),
            (ISIN, {TEALEAF, "BSE:TEALEAF"}),
        ],
    )
    async def test_what_means_several_is_a_conflict_with_candidates(
        self, market_reader: Caller, identifier: str, candidates: set[str]
    ) -> None:
        told = await resolved(market_reader, identifier, status=409)

        assert told["type"] == "/problems/AmbiguousIdentifier"
        assert {one["key"] for one in told["candidates"]} == candidates

    async def test_what_means_nothing_is_not_found_with_suggestions(self, market_reader: Caller) -> None:
        told = await resolved(market_reader, "NSE:TEALEFA", status=404)
        in_path = await market_reader.instrument("NSE:TEALEFA", status=404)

        assert told["type"] == in_path["type"] == "/problems/InstrumentNotFound"
        assert told["suggestions"][0]["key"] == TEALEAF

    async def test_a_token_of_the_past_says_what_it_meant(self, market_reader: Caller) -> None:
        told = await resolved(market_reader, "zerodha:23296002", status=404)
        then = await resolved(market_reader, "zerodha:23296002", as_of="2026-08-07")

        assert [(one["key"], one["valid_from"], one["valid_to"]) for one in told["meant"]] == [
            (ENDED, "2026-08-07", "2026-08-08")
        ]
        assert then["key"] == ENDED

    @pytest.mark.parametrize(
        "parameters",
        [{}, {"broker": "zerodha"}, {"token": "1"}, {"identifier": TEALEAF, "broker": "zerodha", "token": "1"}],
    )
    async def test_half_a_question_is_refused(self, market_reader: Caller, parameters: dict[str, str]) -> None:
        told = await market_reader.told("/instruments/resolve", status=422, **parameters)

        (problem,) = told["errors"]
        assert problem["field"] == "query.identifier"
        assert problem["remedy"] == "Send either `identifier`, or `broker` and `token` (and `segment`)"

    @pytest.mark.parametrize("path", ["/instruments/resolve?identifier=NSE:TEALEAF&", f"/instruments/{TEALEAF}?"])
    @pytest.mark.parametrize("wrong", ["as_of=soon", "as_known_at=2026-08-18", "asof=2026-08-18"])
    async def test_wrong_times_are_refused_by_name(self, market_reader: Caller, path: str, wrong: str) -> None:
        answer = await market_reader.http.get(path + wrong)

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == f"query.{wrong.partition('=')[0]}"
        assert answer.json()["errors"][0]["remedy"]


class TestTime:
    async def test_a_past_day_shows_it_as_it_was(self, market_reader: Caller) -> None:
        then = await market_reader.instrument(TEALEAF, as_of="2026-08-17")
        now = await market_reader.instrument(TEALEAF)

        assert (then["id"], then["key"]) == (now["id"], "NSE:OLDLEAF")
        assert set(then["tokens"]) == {"upstox"}

    async def test_before_it_was_known_it_is_not_found(self, market_reader: Caller) -> None:
        for path in (f"/instruments/{TEALEAF}", f"/instruments/{TEALEAF}/history", f"/instruments/{TEALEAF}/tokens"):
            told = await market_reader.told(path, as_known_at=NEVER, status=404)
            assert told["type"] == "/problems/InstrumentNotFound"

    async def test_a_former_key_says_when_it_was_the_key(self, market_reader: Caller) -> None:
        former = await market_reader.instrument("NSE:OLDLEAF")
        ended = await market_reader.instrument(ENDED)
        present = await market_reader.instrument(TEALEAF)

        assert former["key"] == TEALEAF
        assert former["meant"] | {"id": ""} == {
            "id": "", "key": "NSE:OLDLEAF", "valid_from": "2026-08-17", "valid_to": "2026-08-18",
        }  # fmt: skip
        assert (ended["meant"]["valid_from"], ended["meant"]["valid_to"]) == ("2026-08-07", "2026-08-08")
        assert "meant" not in present

    async def test_what_has_ended_is_told_with_its_end(self, market_reader: Caller) -> None:
        one = await market_reader.instrument(ENDED)

        assert (one["status"], one["expires_at"], one["lot_size"]) == ("expired", "2026-08-07T15:30:00+05:30", 75)
        assert one["tokens"] == {}


class TestEntityTags:
    @pytest.mark.parametrize("path", [f"/instruments/{TEALEAF}", f"/instruments/{ENDED}", "/chains/NIFTY"])
    async def test_what_the_caller_has_is_not_sent_again(self, market_reader: Caller, path: str) -> None:
        answer = await market_reader.http.get(path)
        again = await market_reader.http.get(path, headers={"If-None-Match": answer.headers["etag"]})

        assert (answer.status_code, again.status_code, again.content) == (200, 304, b"")

    @pytest.mark.parametrize("path", [f"/instruments/{CALL}", "/chains/NIFTY"])
    async def test_a_change_is_sent(self, desk: Desk, path: str) -> None:
        async with desk.caller() as operator, desk.caller(Scope.READER) as one:
            tag = (await one.http.get(path)).headers["etag"]
            wanted = {"field": "lot_size", "value": 75, "reason": "The circular says 75", "valid_to": "2026-08-28"}
            await operator.http.post(f"/instruments/{CALL}/overrides", json=wanted)
            await operator.caught_up((one,))
            again = await one.http.get(path, headers={"If-None-Match": tag})

        assert again.status_code == 200
        assert b'"lot_size":75' in again.content


class TestTokens:
    async def test_every_brokers_token_is_told_with_its_validity(self, market_reader: Caller) -> None:
        told = await market_reader.told(f"/instruments/{CALL}/tokens")

        msgspec.convert(told, Tokens)
        assert told["key"] == CALL
        assert [(one["broker"], one["segment"], one["token"]) for one in told["tokens"]] == [
            ("shoonya", "NFO", "92001"), ("upstox", "NSE_FO", "NSE_FO|92001"), ("zerodha", "NFO", "23552258"),
        ]  # fmt: skip
        assert {one["valid_from"] for one in told["tokens"]} == {"2026-08-18"}

    async def test_where_brokers_disagree_it_is_said(self, market_reader: Caller) -> None:
        told = await market_reader.told("/instruments/BSE:TEALEAF/tokens")

        assert told["disagreements"]["tick_size"] == {"upstox": "0.1", "zerodha": "0.05"}


class TestHistory:
    async def test_a_rename_is_two_versions_and_a_fact(self, market_reader: Caller) -> None:
        answer = await market_reader.http.get(f"/instruments/{TEALEAF}/history")
        told = answer.json()

        msgspec.json.decode(answer.content, type=History)
        current = [version for version in told["versions"] if version["known_to"] is None]
        assert [(one["key"], one["valid_from"], one["valid_to"]) for one in current] == [
            ("NSE:OLDLEAF", "2026-08-17", "2026-08-18"), (TEALEAF, "2026-08-18", None),
        ]  # fmt: skip
        renamed = next(event for event in told["events"] if event["type"] == "instrument.renamed")
        assert (renamed["data"]["effective_date"], renamed["data"]["source"]) == ("2026-08-18", "upstox")

    async def test_the_end_of_a_contract_is_told(self, market_reader: Caller) -> None:
        told = await market_reader.told(f"/instruments/{ENDED}/history")

        assert (told["listed_on"], told["ended_on"], told["ended_as"]) == ("2026-08-07", "2026-08-08", "expired")
        assert [event["type"] for event in told["events"]] == ["instrument.listed", "instrument.expired"]

    async def test_facts_stand_in_the_order_of_the_log(self, market_reader: Caller) -> None:
        told = await market_reader.told(f"/instruments/{TEALEAF}/history")

        positions = [event["position"] for event in told["events"]]
        assert positions == sorted(positions)


class TestCycles:
    @pytest.mark.parametrize("as_of", ["2026-08-18", "2026-08-17"])
    async def test_a_contract_has_the_same_from_memory_from_the_database_and_in_a_file(
        self, market_reader: Caller, as_of: str
    ) -> None:
        told = {}
        file = await market_reader.http.get("/export", params={"format": "jsonl", "as_of": as_of})
        for line in file.text.splitlines():
            exported = json.loads(line)
            memory = await market_reader.instrument(exported["key"], as_of=as_of)
            database = await market_reader.instrument(exported["key"], as_of=as_of, as_known_at="2100-01-01T00:00:00Z")
            told[exported["key"]] = {one.get("cycle") for one in (exported, memory, database)}

        assert all(len(cycles) == 1 for cycles in told.values()), told
        assert set().union(*told.values()) == ({None, "weekly", "monthly"} if as_of == "2026-08-18" else {None})

    async def test_a_contract_that_has_ended_has_none(self, market_reader: Caller) -> None:
        key, day = "NFO:NIFTY;F;2026-08-25", "2026-08-26"
        memory = await market_reader.instrument(key, as_of=day)
        database = await market_reader.instrument(key, as_of=day, as_known_at="2100-01-01T00:00:00Z")

        assert memory.get("cycle") is database["cycle"] is None
