"""What was told day by day, and how far what is derived from the facts is."""

import asyncio
from pathlib import Path

import pytest

from desk import opened
from instrument_registry.clock import MARKET_ZONE, now
from instrument_registry.database import Database
from instrument_registry.events.projections import PROJECTIONS, service


class TestDailyCounts:
    async def test_say_what_was_told_today_and_up_to_where(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            today = now().astimezone(MARKET_ZONE).date().isoformat()  # recorded by the database's clock, not the desk's
            keeping = asyncio.create_task(service.keep_up(database, PROJECTIONS["daily_facts"]))
            async with asyncio.timeout(20):
                while True:
                    told = await caller.told("/events/daily", first=today, last=today)
                    if told["counts"] and told["position"] == told["head_position"]:
                        break
                    await asyncio.sleep(0.02)
            states = await caller.told("/events/projections")
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

        assert {one["day"] for one in told["counts"]} == {today}
        assert {one["source"] for one in told["counts"] if one["type"] == "instrument.listed"} == {"zerodha"}
        assert [(one["name"], one["behind"], one["active"]) for one in states["projections"]] == [
            ("daily_facts", 0, True)
        ]

    @pytest.mark.parametrize(
        "days", [{"first": "2026-08-18", "last": "2026-08-17"}, {"first": "2020-01-01", "last": "2026-08-17"}]
    )
    async def test_of_too_many_days_or_none_are_refused(
        self, database: Database, tmp_path: Path, days: dict[str, str]
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            refused = await caller.told("/events/daily", status=422, **days)

        assert refused["first"] == days["first"]
