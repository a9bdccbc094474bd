"""Prices of underlyings through the door, and what becomes of the ladders on them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from desk import Caller, Desk, opened
from facts import METADATA
from instrument_registry.access.model import Scope
from instrument_registry.database import Database
from instrument_registry.subscriptions.demand import service as demand
from instrument_registry.subscriptions.demand.wants import DemandSource
from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.rules import service
from instrument_registry.subscriptions.rules.model import parsed
from instrument_registry.subscriptions.rules.standing import Owner
from instrument_registry.workers.rules import settle_due, settle_rules
from option_chains import chain, dump

MORNING = datetime(2026, 8, 18, 4, 0, tzinfo=UTC)
LADDER = {"rule": "ladder", "underlying": "NSE:NIFTY;IDX", "around": 10, "expiries": 3}
PRICES, LADDERS, DEMANDS = (f"/subscriptions/{name}" for name in ("reference-prices", "ladders", "demands"))
WITHIN_SECONDS = 20.0


@dataclass
class Floor:
    """A desk with a ladder on it, and somebody who tells prices."""

    desk: Desk
    caller: Caller

    async def rules(self, *rules: dict[str, object]) -> None:
        owner = Owner(source=DemandSource.LIVE_FEED, owner="p-1", user_id="asha", mode=Mode.QUOTE)
        async with self.desk.database.transaction() as tx:
            await service.replace(tx, owner, parsed(rules), metadata=METADATA, at=self.desk.now)

    async def price(self, value: str, **more: object) -> dict:
        body = {"prices": [{"underlying": "NSE:NIFTY", "price": value} | more]}
        answer = await self.caller.http.post(PRICES, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["prices"][0]

    async def settle(self) -> int:
        return await settle_due(self.caller.app.state.registry)

    async def wanted(self) -> set[int]:
        async with self.desk.database.transaction(read_only=True) as tx:
            return set((await demand.demanded(tx, at=self.desk.now)).ids.tolist())

    async def ladder(self) -> dict:
        (told,) = (await self.caller.told(LADDERS))["ladders"]
        return told


@pytest_asyncio.fixture
async def floor(database: Database, tmp_path: Path) -> AsyncIterator[Floor]:
    async with opened(database, tmp_path, dump(chain())) as desk:
        desk.now = MORNING
        async with desk.caller() as caller:
            yield Floor(desk, caller)


class TestALadderThroughTheDoor:
    async def test_follows_the_money_as_the_scenario_says(self, floor: Floor) -> None:
        """S12: 24,000 -> 24,049 -> 24,051 -> 25,551 gives 126; 0; 6+6; 126+126."""
        await floor.rules(LADDER)
        sets: list[set[int]] = [set()]
        for value in ("24000", "24049", "24051", "25551"):
            await floor.price(value)
            await floor.settle()
            sets.append(await floor.wanted())
            floor.desk.now += timedelta(seconds=61)

        assert [(len(now - before), len(before - now)) for before, now in pairwise(sets)] == [
            (126, 0), (0, 0), (6, 6), (126, 126),
        ]  # fmt: skip

    async def test_says_where_it_stands_and_between_which_prices_it_stays(self, floor: Floor) -> None:
        await floor.rules(LADDER)
        waiting = await floor.ladder()
        moved = await floor.price("24010.5")
        await floor.settle()
        told = await floor.ladder()

        assert (waiting["frozen"], waiting["centre"], moved["moves"]) == ("no_price", None, 1)
        names = ("centre", "price", "stays_from", "stays_to", "frozen", "instruments")
        assert {name: told[name] for name in names} == {
            "centre": "24000", "price": "24010.5", "stays_from": "23950", "stays_to": "24050", "frozen": None,
            "instruments": 126,
        }  # fmt: skip
        assert (told["underlying"], told["content"]["around"]) == ("NSE:NIFTY", 10)
        assert told["next_edge"] == "2026-08-18T10:00:00Z"

    async def test_whose_price_is_implausible_or_stale_stays_and_says_so(self, floor: Floor) -> None:
        await floor.rules(LADDER)
        await floor.price("24000")
        await floor.settle()
        floor.desk.now += timedelta(seconds=61)
        jump = await floor.price("30000")
        frozen = (await floor.ladder())["frozen"]
        (known,) = (await floor.caller.told(PRICES))["prices"]
        confirmed = await floor.price("30000", confirmed=True)
        floor.desk.now += timedelta(seconds=301)
        stale = (await floor.ladder())["frozen"]

        assert (jump["verdict"], jump["frozen"], jump["ladders"]) == ("implausible", True, 1)
        assert "20%" in jump["detail"]
        assert (frozen, known["price"], known["refused_price"], known["frozen"]) == (
            "implausible", "24000", "30000", "implausible",
        )  # fmt: skip
        assert (confirmed["verdict"], confirmed["moves"], stale) == ("taken", 1, "stale")

    async def test_is_settled_by_the_worker_when_a_price_comes(self, floor: Floor) -> None:
        await floor.rules(LADDER)
        working = asyncio.create_task(settle_rules(floor.caller.app.state.registry))
        await floor.price("24000")
        async with asyncio.timeout(WITHIN_SECONDS):
            while len(await floor.wanted()) != 126 and not working.done():
                await asyncio.sleep(0.02)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

        assert len(await floor.wanted()) == 126

    async def test_is_listed_by_what_one_asks(self, floor: Floor) -> None:
        await floor.rules(LADDER, {"rule": "filter", "venue": "NFO", "underlying": "NSE:NIFTY", "most": 3})

        first = await floor.caller.told(LADDERS, limit=1)
        second = await floor.caller.told(LADDERS, limit=1, cursor=first["pagination"]["next_cursor"])
        assert [one["kind"] for page in (first, second) for one in page["ladders"]] == ["ladder", "filter"]
        for asked, count in (
            ({"underlying": "NFO:NIFTY"}, 2), ({"kind": "filter"}, 1), ({"user_id": "biju"}, 0), ({"owner": "p-1"}, 2),
            ({"source": "alerts"}, 0),
        ):  # fmt: skip
            assert len((await floor.caller.told(LADDERS, **asked))["ladders"]) == count
        by_rule = await floor.caller.told(DEMANDS, owner="p-1")
        assert [(one["rule"], one["mode"]) for one in by_rule["demands"]] == [(2, "quote")] * 3


class TestPricesAreJudged:
    async def test_each_by_itself_and_counted(self, floor: Floor) -> None:
        old = (MORNING - timedelta(seconds=301)).isoformat()
        told = [
            {"underlying": "NSE:NIFTY;IDX", "price": 24000}, {"underlying": "NSE:NIFTYY", "price": "1"},
            {"underlying": "NSE:NIFTY", "price": "24001", "at": old},
            {"underlying": "NSE:NIFTY", "price": "0", "at": (MORNING + timedelta(seconds=1)).isoformat()},
        ]  # fmt: skip
        answer = (await floor.caller.http.post(PRICES, json={"prices": told})).json()

        assert [one["verdict"] for one in answer["prices"]] == ["taken", "unknown", "stale", "implausible"]
        assert answer["counts"] == {"taken": 1, "unknown": 1, "stale": 1, "implausible": 1}

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"underlying": "NIFTY"}, "prices[0].underlying"),
            ({"underlying": "NFO:NIFTY;2026-09-01;24500;C"}, "prices[0].underlying"),
            ({"price": "Infinity"}, "body.prices[0].price"),
            ({"price": "1e400"}, "body.prices[0].price"),
            ({"price": "cheap"}, "body.prices[0].price"),
            ({"at": "2026-08-18T09:30:00"}, "body.prices[0].at"),
        ],
    )
    async def test_what_is_no_price_is_refused_by_name(
        self, floor: Floor, changed: dict[str, object], field: str
    ) -> None:
        answer = await floor.caller.http.post(
            PRICES, json={"prices": [{"underlying": "NSE:NIFTY", "price": "24000"} | changed]}
        )

        told = answer.json()
        assert answer.status_code == 422
        assert field in {told.get("field"), *(error["field"] for error in told.get("errors", []))}

    async def test_a_reader_tells_none(self, floor: Floor) -> None:
        async with floor.desk.caller(Scope.READER) as reader:
            answer = await reader.http.post(PRICES, json={"prices": [{"underlying": "NSE:NIFTY", "price": "1"}]})

        assert answer.status_code == 403
