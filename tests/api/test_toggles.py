"""Toggles as operators turn them: shown with their verdict, turned with a reason, unknown ones met with the nearest."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from desk import Desk, opened
from instrument_registry.configuration.live import OVERDUE
from instrument_registry.configuration.model import Parameter, Sources
from instrument_registry.configuration.toggles import TOGGLES, Toggle, overdue
from instrument_registry.database import Database


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    return Desk(database, tmp_path)


@pytest.fixture
def late_toggle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Toggle]:
    """A toggle of a release that should be over; it has the parameters of another."""
    model = TOGGLES["search_catalog"]
    late = Toggle(
        feature="late_release", owner="catalog", enabled=model.enabled, percent=model.percent, keys=model.keys,
        expires_on=date(2026, 8, 17),
    )  # fmt: skip
    monkeypatch.setitem(TOGGLES, late.feature, late)
    yield late


class TestAToggle:
    async def test_is_turned_off_and_obeyed_and_turned_back_by_the_history(
        self, database: Database, tmp_path: Path
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            before = await caller.told("/actuator/toggle/search_catalog")
            turned = await caller.http.post(
                "/actuator/toggle/search_catalog", json={"enabled": False, "reason": "too slow"}
            )
            refused = await caller.told("/search", query="tea", status=503)
            reverted = await caller.http.post("/configuration/revert", json={"version": 0, "reason": "mended"})
            found = await caller.told("/search", query="tea")

        assert (before["enabled"], before["verdict"], before["why"]) == (True, True, "STATIC")
        assert (turned.status_code, turned.json()["enabled"], turned.json()["why"]) == (200, False, "DISABLED")
        assert refused["toggle"] == "SEARCH_CATALOG_ENABLED"
        assert reverted.json()["made"]["version"] == 2
        assert found["instruments"]

    async def test_is_on_for_a_share_and_for_those_named(self, desk: Desk) -> None:
        async with desk.caller() as caller:
            turned = await caller.http.post(
                "/actuator/toggle/event_streaming",
                json={"enabled": True, "percent": 0, "keys": ["vip", "vip"], "reason": "a few first"},
            )
            vip = await caller.told("/actuator/toggle/EVENT_STREAMING_ENABLED", key="vip")
            other = await caller.told("/actuator/toggle/event_streaming", key="somebody")

        assert turned.json()["keys"] == ["vip"]
        assert (vip["verdict"], vip["why"]) == (True, "TARGETING_MATCH")
        assert (other["verdict"], other["why"], other["percent"]) == (False, "SPLIT", 0)

    async def test_turned_to_what_it_is_makes_no_version(self, desk: Desk) -> None:
        body = {"enabled": False, "reason": "trial"}
        async with desk.caller() as caller:
            once = await caller.http.post("/actuator/toggle/search_catalog", json=body)
            again = await caller.http.post("/actuator/toggle/search_catalog", json=body)

        assert (once.json()["version"], again.json()["version"]) == (1, 1)

    async def test_of_a_version_somebody_has_left_is_not_turned(self, desk: Desk) -> None:
        async with desk.caller() as caller:
            for enabled, expected in ((False, 200), (True, 412)):
                answer = await caller.http.post(
                    "/actuator/toggle/search_catalog",
                    json={"enabled": enabled, "reason": "trial"},
                    headers={"If-Match": 'W/"0"'},
                )
                assert answer.status_code == expected, answer.text

    @pytest.mark.parametrize(
        ("feature", "body", "kind"),
        [
            ("search_catalogue", {"enabled": True, "reason": "x"}, "UnknownToggle"),
            ("search_catalog", {"enabled": True}, "InvalidRequest"),
            ("search_catalog", {"enabled": True, "percent": 101, "reason": "x"}, "InvalidRequest"),
            ("search_catalog", {"enabled": True, "keys": ["a,b"], "reason": "x"}, "InvalidRequest"),
        ],
    )
    async def test_that_cannot_be_is_refused(self, desk: Desk, feature: str, body: dict, kind: str) -> None:
        async with desk.caller() as caller:
            answer = await caller.http.post(f"/actuator/toggle/{feature}", json=body)

        assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{kind}")
        assert kind != "UnknownToggle" or "search_catalog?" in answer.json()["remedy"]

    async def test_that_the_environment_pins_says_so(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path, sources=Sources(environment={"SEARCH_CATALOG_ENABLED": "true"}))
        async with desk.caller() as caller:
            shown = await caller.told("/actuator/toggle/search_catalog")
            refused = await caller.http.post(
                "/actuator/toggle/search_catalog", json={"enabled": False, "reason": "trial"}
            )

        assert shown["sources"]["SEARCH_CATALOG_ENABLED"] == "environment"
        assert (refused.status_code, refused.json()["pinned_by"]) == (
            409, "INSTRUMENT_REGISTRY_SEARCH_CATALOG_ENABLED",
        )  # fmt: skip


class TestOverdue:
    def test_is_what_ended_before_today(self) -> None:
        flag = Parameter(name="X_ENABLED", default=True, owner="x", why="x")
        share, keys = TOGGLES["search_catalog"].percent, TOGGLES["search_catalog"].keys
        ends = [date(2026, 8, 17), date(2026, 8, 18), None]
        made = [
            Toggle(feature=str(at), owner="x", enabled=flag, percent=share, keys=keys, expires_on=at) for at in ends
        ]

        assert [one.feature for one in overdue(made, date(2026, 8, 18))] == ["2026-08-17"]

    async def test_is_listed_and_noted_by_health(self, desk: Desk, late_toggle: Toggle) -> None:
        async with desk.caller() as caller:
            listed = await caller.told("/actuator/toggles")
            health_now = await caller.http.get("/actuator/health")

        assert listed["overdue"] == [late_toggle.feature]
        check = next(one for one in health_now.json()["checks"] if one["check"] == "toggles")
        assert (check["verdict"], late_toggle.feature in check["reason"]) == ("failed", True)
        (measured,) = next(iter(OVERDUE.collect())).samples
        assert measured.value == 1
