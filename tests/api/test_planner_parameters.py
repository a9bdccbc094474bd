"""Planning obeys its parameters while it runs."""

import os
import signal
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from desk import Caller, Desk, opened
from instrument_registry.database import Database
from instrument_registry.wiring import Registry
from instrument_registry.workers.plan import plan_once
from planning import AT, CALL, FUTURE, RND, TEA, applied, carries, planned, planner, want

pytestmark = pytest.mark.tea


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


async def put(caller: Caller, **parameters: object) -> None:
    answer = await caller.http.post("/actuator/config", json=parameters)
    assert answer.status_code == 200, answer.text


def registry_of(caller: Caller) -> Registry:
    assert caller.app is not None
    return caller.app.state.registry


async def carried(caller: Caller) -> list[str]:
    """What the live plan carries, after the planner has had its turn."""
    await plan_once(registry_of(caller))
    return sorted(one["key"] for one in (await caller.told(f"{AT}/assignments"))["assignments"])


class TestThePlanner:
    @pytest.mark.obeys("PLANNER_AUTO_APPLY")
    async def test_applies_what_follows_from_a_change_only_where_it_may(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await put(caller, PLANNER_AUTO_APPLY=False)
            await want(desk, "anna", [TEA])
            before = await carried(caller)
            await put(caller, PLANNER_AUTO_APPLY=True)
            after = await carried(caller)

        assert (before, after) == ([], [TEA])

    @pytest.mark.obeys("PLANNER_HOLD_DROPS_PERCENT")
    async def test_holds_a_plan_that_takes_too_much_away(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await put(caller, SUBSCRIPTION_LINGER=0)
            await want(desk, "anna", [TEA, RND, CALL])
            await carried(caller)
            await carries(desk, "K", connections=1, each=1)  # somebody mistyped
            held = await carried(caller)
            (waiting,) = [one for one in (await caller.told(f"{AT}/plans"))["plans"] if one["held_because"]]
            await put(caller, PLANNER_HOLD_DROPS_PERCENT=100)
            await want(desk, "anna", [TEA, RND, CALL, FUTURE])
            let_go = await carried(caller)

        assert held == sorted([TEA, RND, CALL])
        assert waiting["status"] == "validated"
        assert "2 of 3 live instruments would be dropped" in waiting["held_because"]
        assert len(let_go) == 1

    @pytest.mark.obeys("PLANNER_HOLD_MOVES_PERCENT")
    async def test_holds_a_plan_that_moves_too_much(self, desk: Desk) -> None:
        async with planner(desk, each=1) as caller:
            await want(desk, "anna", [TEA])
            await carried(caller)
            await carries(desk, "L", connections=1, each=1, segments=("NSE",))
            await want(desk, "bert", [CALL])  # which only K carries: TEA would have to move to L
            held = await carried(caller)
            await put(caller, PLANNER_HOLD_MOVES_PERCENT=100)
            await want(desk, "bert", [CALL, FUTURE])
            let_go = await carried(caller)

        assert held == [TEA]
        assert TEA in let_go
        assert len(let_go) == 2

    @pytest.mark.obeys("SUBSCRIPTION_LINGER")
    async def test_keeps_what_nobody_wants_any_more_for_so_long(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA, RND])
            await carried(caller)
            await want(desk, "anna", [TEA])
            lingers = await carried(caller)
            desk.now += timedelta(seconds=31)
            gone = await carried(caller)
            await put(caller, SUBSCRIPTION_LINGER=0)
            await want(desk, "anna", [RND])
            at_once = await carried(caller)

        assert lingers == sorted([TEA, RND])
        assert gone == [TEA]
        assert at_once == [RND]

    async def test_lets_nothing_linger_where_somebody_needs_the_place(self, desk: Desk) -> None:
        async with planner(desk, each=1) as caller:
            await want(desk, "anna", [TEA])
            await carried(caller)
            await want(desk, "anna", [RND])

            assert await carried(caller) == [RND]

    @pytest.mark.obeys("PLAN_CACHE_TTL")
    async def test_remembers_an_answer_for_so_long(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await put(caller, PLAN_CACHE_TTL=10)
            await want(desk, "anna", [TEA])
            first = await planned(caller)
            desk.now += timedelta(seconds=9)
            again = await planned(caller)
            desk.now += timedelta(seconds=2)
            later = await planned(caller)

        assert again["plan_id"] == first["plan_id"]
        assert later["plan_id"] != first["plan_id"]

    @pytest.mark.obeys("PLANNER_OPTIMIZATION_LEVEL")
    async def test_plans_at_the_level_that_is_set(self, desk: Desk) -> None:
        async with planner(desk, connections=3, each=5) as caller:
            await want(desk, "anna", [TEA])
            moderate = await planned(caller)
            await put(caller, PLANNER_OPTIMIZATION_LEVEL="low")
            low = await planned(caller)

        assert moderate["plan"]["level"] == "moderate"
        assert low["plan"]["level"] == "low"
        assert low["plan_id"] != moderate["plan_id"]

    @pytest.mark.obeys("PLANNER_TIMEOUT")
    async def test_takes_what_it_has_when_the_time_is_up(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA])
            await planned(caller)  # the solver runs by now
            os.kill(registry_of(caller).solver.pid, signal.SIGSTOP)
            await put(caller, PLANNER_TIMEOUT=1)
            await want(desk, "anna", [TEA, RND])
            began = time.monotonic()
            made = await planned(caller)
            took = time.monotonic() - began

        assert made["plan_data"]["quality"] == "heuristic"
        assert made["plan_data"]["served"] == 2
        assert took < 15  # and not the thirty seconds that are usual


class TestTheToggle:
    @pytest.mark.obeys("SUBSCRIPTION_PLANNING_ENABLED", "SUBSCRIPTION_PLANNING_PERCENT", "SUBSCRIPTION_PLANNING_KEYS")
    async def test_stops_planning_and_not_what_is_live(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await want(desk, "anna", [TEA])
            made = await planned(caller)
            await applied(caller, made["plan_id"], expected=None)
            await put(caller, SUBSCRIPTION_PLANNING_ENABLED=False)
            refused = await caller.http.post(f"{AT}/plan", json={})
            still = await caller.told(f"{AT}/assignments")
            await put(caller, SUBSCRIPTION_PLANNING_ENABLED=True, SUBSCRIPTION_PLANNING_PERCENT=0)
            for_none = await caller.http.post(f"{AT}/plan", json={})
            await put(caller, SUBSCRIPTION_PLANNING_KEYS=caller.actor.removeprefix("api_key:"))
            for_us = await caller.http.post(f"{AT}/plan", json={})

        assert refused.status_code == 503
        assert refused.json()["toggle"] == "SUBSCRIPTION_PLANNING_ENABLED"
        assert still["total"] == 1
        assert for_none.status_code == 503
        assert for_us.status_code == 200


class TestATicker:
    @pytest.mark.obeys("TICKER_LEASE")
    async def test_keeps_its_account_for_so_long(self, desk: Desk) -> None:
        async with planner(desk) as caller:
            await put(caller, TICKER_LEASE=60)
            await caller.http.post(f"{AT}/leases/K", json={"holder": "one"})
            desk.now += timedelta(seconds=59)
            early = await caller.http.post(f"{AT}/leases/K", json={"holder": "two"})
            desk.now += timedelta(seconds=2)
            late = await caller.http.post(f"{AT}/leases/K", json={"holder": "two"})

        assert (early.status_code, late.status_code) == (409, 200)
