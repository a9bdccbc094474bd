"""Capacity at the HTTP door: limits with their sources, who changes what, connections that tickers report."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from desk import Caller, Desk, opened
from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.database import Database
from instrument_registry.workers.connections import look

pytestmark = pytest.mark.tea

K = "/subscriptions/capacity/K"
SAID = {"broker": "kite", "reason": "trial"}


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


def figure(value: int | None, **more: str) -> dict:
    return {"value": value, "source": "contract", **more}


async def put(operator: Caller, path: str = K, *, status: int = 200, **body: object) -> dict:
    answer = await operator.http.put(path, json=SAID | body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def report(operator: Caller, *, status: int = 200, ticks: object = None, **states: str) -> dict:
    connections = {f"K-{number[1:]}": {"state": state} for number, state in states.items()}
    answer = await operator.http.post(f"{K}/health", json={"connections": connections, "ticks": ticks or {}})
    assert answer.status_code == status, answer.text
    return answer.json()


class TestAnAccount:
    async def test_shows_each_number_with_its_source_its_day_and_how_sure_it_is(self, operator: Caller) -> None:
        made = await put(operator, figures={"connections": figure(2, as_of="2026-01-05", certainty="reported")})
        listed = await operator.told("/subscriptions/capacity")

        assert made["figures"]["connections"] == {
            "value": 2, "unit": "connections", "source": "contract", "as_of": "2026-01-05", "certainty": "reported",
            "own": True, "cautious": None,
        }  # fmt: skip
        assert made["figures"]["connection_total"]["source"].startswith("kite.trade forum")
        assert made["figures"]["connection_total"]["own"] is False
        assert made["figures"]["frame_items"] | {"source": "", "as_of": ""} == {
            "value": 3000, "unit": "instruments", "source": "", "as_of": "", "certainty": "reported", "own": False,
            "cautious": None,
        }  # fmt: skip
        assert (made["carries_max"], made["tokens"]) == (6000, "zerodha")
        assert [one["connection"] for one in made["connections"]] == ["K-0", "K-1"]
        assert listed["accounts"] == [made]

    async def test_is_changed_in_single_numbers_by_whoever_has_read_it(self, desk: Desk, operator: Caller) -> None:
        await put(operator, figures={"reserve_percent": figure(10)})
        tag = (await operator.http.get(K)).headers["etag"]
        changes = {"figures": {"connection_total": figure(30), "reserve_percent": None}, "reason": "slow"}
        first = await operator.http.patch(K, json=changes, headers={"If-Match": tag})
        second = await operator.http.patch(K, json=changes, headers={"If-Match": tag})
        async with desk.database.transaction(read_only=True) as tx:
            told = await events.read_stream(tx, "capacity:K")

        assert (first.status_code, second.status_code) == (200, 412)
        assert (first.json()["carries_max"], first.json()["reserve"]) == (90, 0)
        assert [one.type for one in told] == ["capacity.changed", "capacity.changed"]
        assert '"reason":"slow"' in told[1].data
        assert "figures.reserve_percent" in told[1].data
        assert 'broker"' not in told[1].data.partition('"old"')[2]

    async def test_keeps_its_history_also_when_it_is_retired(self, operator: Caller) -> None:
        await put(operator)
        await put(operator, notes="desk of the east")
        gone = await operator.http.delete(K, params={"reason": "closed"})
        await operator.told(K, status=404)
        page = await operator.told(f"{K}/history", limit=2)
        rest = await operator.told(f"{K}/history", limit=2, cursor=page["pagination"]["next_cursor"])

        assert gone.status_code == 204
        assert [(one["version"], one["reason"]) for one in page["versions"]] == [(3, "closed"), (2, "trial")]
        assert page["versions"][0]["said"] is None
        assert page["versions"][1]["said"]["notes"] == "desk of the east"
        assert [one["version"] for one in rest["versions"]] == [1]
        assert page["versions"][0]["actor"] == operator.actor

    async def test_carries_what_its_own_rules_of_mixing_say(self, operator: Caller) -> None:
        alone = {"name": "ltp alone", "total": figure(900), "modes": {"ltp": figure(900)}}
        mixed = {"name": "mixed", "total": figure(300), "modes": {"ltp": figure(200), "full": figure(100)}}
        made = await put(operator, broker="upstox", ways=[alone, mixed], segments={"nse": ["ltp"]})

        assert [(one["name"], one["total"], one["modes"]) for one in made["ways"]] == [
            ("ltp alone", 900, {"ltp": 900}), ("mixed", 300, {"ltp": 200, "full": 100}),
        ]  # fmt: skip
        assert made["segments"] == {"NSE": ["ltp"]}
        assert made["carries_max"] == 1800

    async def test_is_changed_by_operators_alone(self, desk: Desk, operator: Caller) -> None:
        await put(operator)
        async with desk.caller(Scope.READER) as reader:
            await reader.told(K)
            refused = await reader.http.put(K, json=SAID)

        assert refused.status_code == 403


class TestWhatCannotBe:
    @pytest.mark.parametrize(
        ("body", "field", "remedy"),
        [
            ({"figures": {"connection_total": figure(-1)}}, "figures.connection_total", "Send 1 to 1000000"),
            ({"figures": {"connections": figure(0)}}, "figures.connections", "Send 1 to 1000"),
            ({"broker": "kites"}, "broker", "Did you mean kite?"),
            ({"broker": "upstocks"}, "broker", "Did you mean upstox?"),
            ({"figures": {"conections": figure(3)}}, "figures", "Did you mean connections?"),
            ({"figures": {"connections": figure(3, certainty="unknown")}}, "figures.connections.certainty", "null"),
            ({"figures": {"connections": figure(3, as_of="2999-01-01")}}, "figures.connections.as_of", "earlier"),
            (
                {"figures": {"connection_total": figure(100), "connection_full": figure(101)}},
                "figures.connection_full", "at most 100",
            ),
            ({"figures": {"account_total": figure(9001)}}, "figures.account_total", "at most 9000"),
            (
                {"figures": {f"connection_{mode}": figure(0) for mode in ("ltp", "quote", "full")}},
                "figures", "one mode above 0",
            ),
            (
                {"ways": [{"name": "x", "total": figure(3000), "modes": {"ltp": figure(10), "full": figure(5)}}]},
                "ways[0].total", "at most 15",
            ),
            ({"segments": {"NSEE": ["ltp"]}}, "segments", "Did you mean NSE?"),
            ({"segments": {"NSE": []}}, "segments.NSE", "name its modes"),
        ],
    )  # fmt: skip
    async def test_is_refused_with_what_would_be_right(
        self, operator: Caller, body: dict, field: str, remedy: str
    ) -> None:
        problem = await put(operator, status=422, **body)

        assert problem["field"] == field
        assert remedy in problem["remedy"]
        assert remedy in problem["detail"]

    async def test_be_called_as_the_list_of_venues_is(self, operator: Caller) -> None:
        await put(operator, "/subscriptions/capacity/venues%20", status=422)
        answer = await operator.http.put("/subscriptions/capacity/venues", json=SAID)

        assert answer.status_code == 405


async def test_the_built_in_profiles_say_where_each_number_is_from(operator: Caller) -> None:
    venues = {one["broker"]: one for one in (await operator.told("/subscriptions/capacity/venues"))["venues"]}

    assert {"kite", "upstox", "angel", "dhan", "fyers", "shoonya", "binance", "ibkr"} < venues.keys()
    assert venues["dhan"]["figures"]["frame_items"]["value"] == 100
    assert [one["total"] for one in venues["upstox"]["ways"]] == [5000, 2000, 3500]


class TestConnections:
    @pytest.mark.obeys("CONNECTION_LOST_AFTER")
    async def test_are_lost_when_they_are_silent_for_as_long_as_the_parameter_says(
        self, desk: Desk, operator: Caller
    ) -> None:
        await put(operator)
        assert operator.app is not None
        registry = operator.app.state.registry
        changed = await operator.http.post("/actuator/config", json={"CONNECTION_LOST_AFTER": 3})
        heard = await report(operator, _0="connected", _1="connected")
        desk.now += timedelta(seconds=2)
        await report(operator, _1="connected")
        began = desk.now - timedelta(hours=1)
        pause = await look(registry, hearing_since=began, at=desk.now)
        before = await operator.told(f"{K}/health")
        desk.now += timedelta(seconds=1)
        await look(registry, hearing_since=began, at=desk.now)
        after = await operator.told(f"{K}/health")

        assert changed.status_code == 200
        assert heard["changed"] == ["K-0", "K-1"]
        assert pause == 1.0
        assert before["lost_after_seconds"] == 3
        assert [one["health"] for one in before["connections"]] == ["connected", "connected", None]
        assert [one["health"] for one in after["connections"]] == ["lost", "connected", None]
        assert after["connections"][0]["reason"] == "silent"

    async def test_that_the_account_has_not_are_refused(self, operator: Caller) -> None:
        await put(operator)
        problem = await report(operator, _3="connected", status=422)

        assert "K-0, K-1, K-2" in problem["detail"]

    async def test_come_with_the_last_tick_of_each_instrument(self, desk: Desk, operator: Caller) -> None:
        await put(operator)
        tea = (await operator.instrument("NSE:TEALEAF"))["id"]
        heard = await report(
            operator, _0="connected", ticks={tea: desk.now.isoformat(), "0" * 26: desk.now.isoformat()}
        )
        shown = await operator.told(f"{K}/health", ticks="true")

        assert heard["unknown_instruments"] == ["0" * 26]
        assert list(shown["ticks"]) == [tea]
        assert (await operator.told(f"{K}/health"))["ticks"] is None

    async def test_are_reported_also_while_the_registry_is_read_only(self, operator: Caller) -> None:
        await put(operator)
        await operator.http.post("/actuator/config", json={"MAINTENANCE": True})
        await put(operator, status=503)

        assert (await report(operator, _0="connected"))["changed"] == ["K-0"]
