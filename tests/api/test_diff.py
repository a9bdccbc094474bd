"""The difference between two market dates, through the whole door."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from catalogues import Load, take
from desk import TEA, Caller, Desk, opened
from frame import NOON
from instrument_registry.catalog import differences
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.database import Database

pytestmark = pytest.mark.tea

FIRST, LAST = date(2026, 8, 18), date(2026, 8, 19)
NEXT_DAY = (
    TEA.replace(
        "23552770,92003,NIFTY2690124550CE,NIFTY,0,2026-09-01,24550",
        "23553026,92004,NIFTY2690124600CE,NIFTY,0,2026-09-01,24600",
    )
    .replace("0,2026-08-25,0,0.1,65,FUT", "0,2026-08-25,0,0.1,75,FUT")
    .replace('R&D,"R&D, LABORATORIES",0,,0,0.05', 'R&D,"R&D WORKS",0,,0,0.01')
    .replace("128083204,500325,TEALEAF", "128083205,500326,TEALEAF")
)

SHOONYA = """Exchange,Token,LotSize,Symbol,TradingSymbol,Instrument,TickSize,
NSE,92190,1,COFFEE,COFFEE-EQ,EQ,0.05,
"""


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        await ingest(one, NEXT_DAY, LAST)
        yield one


@pytest_asyncio.fixture
async def caller(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


async def ingest(desk: Desk, text: str, day: date) -> None:
    desk.now = max(desk.now + timedelta(hours=1), NOON + (day - NOON.date()))
    load = Load(broker="zerodha", day=day, dumps=(Dump(name="kite_NSE.csv", content=text.encode()),))
    outcome = await take(desk.database, load, clock=desk.clock)
    assert outcome.status == "applied", outcome


def without(text: str, symbol: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if symbol not in line)


async def known_now(desk: Desk) -> str:
    async with desk.database.transaction(read_only=True) as tx:
        return (await differences.now_known(tx)).isoformat()


def told(body: dict) -> set[tuple]:
    return {(one["change"], one["key"], one["field"], one["old"], one["new"]) for one in body["changes"]}


class TestDiff:
    async def test_a_night_is_told_by_what_changed(self, caller: Caller) -> None:
        body = await caller.told("/diff", **{"from": FIRST, "to": LAST})

        assert told(body) == {
            ("listed", "NFO:NIFTY;2026-09-01;24600;C", None, None, None),
            ("strike_removed", "NFO:NIFTY;2026-09-01;24550;C", None, None, None),
            ("lot_changed", "NFO:NIFTY;F;2026-08-25", "lot_size", "65", "75"),
            ("name_changed", "NSE:R&D", "name", "R&D, LABORATORIES", "R&D WORKS"),
            ("tick_changed", "NSE:R&D", "tick_size", "0.05", "0.01"),
        }
        assert body["counts"] == dict.fromkeys((one["change"] for one in body["changes"]), 1)
        assert body["pagination"]["total"] == 5

    async def test_a_broker_that_is_named_has_its_tokens_compared(self, caller: Caller) -> None:
        body = await caller.told("/diff", **{"from": FIRST, "to": LAST, "broker": "zerodha", "venue": ["BSE", "NFO"]})

        tokens = {one for one in told(body) if one[0].startswith("token")}
        assert tokens == {
            ("token_changed", "BSE:TEALEAF", "token", "128083204", "128083205"),
            ("token_assigned", "NFO:NIFTY;2026-09-01;24600;C", "token", None, "23553026"),
            ("token_withdrawn", "NFO:NIFTY;2026-09-01;24550;C", "token", "23552770", None),
        }

    async def test_a_reused_token_is_named_with_what_it_meant(self, desk: Desk, caller: Caller) -> None:
        third = date(2026, 8, 20)
        await ingest(
            desk,
            NEXT_DAY.replace(
                "23552514,92002,NIFTY2690124500PE,NIFTY,0,2026-09-01,24500,0.05,65,PE",
                "23552514,92002,TEALEAF26SEP500CE,TEALEAF,0,2026-09-29,500,0.05,40,CE",
            ),
            third,
        )

        body = await caller.told("/diff", **{"from": LAST, "to": third, "broker": "zerodha", "change": "token_reused"})

        key = "NFO:TEALEAF;2026-09-29;500;C"
        assert told(body) == {("token_reused", key, "token 23552514", "NFO:NIFTY;2026-09-01;24500;P", key)}

    async def test_contracts_end_by_the_calendar_alone(self, caller: Caller) -> None:
        body = await caller.told("/diff", **{"from": LAST, "to": "2026-08-26"})

        assert told(body) == {("expired", "NFO:NIFTY;F;2026-08-25", None, None, None)}

    async def test_the_same_day_or_nothing_known_yet_is_no_difference(self, caller: Caller) -> None:
        same = await caller.told("/diff", **{"from": LAST, "to": LAST})
        before = await caller.told("/diff", **{"from": FIRST, "to": LAST, "as_known_at": "2026-08-17T00:00:00Z"})

        assert (same["counts"], same["changes"]) == ({}, [])
        assert (before["counts"], before["changes"]) == ({}, [])

    async def test_a_contract_that_was_known_to_run_until_its_expiry_had_expired_then(
        self, desk: Desk, caller: Caller
    ) -> None:
        span = {"from": LAST, "to": "2026-08-26", "underlying": "NIFTY"}
        then = await known_now(desk)
        await ingest(desk, without(NEXT_DAY, "NIFTY26AUGFUT"), date(2026, 8, 20))

        now, before = await caller.told("/diff", **span), await caller.told("/diff", **span, as_known_at=then)

        key = "NFO:NIFTY;F;2026-08-25"
        assert told(now) == {("delisted", key, None, None, None)}
        assert told(before) == {("expired", key, None, None, None)}

    async def test_an_end_that_was_taken_back_later_had_its_reason(self, desk: Desk, caller: Caller) -> None:
        merger = {"what": "merger", "exchange": "NSE", "old_symbol": "NIFTY", "new_symbol": "TEALEAF",
                  "effective_date": "2026-08-20"}  # fmt: skip
        made = await caller.http.post("/declarations", json=merger | {"reason": "The circular says so"})
        assert made.status_code == 201, made.text
        await ingest(desk, without(NEXT_DAY, "NIFTY26AUGFUT"), date(2026, 8, 20))
        then = await known_now(desk)
        await ingest(desk, NEXT_DAY, date(2026, 8, 21))

        span = {"from": LAST, "to": "2026-08-20", "underlying": "NIFTY"}
        now, before = await caller.told("/diff", **span), await caller.told("/diff", **span, as_known_at=then)

        assert told(now) == told(before) == {("closed_early", "NFO:NIFTY;F;2026-08-25", None, None, None)}

    async def test_what_nobody_had_heard_of_before_was_listed_then(self, desk: Desk, caller: Caller) -> None:
        coffee = NEXT_DAY + "23600001,92190,COFFEE,COFFEE HOUSE,0,,0,0.05,1,EQ,NSE,NSE\n"
        third, span = date(2026, 8, 20), {"from": LAST, "to": "2026-08-20", "underlying": "COFFEE"}
        await ingest(desk, coffee, third)
        then = await known_now(desk)
        dump = Dump(name="NSE_symbols.txt", content=SHOONYA.encode())
        earlier = await take(desk.database, Load(broker="shoonya", day=FIRST, dumps=(dump,)), clock=desk.clock)
        assert earlier.status == "applied", earlier

        now, before = await caller.told("/diff", **span), await caller.told("/diff", **span, as_known_at=then)

        assert told(before) == {("listed", "NSE:COFFEE", None, None, None)}
        assert told(now) == set()

    async def test_filters_keep_what_they_name(self, caller: Caller) -> None:
        span = {"from": FIRST, "to": LAST}
        futures = await caller.told("/diff", **span, kind="future")
        shares = await caller.told("/diff", **span, underlying="R&D")

        assert {one["key"] for one in futures["changes"]} == {"NFO:NIFTY;F;2026-08-25"}
        assert {one["key"] for one in shares["changes"]} == {"NSE:R&D"}

    async def test_an_override_that_began_in_between_is_a_change(self, caller: Caller) -> None:
        wanted = {
            "field": "lot_size",
            "value": 80,
            "reason": "The circular says 80",
            "valid_from": str(LAST),
            "valid_to": "2026-08-22",
        }
        made = await caller.http.post("/instruments/NFO:NIFTY;F;2026-08-25/overrides", json=wanted)
        assert made.status_code == 201, made.text

        began = await caller.told("/diff", **{"from": FIRST, "to": LAST, "change": ["overridden", "override_ended"]})
        ended = await caller.told("/diff", **{"from": LAST, "to": "2026-08-22"})

        key = "NFO:NIFTY;F;2026-08-25"
        assert told(began) == {("overridden", key, "lot_size", None, "80")}
        assert told(ended) == {("override_ended", key, "lot_size", "80", None)}

    async def test_pages_together_are_the_whole_and_stay_with_what_was_known(self, desk: Desk, caller: Caller) -> None:
        span = {"from": FIRST, "to": LAST}
        whole = await caller.told("/diff", **span)

        pages = [await caller.told("/diff", **span, limit=2)]
        await ingest(desk, NEXT_DAY.replace("R&D WORKS", "R&D MILLS"), LAST)
        while (cursor := pages[-1]["pagination"]["next_cursor"]) is not None:
            pages.append(await caller.told("/diff", **span, limit=2, cursor=cursor))

        assert [one for page in pages for one in page["changes"]] == whole["changes"]
        assert [page["counts"] for page in pages] == [whole["counts"], None, None]
        assert {page["pagination"]["total"] for page in pages} == {5}

    async def test_dates_the_wrong_way_round_are_refused_by_name(self, caller: Caller) -> None:
        refused = await caller.told("/diff", status=422, **{"from": LAST, "to": FIRST})
        missing = await caller.told("/diff", status=422, **{"from": LAST})

        assert (refused["field"], refused["value"]) == ("to", str(FIRST))
        assert missing["errors"][0]["field"] == "query.to"
