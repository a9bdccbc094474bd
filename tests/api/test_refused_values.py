"""Values that would quietly find nothing, or mean another moment, are refused at every door."""

import json

import pytest

from desk import Caller
from instrument_registry.http.app import published
from instrument_registry.http.routes import PREFIX

KEY = "NSE:TEALEAF"
ASKED = {
    "/search": {"query": "tealeaf"},
    "/instruments": {},
    "/instruments/resolve": {"identifier": KEY},
    f"/instruments/{KEY}": {},
    f"/instruments/{KEY}/history": {},
    f"/instruments/{KEY}/tokens": {},
    "/chains/NIFTY": {},
    "/diff": {"from": "2026-08-17", "to": "2026-08-18"},
    "/export": {},
}
SENT = {"/search": {"query": "tealeaf"}, "/instruments/bulk": {"instrument_ids": [KEY]}}


class TestInstants:
    @pytest.mark.parametrize(("path", "parameters"), ASKED.items())
    async def test_one_without_an_offset_is_refused_in_a_query_string(
        self, market_reader: Caller, path: str, parameters: dict[str, str]
    ) -> None:
        refused = await market_reader.told(path, status=422, as_known_at="2026-08-18T10:00:00", **parameters)

        assert refused["errors"] == [
            {
                "field": "query.as_known_at",
                "problem": "has no offset from UTC",
                "remedy": "Add Z, or an offset such as +05:30",
                "value": "2026-08-18T10:00:00",
            }
        ]

    @pytest.mark.parametrize(("path", "body"), SENT.items())
    async def test_one_without_an_offset_is_refused_in_a_body(
        self, market_reader: Caller, path: str, body: dict[str, object]
    ) -> None:
        answer = await market_reader.http.post(path, json={**body, "as_known_at": "2026-08-18T10:00:00"})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["remedy"] == "Add Z, or an offset such as +05:30"

    def test_every_door_that_takes_one_is_among_these(self) -> None:
        document = json.loads(published())

        taking = {
            path.removeprefix(PREFIX)
            for path, operations in document["paths"].items()
            if any(one.get("name") == "as_known_at" for one in operations.get("get", {}).get("parameters", ()))
        }
        assert {path.replace(KEY, "{key}").replace("NIFTY", "{underlying}") for path in ASKED} == taking


class TestNumbers:
    @pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity"])
    @pytest.mark.parametrize("field", ["strike_from", "strike_to"])
    async def test_a_bound_that_is_no_number_is_refused(self, market_reader: Caller, field: str, text: str) -> None:
        refused = await market_reader.told("/search", status=422, query="nifty", **{field: text})

        problem = {"field": f"query.{field}", "problem": "is not a number", "remedy": "Send a number", "value": text}
        assert refused["errors"] == [problem]

    @pytest.mark.parametrize("field", ["lot_from", "lot_to"])
    @pytest.mark.parametrize("number", [-1, 10**23])
    async def test_a_lot_that_nothing_can_have_is_refused(self, market_reader: Caller, field: str, number: int) -> None:
        asked = await market_reader.told("/instruments", status=422, **{field: number})
        sent = await market_reader.http.post("/search", json={"filters": {field: number}})

        assert asked["errors"][0]["field"] == f"query.{field}"
        assert sent.status_code == 422
        assert sent.json()["errors"][0]["field"] == f"body.filters.{field}"
        assert asked["errors"][0]["value"] == str(number)

    async def test_a_number_beyond_all_numbers_is_refused_with_what_to_do(self, market_reader: Caller) -> None:
        asked = await market_reader.told("/search", status=422, query="nifty", strike_from="1e999")
        sent = await market_reader.http.post(
            "/search", content=b'{"filters":{"strike_from":1e999}}', headers={"Content-Type": "application/json"}
        )

        (problem,), (other,) = asked["errors"], sent.json()["errors"]
        assert (problem["field"], problem["value"]) == ("query.strike_from", "1e999")
        assert other["field"] == "body.filters.strike_from"
        assert problem["problem"] == other["problem"] == "is too large"
        assert problem["remedy"] == other["remedy"] == "Send a smaller number"

    async def test_a_price_that_is_no_number_is_refused(self, market_reader: Caller) -> None:
        refused = await market_reader.told("/chains/NIFTY", status=422, price="nan")

        assert (refused["errors"][0]["field"], refused["errors"][0]["value"]) == ("query.price", "NaN")
