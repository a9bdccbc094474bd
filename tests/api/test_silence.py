"""Instruments that are carried and do not tick: told of once while their market is open, and once when they do."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import REGISTRY

from desk import Caller, Desk, opened
from instrument_registry import events
from instrument_registry.database import Database
from instrument_registry.subscriptions.silence.watching import Watch
from instrument_registry.wiring import Registry
from instrument_registry.workers.silence import look
from planning import AT, CALL, TEA, applied, planned, planner, want

pytestmark = pytest.mark.tea

IST = ZoneInfo("Asia/Kolkata")
MORNING = datetime(2026, 8, 18, 10, 0, tzinfo=IST)


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        one.now = MORNING
        yield one


async def live(desk: Desk, caller: Caller) -> Registry:
    """A share and an option are carried by an open connection; whoever listens has listened once."""
    await want(desk, "anna", [TEA, CALL])
    made = await planned(caller)
    await applied(caller, made["plan_id"], expected=None)
    await report(caller)
    assert caller.app is not None
    return caller.app.state.registry


async def report(caller: Caller, state: str = "connected", *, ticks: dict[str, datetime] | None = None) -> None:
    body = {
        "connections": {"K-0": {"state": state}},
        "ticks": {one: at.isoformat() for one, at in (ticks or {}).items()},
    }
    answer = await caller.http.post(f"{AT}/capacity/K/health", json=body)
    assert answer.status_code == 200, answer.text


async def told(desk: Desk) -> list[tuple[str, list[str]]]:
    async with desk.database.transaction(read_only=True) as tx:
        cursor = await tx.execute(
            "select type, data::jsonb -> 'instruments' from events where type like 'feed.%' order by recorded_at"
        )
        return await cursor.fetchall()


async def ids(caller: Caller) -> dict[str, str]:
    carried = await caller.told(f"{AT}/assignments")
    return {one["key"]: one["instrument_id"] for one in carried["assignments"]}


def gauge(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"instrument_registry_subscription_{name}", {"account": "K"})


class TestAnInstrumentThatDoesNotTick:
    @pytest.mark.obeys("TICK_SILENCE")
    async def test_is_told_of_once_after_as_long_as_the_parameter_says(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            registry, watch = await live(desk, caller), Watch()
            changed = await caller.http.post("/actuator/config", json={"TICK_SILENCE": 60})
            await look(registry, watch)
            named = await ids(caller)
            desk.now += timedelta(seconds=59)
            await report(caller, ticks={named[TEA]: desk.now})
            await look(registry, watch)
            early = await told(desk)
            desk.now += timedelta(seconds=1)
            await look(registry, watch)
            await look(registry, watch)
            late = await told(desk)
            health = await caller.told(f"{AT}/capacity/K/health", ticks="true")

        assert changed.status_code == 200
        assert early == []
        assert late == [("feed.silent", [named[CALL]])]
        assert (health["silent"], list(health["silent_since"])) == (1, [named[CALL]])
        assert datetime.fromisoformat(health["silent_since"][named[CALL]]) == MORNING
        assert (gauge("silent"), gauge("ticks_awaited"), gauge("hours_unknown")) == (1, 2, 0)

    async def test_is_told_of_again_when_it_ticks_also_by_another_process(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            registry, watch = await live(desk, caller), Watch()
            await look(registry, watch)
            named = await ids(caller)
            desk.now += timedelta(seconds=300)
            await look(registry, watch)
            desk.now += timedelta(seconds=10)
            await report(caller, ticks={named[TEA]: desk.now, named[CALL]: desk.now})
            await look(registry, Watch())
            both = await told(desk)
            health = await caller.told(f"{AT}/capacity/K/health")

        assert both == [("feed.silent", sorted(named.values())), ("feed.heard", sorted(named.values()))]
        assert health["silent"] == 0

    async def test_may_be_silent_while_its_market_is_closed(self, desk: Desk) -> None:
        desk.now = datetime(2026, 8, 18, 15, 29, tzinfo=IST)
        async with planner(desk) as caller:
            registry, watch = await live(desk, caller), Watch()
            await look(registry, watch)
            desk.now += timedelta(hours=17)  # until half past eight the next morning
            await report(caller)
            await look(registry, watch)
            closed = await told(desk)
            desk.now = datetime(2026, 8, 19, 9, 19, tzinfo=IST)
            await look(registry, watch)
            just_open = await told(desk)
            desk.now = datetime(2026, 8, 19, 9, 20, tzinfo=IST)
            await look(registry, watch)
            open_for_long = await told(desk)

        assert (closed, just_open) == ([], [])
        assert [kind for kind, _ in open_for_long] == ["feed.silent"]

    async def test_is_awaited_by_nobody_on_a_connection_that_is_not_open(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            registry, watch = await live(desk, caller), Watch()
            await look(registry, watch)
            await report(caller, "closed")
            desk.now += timedelta(seconds=300)
            await look(registry, watch)
            closed = await told(desk)
            await report(caller, "connected")
            await look(registry, watch)
            opened_just_now = await told(desk)

        assert (closed, opened_just_now) == ([], [])
        assert gauge("silent") == 0

    async def test_makes_one_fact_of_an_account_however_many_fall_silent(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            registry, watch = await live(desk, caller), Watch()
            await look(registry, watch)
            desk.now += timedelta(seconds=300)
            await look(registry, watch)
            async with desk.database.transaction(read_only=True) as tx:
                (fact,) = await events.read_stream(tx, "feeds/K")

        assert json.loads(fact.data)["count"] == 2
        assert json.loads(fact.data)["after_seconds"] == 300
