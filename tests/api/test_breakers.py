"""Breakers over HTTP: shown, reset by operators in every process, and what callers are told while something rests."""

from pathlib import Path

import pytest

from desk import Desk, opened
from instrument_registry.access.model import Scope
from instrument_registry.breakers import Breakers, State
from instrument_registry.breakers.terms import DATABASE
from instrument_registry.database import Database, DatabaseResting

FACTS = "select data::jsonb ->> 'dependency', data::jsonb ->> 'was', data::jsonb ->> 'reason' from events"


@pytest.fixture
def breakers(tmp_path: Path) -> Breakers:
    """Those of the desk's workers as another process of the instance has them."""
    one = Breakers(tmp_path)
    one.of(DATABASE, resting=DatabaseResting)
    one.of("downloads:api.kite.trade")
    return one


class TestBreakers:
    async def test_are_listed_with_state_and_reason(
        self, database: Database, tmp_path: Path, breakers: Breakers
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            breakers.of("downloads:api.kite.trade").open("it answered 503")
            there = await caller.told("/actuator/breakers")

        shown = {one["dependency"]: one for one in there["breakers"]}
        resting = shown["downloads:api.kite.trade"]
        assert (shown["database"]["state"], shown["database"]["reason"]) == ("closed", None)
        assert (resting["state"], resting["reason"], resting["openings"]) == ("open", "it answered 503", 1)
        assert 0 < resting["rests_seconds"] <= 900

    async def test_a_reset_holds_in_every_process_and_is_told(
        self, database: Database, tmp_path: Path, breakers: Breakers
    ) -> None:
        breaker = breakers.of("downloads:api.kite.trade")
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            breaker.open("it answered 503")
            answer = await caller.http.post(
                "/actuator/breakers/downloads:api.kite.trade/reset", json={"reason": "they are back"}
            )

        async with database.transaction(read_only=True) as tx:
            told = await (await tx.execute(f"{FACTS} where type = 'operations.breaker_reset'".encode())).fetchall()
        assert answer.json() == {"dependency": "downloads:api.kite.trade", "was": "open", "recorded": True}
        assert breaker.standing.state is State.CLOSED
        assert told == [("downloads:api.kite.trade", "open", "they are back")]

    async def test_an_unknown_one_is_refused_with_the_nearest(
        self, database: Database, tmp_path: Path, breakers: Breakers
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            answer = await caller.http.post("/actuator/breakers/databse/reset", json={"reason": "trial"})

        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/UnknownBreaker")
        assert answer.json()["nearest"] == "database"

    async def test_are_the_operators_alone(self, database: Database, tmp_path: Path, breakers: Breakers) -> None:
        async with opened(database, tmp_path) as desk, desk.caller(Scope.READER) as caller:
            listed = await caller.http.get("/actuator/breakers")
            reset = await caller.http.post("/actuator/breakers/database/reset", json={"reason": "trial"})

        assert (listed.status_code, reset.status_code) == (403, 403)

    async def test_whoever_needs_what_rests_is_told_when_to_come_again(
        self, database: Database, tmp_path: Path
    ) -> None:
        desk = Desk(database, tmp_path)
        async with desk.caller() as caller:
            await caller.told("/configuration/versions")
            database.breaker.open("it does not answer")
            answer = await caller.http.get("/configuration/versions")
            database.breaker.reset()

        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/DatabaseResting")
        assert answer.headers["retry-after"] == str(answer.json()["retry_after"]) == "1"
        assert answer.json()["dependency"] == "database"
