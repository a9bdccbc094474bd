"""Less is done instead of nothing: a failing feature is given up and tried again, short memory is made room in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from desk import Caller, Desk, opened
from instrument_registry.access.model import Scope
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database
from instrument_registry.operations.degradation.memory import Memory

pytestmark = pytest.mark.tea

MB = 1_000_000
GIVEN_UP, ONCE_MORE = "operations.feature_given_up", "operations.feature_resumed"


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


@asynccontextmanager
async def under(desk: Desk, **parameters: str) -> AsyncIterator[Caller]:
    """Somebody who asks while the environment says this."""
    desk.sources = Sources(environment=parameters)
    async with desk.caller(Scope.OPERATOR) as one:
        await one.caught_up()
        yield one


class Broken:
    """An index with a mistake in it."""

    @property
    def view(self) -> object:
        raise ZeroDivisionError("a mistake of ours")


class Hand:
    """Breaks the search of a worker, and mends it."""

    def __init__(self, caller: Caller) -> None:
        self._catalogue, self._whole = caller.catalogue, caller.catalogue._index

    def breaks(self) -> None:
        self._catalogue._index = Broken()

    def mends(self) -> None:
        self._catalogue._index = self._whole


async def search(caller: Caller, times: int = 1) -> list[int]:
    return [(await caller.http.get("/search", params={"query": "tea"})).status_code for _ in range(times)]


class TestAFailingFeature:
    @pytest.mark.obeys("FEATURE_ERROR_MINIMUM_CALLS")
    @pytest.mark.parametrize("least", [4, 9])
    async def test_is_given_up_after_as_many_calls_as_the_parameter_says(self, desk: Desk, least: int) -> None:
        async with under(desk, FEATURE_ERROR_MINIMUM_CALLS=str(least)) as caller:
            Hand(caller).breaks()
            statuses = await search(caller, least + 3)

        assert statuses == [500] * least + [503] * 3

    @pytest.mark.obeys("FEATURE_ERROR_PERCENT")
    @pytest.mark.parametrize(("percent", "failures"), [("50", 5), ("80", 20), ("100", 40)])
    async def test_is_given_up_at_the_share_of_failures_the_parameter_says(
        self, desk: Desk, percent: str, failures: int
    ) -> None:
        async with under(desk, FEATURE_ERROR_PERCENT=percent, FEATURE_ERROR_MINIMUM_CALLS="5") as caller:
            good = await search(caller, 5)
            Hand(caller).breaks()
            statuses = await search(caller, 40)

        assert good == [200] * 5
        assert statuses.count(500) == failures

    @pytest.mark.obeys("FEATURE_RETRY_SECONDS")
    @pytest.mark.parametrize(("seconds", "afterwards"), [("0.1", [200] * 6), ("600", [503] * 6)])
    async def test_is_tried_again_after_the_time_the_parameter_says(
        self, desk: Desk, seconds: str, afterwards: list[int]
    ) -> None:
        async with under(desk, FEATURE_RETRY_SECONDS=seconds, FEATURE_ERROR_MINIMUM_CALLS="4") as caller:
            hand = Hand(caller)
            hand.breaks()
            await search(caller, 5)
            hand.mends()
            await asyncio.sleep(0.15)
            statuses = await search(caller, 6)

        assert statuses == afterwards

    async def test_says_why_and_when_and_leaves_what_the_operator_set(self, desk: Desk) -> None:
        async with under(desk, FEATURE_ERROR_MINIMUM_CALLS="4", SEARCH_CATALOG_ENABLED="true") as caller:
            Hand(caller).breaks()
            await search(caller, 4)
            answer = await caller.http.get("/search", params={"query": "tea"})
            toggle = await caller.told("/actuator/toggle/search_catalog")

        assert answer.json()["type"] == "/problems/FeatureGivenUpNow"
        assert "4 of the last 4 requests failed, the last with ZeroDivisionError" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) >= 1
        assert (toggle["enabled"], toggle["sources"]["SEARCH_CATALOG_ENABLED"]) == (True, "environment")
        assert "4 of the last 4" in toggle["given_up"]

    async def test_is_off_in_every_process_audited_and_on_again_when_its_breaker_is_reset(self, desk: Desk) -> None:
        async with (
            under(desk, FEATURE_ERROR_MINIMUM_CALLS="4", FEATURE_RETRY_SECONDS="600") as caller,
            desk.caller() as other,
        ):
            Hand(caller).breaks()
            await search(caller, 4)
            there = await search(other)
            told = await caller.app.state.features.tell(desk.database)
            reset = await other.http.post("/actuator/breakers/feature:search_catalog/reset", json={"reason": "mended"})
            again = await search(other)
            await other.app.state.features.tell(desk.database)
        async with desk.database.transaction(read_only=True) as tx:
            audited = await (
                await tx.execute("select action, actor from audit_records where actor like 'system:%%' order by number")
            ).fetchall()
            facts = await (
                await tx.execute("select data::jsonb from events where type = 'operations.feature_given_up'")
            ).fetchall()

        assert (there, told, reset.status_code, again) == ([503], 1, 200, [200])
        assert audited == [(GIVEN_UP, "system:degradation"), (ONCE_MORE, "system:degradation")]
        assert [(fact["failed"], fact["requests"]) for (fact,) in facts] == [(4, 4)]

    async def test_is_not_one_whose_callers_are_wrong_or_whose_database_is_away(self, desk: Desk) -> None:
        async with under(desk, FEATURE_ERROR_MINIMUM_CALLS="4") as caller:
            wrong = [
                (await caller.http.get("/search", params={"query": "tea", "cursor": "none of ours"})).status_code
                for _ in range(8)
            ]
            desk.database.breaker.open("it was stopped")
            away = [
                (await caller.http.get("/search", params={"query": "tea", "as_of": "2026-08-03"})).status_code
                for _ in range(8)
            ]
            desk.database.breaker.reset()
            after = await search(caller)

        assert (set(wrong), set(away), after) == ({422}, {503}, [200])


class TestShortMemory:
    @staticmethod
    def in_use(caller: Caller, megabytes: list[float]) -> Memory:
        """Let the worker believe that it uses so much."""
        state = caller.app.state
        configuration: LiveConfiguration = state.registry.configuration
        state.memory = Memory(state.caches, configuration, used=lambda: megabytes[0] * MB, give_back=lambda: None)
        caller.catalogue.before_building = state.memory.require_room
        return state.memory

    @pytest.mark.obeys("MEMORY_WARNING_MB")
    @pytest.mark.parametrize(("warning", "status"), [("300", 503), ("600", 200)])
    async def test_bulk_work_is_begun_below_the_warning_alone(self, desk: Desk, warning: str, status: int) -> None:
        async with under(desk, MEMORY_WARNING_MB=warning) as caller:
            memory = self.in_use(caller, [400])
            for _ in range(8):
                memory.look()
            exported = await caller.http.get("/export")
            many = await caller.http.post("/instruments/bulk", json={"instrument_ids": ["NSE:TEALEAF"] * 501})
            past = await caller.http.get("/search?query=tea&as_of=2026-08-19")
            few = await caller.http.post("/instruments/bulk", json={"instrument_ids": ["NSE:TEALEAF"]})
            found = await search(caller)

        assert [one.status_code for one in (exported, many, past)] == [status] * 3
        assert (few.status_code, found) == (200, [200])
        if status == 503:
            assert {one.json()["type"] for one in (exported, many, past)} == {"/problems/MemoryShort"}
            assert int(exported.headers["retry-after"]) >= 1

    @pytest.mark.parametrize(("warning", "status"), [("100", 503), ("1000000", 200)])
    async def test_what_is_in_use_is_measured(self, desk: Desk, warning: str, status: int) -> None:
        async with under(desk, MEMORY_WARNING_MB=warning) as caller:
            for _ in range(8):
                caller.app.state.memory.look()
            exported = await caller.http.get("/export")

        assert exported.status_code == status

    async def test_caches_go_by_worth_first_and_bulk_work_comes_back_when_there_is_room(self, desk: Desk) -> None:
        async with under(desk, MEMORY_WARNING_MB="500") as caller:
            used = [400.0]
            memory = self.in_use(caller, used)
            await caller.told("/search", query="tea", as_of="2026-08-19")
            await search(caller)
            held = []
            used[0] = 501
            for _ in range(8):
                memory.look()
                caches = caller.app.state.caches
                held.append((caches["day_indexes"].held().entries, caches["answers"].held().entries > 0))
            refused = (await caller.http.get("/export")).status_code
            used[0] = 460  # below the warning, and not yet far enough
            memory.look()
            still = (await caller.http.get("/export")).status_code
            used[0] = 440
            memory.look()
            again = (await caller.http.get("/export")).status_code

        assert held[:3] == [(0, True), (0, False), (0, False)]
        assert (refused, still, again) == (503, 503, 200)

    async def test_is_noted_by_health_and_does_not_make_it_unready(self, desk: Desk) -> None:
        async with under(desk, MEMORY_WARNING_MB="500") as caller:
            memory = self.in_use(caller, [501])
            caller.app.state.registry.conditions["memory"] = memory.condition
            for _ in range(8):
                memory.look()
            ready = await caller.http.get("http://registry/health/ready")

        assert ready.status_code == 200
        assert verdict(ready, "memory") == "failed"


class TestWhatWasPromised:
    @pytest.mark.obeys("SLA_P95_MS")
    @pytest.mark.parametrize(("milliseconds", "expected"), [("1", "failed"), ("4999", "passed")])
    async def test_the_95th_percentile(self, desk: Desk, milliseconds: str, expected: str) -> None:
        kept = {"SLA_AVAILABILITY_PERCENT": "0", "SLA_CACHE_MISS_PERCENT": "100"}
        async with under(desk, SLA_P95_MS=milliseconds, **kept) as caller:
            for _ in range(60):
                await caller.told("/events", limit=1)
            health = await looked(caller)

        assert verdict(health, "sla") == expected

    @pytest.mark.obeys("SLA_AVAILABILITY_PERCENT")
    @pytest.mark.parametrize(("percent", "expected"), [("99", "failed"), ("90", "passed")])
    async def test_availability(self, desk: Desk, percent: str, expected: str) -> None:
        kept = {"SLA_P95_MS": "30000", "SLA_CACHE_MISS_PERCENT": "100"}
        async with under(desk, SLA_AVAILABILITY_PERCENT=percent, **kept) as caller:
            hand = Hand(caller)
            await search(caller, 58)
            hand.breaks()
            await search(caller, 3)
            hand.mends()
            health = await looked(caller)

        assert verdict(health, "sla") == expected

    @pytest.mark.obeys("SLA_CACHE_MISS_PERCENT")
    @pytest.mark.parametrize(("percent", "expected"), [("20", "failed"), ("80", "passed")])
    async def test_misses(self, desk: Desk, percent: str, expected: str) -> None:
        kept = {"SLA_P95_MS": "30000", "SLA_AVAILABILITY_PERCENT": "0"}
        async with under(desk, SLA_CACHE_MISS_PERCENT=percent, **kept) as caller:
            for number in range(30):
                for _ in range(2):
                    await caller.told("/search", query=f"tea {number}")
            health = await looked(caller)

        assert verdict(health, "sla") == expected

    async def test_of_few_requests_nothing_is_said(self, desk: Desk) -> None:
        async with under(desk, SLA_P95_MS="1", SLA_CACHE_MISS_PERCENT="0") as caller:
            await search(caller, 10)
            health = await looked(caller)

        assert verdict(health, "sla") == "passed"


async def looked(caller: Caller) -> httpx.Response:
    caller.app.state.objectives.look()
    return await caller.http.get("http://registry/health")


def verdict(health: httpx.Response, check: str) -> str:
    return next(one["verdict"] for one in health.json()["checks"] if one["check"] == check)
