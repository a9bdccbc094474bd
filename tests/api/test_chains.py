"""Option chains through the whole door: which expiry, both sides of every strike, whose tokens, around which price."""

import msgspec
import pytest

from desk import Caller
from instrument_registry.http.shapes import ChainAnswer
from market import CALL

MONTH, WEEK, NEXT = "2026-08-25", "2026-09-01", "2026-09-29"


async def chain(caller: Caller, underlying: str = "NIFTY", **asked: object) -> dict:
    return await caller.told(f"/chains/{underlying}", **asked)


class TestExpiry:
    @pytest.mark.parametrize(
        ("asked", "day", "cycle"),
        [
            ({}, MONTH, "monthly"),
            ({"expiry": "nearest"}, MONTH, "monthly"),
            ({"expiry": "weekly"}, WEEK, "weekly"),
            ({"expiry": "Monthly"}, MONTH, "monthly"),
            ({"expiry": NEXT}, NEXT, "monthly"),
            ({"expiry": "monthly", "as_of": "2026-08-26"}, NEXT, "monthly"),
            ({"expiry": "nearest", "as_of": "2026-08-07"}, "2026-08-07", "monthly"),
        ],
    )
    async def test_is_a_day_or_the_nearest_of_a_cycle(
        self, market_reader: Caller, asked: dict[str, str], day: str, cycle: str
    ) -> None:
        told = await chain(market_reader, **asked)

        assert (told["expiry"], told["cycle"], told["expires_at"]) == (day, cycle, f"{day}T15:30:00+05:30")
        msgspec.convert(told, ChainAnswer)

    async def test_every_expiry_there_is_is_listed(self, market_reader: Caller) -> None:
        assert (await chain(market_reader))["expiries"] == [
            {"expiry": MONTH, "cycle": "monthly"},
            {"expiry": WEEK, "cycle": "weekly"},
            {"expiry": NEXT, "cycle": "monthly"},
        ]


class TestStrikes:
    async def test_stand_in_order_with_both_sides_and_the_interval(self, market_reader: Caller) -> None:
        told = await chain(market_reader, expiry=WEEK)

        assert [strike["strike"] for strike in told["strikes"]] == ["24500", "24550", "24600"]
        assert told["strike_interval"] == "50"
        assert told["strikes"][0]["put"]["key"] == "NFO:NIFTY;2026-09-01;24500;P"

    async def test_one_without_a_side_is_marked(self, market_reader: Caller) -> None:
        told = await chain(market_reader, expiry=WEEK)

        assert [strike["one_sided"] for strike in told["strikes"]] == [False, True, False]
        assert (told["one_sided"], told["strikes"][1]["put"]) == (["24550"], None)

    async def test_a_side_has_lot_freeze_quantity_tick_and_tokens(self, market_reader: Caller) -> None:
        side = (await chain(market_reader, expiry=WEEK))["strikes"][0]["call"]

        assert side | {"id": ""} == {
            "id": "", "key": CALL, "lot_size": 65, "freeze_qty": 1800, "tick_size": "0.05",
            "tokens": {"shoonya": "92001", "upstox": "NSE_FO|92001", "zerodha": "23552258"},
        }  # fmt: skip

    async def test_only_the_asked_brokers_tokens_are_told(self, market_reader: Caller) -> None:
        told = await chain(market_reader, expiry=WEEK, broker=["Shoonya", "zerodha"])

        assert told["strikes"][0]["call"]["tokens"] == {"shoonya": "92001", "zerodha": "23552258"}
        assert told["strikes"][1]["call"]["tokens"] == {"zerodha": "23552770"}

    @pytest.mark.parametrize(
        ("price", "strike"), [("24524.95", "24500"), ("24525", "24500"), ("24525.05", "24550"), ("99999", "24600")]
    )
    async def test_the_one_at_the_money_is_nearest_to_the_price(
        self, market_reader: Caller, price: str, strike: str
    ) -> None:
        assert (await chain(market_reader, expiry=WEEK, price=price))["at_the_money"] == strike

    async def test_so_many_on_each_side_of_the_price_are_shown_and_completeness_is_of_all(
        self, market_reader: Caller
    ) -> None:
        told = await chain(market_reader, expiry=WEEK, price=24490, strikes=1)

        assert [strike["strike"] for strike in told["strikes"]] == ["24500", "24550"]
        assert told["completeness"] == {"shoonya": 0.4, "upstox": 0.4, "zerodha": 1.0}


class TestRefusals:
    @pytest.mark.parametrize(
        ("asked", "field", "remedy"),
        [
            ({"expiry": "friday"}, "query.expiry", "nearest, weekly, monthly"),
            ({"venue": "NF0"}, "query.venue", "Did you mean NFO?"),
            ({"broker": "shonya"}, "query.broker", "Did you mean shoonya?"),
            ({"price": "cheap"}, "query.price", "number"),
            ({"price": "NaN"}, "query.price", "number"),
            ({"price": "Infinity"}, "query.price", "number"),
            ({"strikes": 0}, "query.strikes", ">= 1"),
        ],
    )
    async def test_what_cannot_be_is_refused_by_name(
        self, market_reader: Caller, asked: dict[str, object], field: str, remedy: str
    ) -> None:
        (problem,) = (await chain(market_reader, status=422, **asked))["errors"]

        assert problem["field"] == field
        assert remedy in problem["remedy"]

    @pytest.mark.parametrize(
        ("underlying", "asked", "expiries"),
        [
            ("NIFTY", {"expiry": "2026-08-26"}, [MONTH, WEEK, NEXT]),
            ("NIFTY", {"venue": "bfo"}, []),
            ("TEALEAF", {}, []),
            ("NOPE", {}, []),
        ],
    )
    async def test_a_chain_that_is_not_there_names_the_expiries_that_are(
        self, market_reader: Caller, underlying: str, asked: dict[str, str], expiries: list[str]
    ) -> None:
        told = await chain(market_reader, underlying, status=404, **asked)

        assert (told["type"], told["expiries"]) == ("/problems/ChainNotFound", expiries)
