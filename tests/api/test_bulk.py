"""Many identifiers at once: found, partial, ambiguous or not found, each with what was asked."""

import msgspec
import pytest

from desk import Caller
from instrument_registry.http.shapes import BulkAnswer
from market import CALL, ENDED, ISIN

TEALEAF, PUT = "NSE:TEALEAF", "NFO:NIFTY;2026-09-01;24500;P"
# Every sort of identifier, with the key it means.
MEANT = {
    TEALEAF: TEALEAF,
    "nse:r&d": "NSE:R&D",
    "zerodha:23552258": CALL,
    f"upstox:BSE_EQ|{ISIN}": "BSE:TEALEAF",
    "upstox:90001": TEALEAF,  # the exchange's own token
    "shoonya:NFO:92001": CALL,
    "shoonya:NSE:92001": "NSE:GADGETS",
    "NIFTY": "NSE:NIFTY;IDX",
    "NIFTY01SEP2624500PE": PUT,
    "NFO:NIFTY;F;@1": "NFO:NIFTY;F;2026-08-25",
    "NFO:NIFTY;@weekly;24500;C": CALL,
    "NFO:NIFTY;@WEEKLY1;24500;P": PUT,
}


async def bulk(caller: Caller, identifiers: list[str], *, status: int = 200, **more: object) -> dict:
    answer = await caller.http.post("/instruments/bulk", json={"instrument_ids": identifiers} | more)
    assert answer.status_code == status, answer.text
    return answer.json()


class TestSorts:
    async def test_every_sort_is_found_in_the_order_asked(self, market_reader: Caller) -> None:
        told = await bulk(market_reader, list(MEANT))

        assert {one["requested"]: one["key"] for one in told["instruments"]} == MEANT
        assert [one["requested"] for one in told["instruments"]] == list(MEANT)
        msgspec.convert(told, BulkAnswer)

    async def test_a_permanent_id_is_found(self, market_reader: Caller) -> None:
        known = await market_reader.instrument(CALL)
        told = await bulk(market_reader, [known["id"]])

        assert told["instruments"] == [{"requested": known["id"], "id": known["id"], "key": CALL}]

    async def test_with_metadata_each_is_the_instrument_as_elsewhere(self, market_reader: Caller) -> None:
        told = await bulk(market_reader, list(MEANT), include_metadata=True)

        for one in told["instruments"]:
            requested = one.pop("requested")
            assert one == await market_reader.instrument(MEANT[requested])

    async def test_what_was_asked_twice_is_answered_twice(self, market_reader: Caller) -> None:
        told = await bulk(market_reader, [TEALEAF, CALL, TEALEAF])

        assert [one["key"] for one in told["instruments"]] == [TEALEAF, CALL, TEALEAF]


class TestOtherAnswers:
    async def test_each_identifier_has_one_of_four_answers(self, market_reader: Caller) -> None:
        told = await bulk(market_reader, [TEALEAF, "NSE:OLDLEAF", "shoonya:92001", f"isin:{ISIN}", "NSE:TEALEFA"])

        assert told["counts"] == {"found": 1, "partial": 1, "ambiguous": 2, "not_found": 1}
        assert [(one["requested"], {each["key"] for each in one["candidates"]}) for one in told["ambiguous"]] == [
            ("shoonya:92001", {"NSE:GADGETS", CALL}), (f"isin:{ISIN}", {TEALEAF, "BSE:TEALEAF"}),
        ]  # fmt: skip
        (missing,) = told["not_found"]
        assert (missing["requested"], missing["suggestions"][0]["key"]) == ("NSE:TEALEFA", TEALEAF)

    async def test_what_meant_something_on_other_days_is_partial_with_its_intervals(
        self, market_reader: Caller
    ) -> None:
        told = await bulk(market_reader, ["NSE:OLDLEAF", "zerodha:23296002", ENDED])
        tealeaf = await market_reader.instrument(TEALEAF)

        assert told["counts"]["partial"] == 3
        assert {
            one["requested"]: [tuple(each.values())[1:] for each in one["intervals"]] for one in told["partial"]
        } == {
            "NSE:OLDLEAF": [("NSE:OLDLEAF", "2026-08-17", "2026-08-18")],
            "zerodha:23296002": [(ENDED, "2026-08-07", "2026-08-08")],
            ENDED: [(ENDED, "2026-08-07", "2026-08-08")],
        }
        assert told["partial"][0]["intervals"][0]["id"] == tealeaf["id"]

    async def test_only_the_first_twenty_missing_get_suggestions(self, market_reader: Caller) -> None:
        told = await bulk(market_reader, [f"NSE:TEALEAF{number}" for number in range(25)])

        assert [bool(one["suggestions"]) for one in told["not_found"]] == [True] * 20 + [False] * 5


class TestTime:
    async def test_a_past_day_is_resolved_as_it_was(self, market_reader: Caller) -> None:
        told = await bulk(market_reader, ["NSE:OLDLEAF", TEALEAF, "zerodha:23296002"], as_of="2026-08-17")

        assert [(one["requested"], one["key"]) for one in told["instruments"]] == [("NSE:OLDLEAF", "NSE:OLDLEAF")]
        assert [one["requested"] for one in told["partial"]] == [TEALEAF, "zerodha:23296002"]
        assert told["as_of"] == "2026-08-17"

    async def test_before_anything_was_known_nothing_is_found(self, market_reader: Caller) -> None:
        told = await bulk(market_reader, [TEALEAF, "zerodha:23552258"], as_known_at="2026-01-01T00:00:00Z")

        assert told["counts"] == {"found": 0, "partial": 0, "ambiguous": 0, "not_found": 2}


class TestBounds:
    async def test_ten_thousand_are_answered_at_once(self, market_reader: Caller) -> None:
        texts = list(MEANT)
        asked = [texts[number % len(texts)] for number in range(9_000)] + [f"NSE:NO{number}" for number in range(1_000)]
        told = await bulk(market_reader, asked)

        assert told["counts"] == {"found": 9_000, "partial": 0, "ambiguous": 0, "not_found": 1_000}
        assert [one["requested"] for one in told["instruments"]] == asked[:9_000]

    @pytest.mark.parametrize(
        ("identifiers", "field", "remedy"),
        [
            ([TEALEAF] * 10_001, "body.instrument_ids", "10000"),
            ([], "body.instrument_ids", "1"),
            ([""], "body.instrument_ids[0]", "1"),
            ([TEALEAF, 7], "body.instrument_ids[1]", "text"),
            (["x" * 301], "body.instrument_ids[0]", "300"),
        ],
    )
    async def test_too_many_or_none_are_refused_by_name(
        self, market_reader: Caller, identifiers: list[str], field: str, remedy: str
    ) -> None:
        (problem,) = (await bulk(market_reader, identifiers, status=422))["errors"]

        assert problem["field"] == field
        assert remedy in problem["remedy"]
