"""While the database is away what is of now is answered from memory and says so; everything else says when to come."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from desk import Caller, Desk, opened
from instrument_registry.access.model import Scope, text_of
from instrument_registry.breakers import Breakers, Terms
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database, DatabaseResting

pytestmark = pytest.mark.tea

TRUST_ENDS_SECONDS = 1.6  # after which keys must be read, or believed
# It rests until a test lets it go on.
RESTING = Terms(rest_seconds=600.0, longest_rest_seconds=600.0)
STALE, AGE, POSITION = "x-registry-stale", "x-index-age-seconds", "x-catalog-position"
KEY = "NSE:TEALEAF"
OF_NOW = (
    "/search?query=tea", "/search/suggest?query=te", "/instruments?limit=5", f"/instruments/{KEY}",
    "/instruments/resolve?broker=zerodha&token=23040257", f"/instruments/{KEY}/tokens", "/chains/NIFTY",
    "/catalog/summary",
)  # fmt: skip
OF_THE_TABLES = (
    "/search?query=tea&as_of=2026-08-03", "/instruments/NSE:TEALEAF?as_of=2026-08-03", "/instruments/NSE:UNHEARDOF",
    f"/instruments/{KEY}/history", f"/instruments/{KEY}/tokens?as_of=2026-08-03", "/chains/NIFTY?as_of=2026-08-03",
    "/diff?from=2026-08-01&to=2026-08-03", "/export", "/brokers", f"/brokers/zerodha/tokens/{KEY}", "/events", "/jobs",
    "/ingestions", "/aliases", "/keys",
)  # fmt: skip


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    database.breaker = Breakers().of("database", terms=RESTING, resting=DatabaseResting)
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def caller(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller(Scope.ADMIN) as one:
        await one.caught_up()
        yield one


async def lose(caller: Caller, desk: Desk) -> None:
    """The database goes away, so long ago that keys are only believed."""
    await caller.told("/search", query="tea")
    desk.database.breaker.open("it was stopped")
    await asyncio.sleep(TRUST_ENDS_SECONDS)


class TestReading:
    async def test_what_is_of_now_is_answered_from_memory_and_marked(self, caller: Caller, desk: Desk) -> None:
        before = {path: await caller.http.get(path) for path in OF_NOW}
        await lose(caller, desk)
        during = {path: await caller.http.get(path) for path in OF_NOW}

        assert {path: answer.status_code for path, answer in during.items()} == dict.fromkeys(OF_NOW, 200)
        assert {answer.headers.get(STALE) for answer in before.values()} == {None}
        assert {answer.headers[STALE] for answer in during.values()} == {"database"}
        assert {answer.headers[POSITION] for answer in during.values()} == {str(caller.catalogue.position)}
        assert all(float(answer.headers[AGE]) >= 1 for answer in during.values())
        assert during["/search?query=tea"].json()["index_age_seconds"] >= 1
        assert during["/instruments/NSE:TEALEAF"].content == before["/instruments/NSE:TEALEAF"].content

    async def test_tokens_of_now_are_those_of_memory(self, caller: Caller, desk: Desk) -> None:
        await lose(caller, desk)
        told = await caller.told(f"/instruments/{KEY}/tokens")

        assert [(one["broker"], one["token"], one["valid_from"]) for one in told["tokens"]] == [
            ("zerodha", "23040257", None)
        ]
        assert told["disagreements"] is None

    async def test_an_unchanged_answer_is_marked_too(self, caller: Caller, desk: Desk) -> None:
        tag = (await caller.http.get("/chains/NIFTY")).headers["etag"]
        await lose(caller, desk)
        answer = await caller.http.get("/chains/NIFTY", headers={"If-None-Match": tag})

        assert (answer.status_code, answer.headers[STALE]) == (304, "database")

    async def test_of_many_identifiers_those_that_memory_does_not_know_are_named(
        self, caller: Caller, desk: Desk
    ) -> None:
        await lose(caller, desk)
        answer = await caller.http.post("/instruments/bulk", json={"instrument_ids": [KEY, "NSE:UNHEARDOF"]})
        told = answer.json()

        assert (answer.status_code, answer.headers[STALE]) == (200, "database")
        assert [one["requested"] for one in told["instruments"]] == [KEY]
        assert (told["could_not_tell"], told["not_found"]) == (["NSE:UNHEARDOF"], [])

    async def test_what_only_the_tables_know_says_what_is_away_and_when_to_come(
        self, caller: Caller, desk: Desk
    ) -> None:
        await lose(caller, desk)
        answers = {path: await caller.http.get(path) for path in OF_THE_TABLES}

        assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(OF_THE_TABLES, 503)
        assert all(int(answer.headers["retry-after"]) > 500 for answer in answers.values())
        assert all("database" in answer.json()["detail"] for answer in answers.values())

    async def test_writes_are_refused_at_the_door(self, caller: Caller, desk: Desk) -> None:
        await lose(caller, desk)
        answer = await caller.http.post("/keys", json={"name": "another", "scope": "reader"})

        assert (answer.status_code, answer.json()["dependency"]) == (503, "database")
        assert int(answer.headers["retry-after"]) > 500

    async def test_it_is_as_before_once_the_database_is_back(self, caller: Caller, desk: Desk) -> None:
        await lose(caller, desk)
        desk.database.breaker.reset()
        made = await caller.http.post("/keys", json={"name": "another", "scope": "reader"})
        await caller.caught_up()
        answer = await caller.http.get("/search?query=tea")

        assert made.status_code == 201
        assert (answer.status_code, answer.headers.get(STALE)) == (200, None)


class TestTrust:
    @pytest.mark.obeys("KEYS_TRUSTED_WITHOUT_DATABASE_SECONDS")
    @pytest.mark.parametrize(("seconds", "status"), [("0", 503), ("3600", 200)])
    async def test_keys_are_believed_for_as_long_as_the_parameter_says(
        self, desk: Desk, seconds: str, status: int
    ) -> None:
        desk.sources = Sources(environment={"KEYS_TRUSTED_WITHOUT_DATABASE_SECONDS": seconds})
        async with desk.caller(Scope.READER) as caller:
            await lose(caller, desk)
            answer = await caller.http.get("/search?query=tea")

        assert answer.status_code == status

    async def test_a_key_that_nobody_knows_opens_nothing(self, caller: Caller, desk: Desk) -> None:
        await lose(caller, desk)
        stranger = {"X-Internal-API-Key": text_of("a" * 16, "b" * 43)}
        answer = await caller.http.get("/search?query=tea", headers=stranger)

        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/KeysNotChecked")


class TestHealth:
    async def test_a_worker_that_answers_from_memory_is_kept_and_says_so(self, caller: Caller, desk: Desk) -> None:
        await lose(caller, desk)
        ready, health = [await caller.http.get(f"http://registry{path}") for path in ("/health/ready", "/health")]

        assert [(one.status_code, one.json()["status"]) for one in (ready, health)] == [(200, "degraded")] * 2
        checks = {one["check"]: one["verdict"] for one in ready.json()["checks"]}
        assert (checks["database"], checks["index"]) == ("could_not_tell", "passed")

    async def test_one_that_lets_nobody_in_is_not(self, desk: Desk) -> None:
        desk.sources = Sources(environment={"KEYS_TRUSTED_WITHOUT_DATABASE_SECONDS": "0"})
        async with desk.caller() as caller:
            await lose(caller, desk)
            ready = await caller.http.get("http://registry/health/ready")

        assert ready.status_code == 503
