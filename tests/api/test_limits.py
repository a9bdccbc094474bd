"""Callers are limited through the door: by key and class, by address without a key, and told how they stand."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from desk import TEA, Caller, Desk, opened
from instrument_registry.access.limits.limiter import Limiter
from instrument_registry.access.model import Scope
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database
from instrument_registry.http.limiting import Limiting, address_of
from instrument_registry.http.shedding import Gate, TooBusy

READ, WRITE, EXPENSIVE = "/brokers", "/aliases", "/actuator/config"
BULK = {"instrument_ids": ["NSE:TEALEAF"]}


async def set_live(caller: Caller, **parameters: object) -> None:
    """Change parameters as an operator does."""
    answer = await caller.http.post("/actuator/config", json=parameters)
    assert answer.status_code == 200, answer.text


@dataclass
class Watch:
    """The limiter's clock in the hand of a test: machines are slow, and a second is soon over."""

    seconds: float = 10**6

    def ns(self) -> int:
        return int(self.seconds * 1e9)


def still(caller: Caller, folder: Path) -> Watch:
    """Let the clock of the limiter of somebody's worker stand still."""
    watch = Watch()
    limiting(caller).limiter = Limiter(folder / "still" / "rings", elapsed_ns=watch.ns)
    return watch


async def statuses(ask: Callable[[], object], times: int) -> list[int]:
    return [(await ask()).status_code for _ in range(times)]  # type: ignore[misc]


def limiting(caller: Caller) -> Limiting:
    """The limiter of the worker somebody asks."""
    return caller.http._transport.app.state.limiting  # type: ignore[attr-defined]


class TestAKey:
    @pytest.mark.obeys("RATE_LIMIT_READ_PER_MINUTE")
    async def test_may_read_as_often_as_the_parameter_says_and_is_told_when_again(
        self, database: Database, tmp_path: Path
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            await set_live(caller, RATE_LIMIT_READ_PER_MINUTE=3)
            watch = still(caller, tmp_path)
            passed = await statuses(lambda: caller.http.get(READ), 3)
            watch.seconds += 20.5
            refused = await caller.http.get(READ)
            expensive = await caller.http.get(EXPENSIVE)
            watch.seconds += int(refused.headers["retry-after"])
            obeyed = await caller.http.get(READ)

        assert passed == [200] * 3
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        body = refused.json()
        assert body["type"] == "/problems/TooManyRequests"
        assert (body["route_class"], body["limit"], body["window_seconds"]) == ("read", 3, 60)
        assert int(refused.headers["retry-after"]) == body["retry_after_seconds"] == 40
        assert obeyed.status_code == 200
        assert refused.headers["ratelimit-policy"].startswith('"read";q=3;w=60')
        assert refused.headers["ratelimit"].startswith('"read";r=0;t=')
        assert refused.headers["x-ratelimit-remaining"] == "0"
        assert expensive.status_code == 200

    @pytest.mark.obeys(
        "RATE_LIMIT_READ_PER_SECOND", "RATE_LIMIT_WRITE_PER_MINUTE", "RATE_LIMIT_WRITE_PER_SECOND",
        "RATE_LIMIT_EXPENSIVE_PER_MINUTE", "RATE_LIMIT_EXPENSIVE_PER_SECOND",
    )  # fmt: skip
    @pytest.mark.parametrize("span", ["MINUTE", "SECOND"])
    @pytest.mark.parametrize("kind", ["READ", "WRITE", "EXPENSIVE"])
    async def test_is_limited_in_each_class_and_window(
        self, database: Database, tmp_path: Path, kind: str, span: str
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            ask = {
                "READ": lambda: caller.http.get(READ),
                "WRITE": lambda: caller.http.post(WRITE, json={}),  # refused for what it says, and yet counted
                "EXPENSIVE": lambda: caller.http.get(EXPENSIVE),
            }[kind]
            await set_live(caller, **{f"RATE_LIMIT_{kind}_PER_{span}": 2})
            still(caller, tmp_path)
            answers = [await ask() for _ in range(3)]

        assert answers[2].status_code == 429
        assert answers[2].json()["limit"] == 2
        assert answers[2].json()["window_seconds"] == {"MINUTE": 60, "SECOND": 1}[span]
        assert answers[2].json()["route_class"] == kind.lower()

    async def test_that_only_asks_by_post_reads(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            answers = [
                await caller.http.post("/search", json={"query": "tea"}),
                await caller.http.post("/instruments/bulk", json=BULK),
                await caller.http.post("/configuration/preview", json={"CACHE_TTL_SECONDS": 7}),
                await caller.http.post("http://registry/ofrep/v1/evaluate/flags", json={"context": {}}),
            ]

        assert [(one.status_code, one.headers["ratelimit"].split(";")[0]) for one in answers] == [(200, '"read"')] * 4

    async def test_that_lacks_the_scope_is_counted_too(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path, sources=Sources(environment={"RATE_LIMIT_EXPENSIVE_PER_MINUTE": "2"}))
        async with desk.caller(Scope.READER) as caller:
            seen = await statuses(lambda: caller.http.get(EXPENSIVE), 3)

        assert seen == [403, 403, 429]

    async def test_is_not_limited_by_what_others_do(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path, sources=Sources(environment={"RATE_LIMIT_READ_PER_MINUTE": "2"}))
        async with desk.caller() as one, desk.caller() as other:
            first = await statuses(lambda: one.http.get(READ), 3)
            second = await statuses(lambda: other.http.get(READ), 3)

        assert first == second == [200, 200, 429]

    async def test_may_ask_for_health_and_pages_without_being_counted(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            answers = [await caller.http.get(f"http://registry{path}") for path in ("/health/live", "/openapi.json")]

        assert [(one.status_code, "ratelimit" in one.headers) for one in answers] == [(200, False)] * 2


class TestAStranger:
    @pytest.mark.obeys("RATE_LIMIT_STRANGER_PER_MINUTE", "RATE_LIMIT_STRANGER_PER_SECOND")
    @pytest.mark.parametrize("span", ["MINUTE", "SECOND"])
    async def test_trying_keys_is_sent_away_and_no_holder_of_a_key_with_them(
        self, database: Database, tmp_path: Path, span: str
    ) -> None:
        desk = Desk(database, tmp_path, sources=Sources(environment={f"RATE_LIMIT_STRANGER_PER_{span}": "2"}))
        async with desk.caller() as caller:
            still(caller, tmp_path)
            wrong = {"X-Internal-API-Key": f"irk_{'a' * 16}_{'A' * 43}"}
            tried = await statuses(lambda: caller.http.get(READ, headers=wrong), 3)
            known = await caller.http.get(READ)

        assert tried == [401, 401, 429]
        assert known.status_code == 200

    @pytest.mark.parametrize(
        ("address", "party"),
        [
            ("10.1.2.3", "10.1.2.3"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("2001:db8:1:2:3::4", "20010db800010002/64"),
            ("2001:db8:1:2:ffff::", "20010db800010002/64"),
            ("fe80::1%eth0", "fe80000000000000/64"),
        ],
    )
    def test_of_ipv6_is_a_network(self, address: str, party: str) -> None:
        assert address_of({"client": (address, 1)}) == party


class TestLimitsOfOneKey:
    async def test_are_in_force_at_every_worker_are_told_and_end(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as operator, desk.caller() as other:
            key_id = other.actor.removeprefix("api_key:")
            body = {"limits": {"read": {"per_minute": 2}}, "reason": "a loop of theirs"}
            made = await operator.http.put(f"/actuator/limits/{key_id}", json=body)
            again = await operator.http.put(f"/actuator/limits/{key_id}", json=body)
            listed = await operator.told("/actuator/limits")
            await limiting(other).live.refresh()  # which it does twice a second
            seen = await statuses(lambda: other.http.get(READ), 3)
            mine = await statuses(lambda: operator.http.get(READ), 3)
            removed = await operator.http.delete(f"/actuator/limits/{key_id}", params={"reason": "mended"})
            twice = await operator.http.delete(f"/actuator/limits/{key_id}", params={"reason": "mended"})
            await limiting(other).live.refresh()
            after = await other.http.get(READ)
            async with database.transaction(read_only=True) as tx:
                told = await (
                    await tx.execute("select type from events where type like 'api_key.limits%%' order by 1")
                ).fetchall()

        assert made.status_code == 200, made.text
        assert (made.json()["limits"], made.json()["set_by"]) == (
            {"read": {"per_minute": 2, "per_second": None}},
            operator.actor,
        )
        assert again.json() == made.json()
        assert listed["keys"] == [made.json()]
        assert listed["classes"]["read"]["per_minute"] == 60_000
        assert listed["remembered_by"] == "memory"
        assert (seen, mine) == ([200, 200, 429], [200] * 3)
        assert (removed.status_code, twice.status_code, after.status_code) == (204, 404, 200)
        assert [kind for (kind,) in told] == ["api_key.limits_removed", "api_key.limits_set"]

    @pytest.mark.parametrize(
        ("limits", "status", "kind"),
        [
            ({"reads": {"per_minute": 2}}, 422, "BadLimits"),
            ({"stranger": {"per_minute": 2}}, 422, "BadLimits"),
            ({"read": {}}, 422, "BadLimits"),
            ({}, 422, "BadLimits"),
            ({"read": {"per_minute": 0}}, 422, "InvalidRequest"),
            ({"read": {"per_hour": 2}}, 422, "InvalidRequest"),
        ],
    )
    async def test_that_cannot_be_are_refused(
        self, database: Database, tmp_path: Path, limits: dict, status: int, kind: str
    ) -> None:
        desk = Desk(database, tmp_path)
        async with desk.caller() as caller:
            path = f"/actuator/limits/{caller.actor.removeprefix('api_key:')}"
            answer = await caller.http.put(path, json={"limits": limits, "reason": "x"})

        assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")

    async def test_of_nobody_are_not_found(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path)
        async with desk.caller() as caller:
            body = {"limits": {"read": {"per_minute": 2}}, "reason": "x"}
            answer = await caller.http.put("/actuator/limits/aaaaaaaaaaaaaaaa", json=body)

        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/KeyNotFound")

    async def test_are_kept_when_the_database_goes(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path)
        async with desk.caller() as caller:
            key_id = caller.actor.removeprefix("api_key:")
            body = {"limits": {"write": {"per_minute": 7}}, "reason": "x"}
            await caller.http.put(f"/actuator/limits/{key_id}", json=body)
            live = limiting(caller).live
            await database.close()
            following = asyncio.create_task(live.follow(poll_seconds=0.01))
            await asyncio.sleep(0.1)
            known = {kind: one.per_minute for kind, one in live.now[key_id].limits.items()}
            still_tries = not following.done()
            following.cancel()

        assert (known, still_tries) == ({"write": 7}, True)


class TestExpensiveWork:
    @pytest.mark.obeys("EXPENSIVE_AT_ONCE", "EXPENSIVE_WAITING")
    async def test_is_done_so_much_at_once_so_much_waits_and_the_rest_comes_later(
        self, database: Database, tmp_path: Path
    ) -> None:
        async with opened(database, tmp_path, TEA) as desk, desk.caller() as caller:
            await set_live(caller, EXPENSIVE_AT_ONCE=2, EXPENSIVE_WAITING=1)
            gate: Gate = caller.http._transport.app.state.gate  # type: ignore[attr-defined]
            first, second = {}, {}
            await gate.enter(first)
            await gate.enter(second)
            waiting = asyncio.create_task(caller.http.get("/export"))
            while not gate._line:
                await asyncio.sleep(0.01)
            shed = await caller.http.get("/export")
            gate.leave(first)
            waited = await waiting
            gate.leave(second)
            after = await caller.http.get("/export")

        assert (shed.status_code, shed.json()["type"], shed.headers["retry-after"]) == (503, "/problems/TooBusy", "1")
        assert (waited.status_code, after.status_code) == (200, 200)
        assert gate._working == 0

    @pytest.mark.obeys("EXPENSIVE_WAIT_MS")
    async def test_waits_no_longer_than_the_parameter_says(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            await set_live(caller, EXPENSIVE_AT_ONCE=1, EXPENSIVE_WAIT_MS=1)
            gate: Gate = caller.http._transport.app.state.gate  # type: ignore[attr-defined]
            held: dict = {}
            await gate.enter(held)
            refused = await caller.http.get("/export")
            gate.leave(held)

        assert refused.status_code == 503
        assert "within 0.001 s" in refused.json()["detail"]

    async def test_that_is_given_up_while_it_waits_leaves_its_turn_to_the_next(
        self, database: Database, tmp_path: Path
    ) -> None:
        desk = Desk(database, tmp_path, sources=Sources(environment={"EXPENSIVE_AT_ONCE": "1"}))
        async with desk.caller() as caller:
            gate: Gate = caller.http._transport.app.state.gate  # type: ignore[attr-defined]
            held: dict = {}
            await gate.enter(held)
            gone, patient = (asyncio.create_task(gate.enter({})) for _ in range(2))
            await asyncio.sleep(0)
            gate.leave(held)  # the turn is theirs at the moment they go
            gone.cancel()
            done = await asyncio.gather(gone, patient, return_exceptions=True)

        assert isinstance(done[0], asyncio.CancelledError)
        assert not isinstance(done[1], TooBusy | BaseException)
        assert gate._working == 1


async def test_every_limited_operation_says_so_in_the_document(database: Database, tmp_path: Path) -> None:
    desk = Desk(database, tmp_path)
    async with desk.caller() as caller:
        document = (await caller.http.get("http://registry/openapi.json")).json()
    operations = [one for methods in document["paths"].values() for one in methods.values() if "x-scope" in one]

    assert len(operations) > 50
    assert all("Retry-After" in one["responses"]["429"]["headers"] for one in operations)
