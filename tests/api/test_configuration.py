"""Parameters over HTTP: shown with their source, changed all or nothing, undone in one call."""

from pathlib import Path

import pytest

from desk import Desk, opened
from instrument_registry.configuration.model import Sources
from instrument_registry.configuration.parameters import PARAMETERS
from instrument_registry.database import Database


def shown(body: dict, name: str) -> tuple[object, str]:
    """A parameter's value and source in an answer."""
    found = next(one for one in body["parameters"] if one["name"] == name)
    return found["value"], found["source"]


class TestTheActuator:
    async def test_shows_everything_with_its_source_and_changes_some_of_it(
        self, database: Database, tmp_path: Path
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            before = await caller.told("/actuator/config")
            changed = await caller.http.post(
                "/actuator/config", json={"CACHE_TTL_SECONDS": 7, "QUERY_OPTIMIZATION": False, "reason": "trial"}
            )
            after = await caller.told("/actuator/config")
            versions = await caller.told("/configuration/versions", parameter="CACHE_TTL_SECONDS")

        assert {one["name"] for one in before["parameters"]} == set(PARAMETERS)
        assert shown(before, "CACHE_TTL_SECONDS") == (300, "default")
        assert changed.status_code == 200, changed.text
        assert shown(changed.json(), "CACHE_TTL_SECONDS") == shown(after, "CACHE_TTL_SECONDS") == (7, "live")
        assert (changed.headers["etag"], after["version"]) == ('W/"1"', 1)
        (version,) = versions["versions"]
        assert version["changes"]["CACHE_TTL_SECONDS"] == {"old": None, "new": "7"}
        assert (version["reason"], version["actor"]) == ("trial", caller.actor)

    @pytest.mark.parametrize(
        ("body", "status", "kind"),
        [
            ({"CACHE_TTL_SECOND": 7}, 422, "UnknownParameter"),
            ({"CACHE_TTL_SECONDS": -1}, 422, "BadValue"),
            ({"CACHE_TTL_SECONDS": [1]}, 422, "InvalidRequest"),
            ({"EVENT_ORDERING_GUARANTEE": "none"}, 409, "NeedsRestart"),
            ({}, 422, "Invalid"),
        ],
    )
    async def test_refuses_what_cannot_be_with_the_name_and_the_remedy(
        self, database: Database, tmp_path: Path, body: dict, status: int, kind: str
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            answer = await caller.http.post("/actuator/config", json=body)

        assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")

    async def test_says_which_variable_pins_a_parameter(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path, sources=Sources(environment={"CACHE_TTL_SECONDS": "5"}))
        async with desk.caller() as caller:
            there = await caller.told("/actuator/config")
            refused = await caller.http.post("/actuator/config", json={"CACHE_TTL_SECONDS": 7})

        assert shown(there, "CACHE_TTL_SECONDS") == (5, "environment")
        assert refused.status_code == 409
        assert refused.json()["pinned_by"] == "INSTRUMENT_REGISTRY_CACHE_TTL_SECONDS"

    async def test_of_a_version_somebody_has_left_is_refused(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            tag = (await caller.http.get("/actuator/config")).headers["etag"]
            first = await caller.http.post("/actuator/config", json={"CACHE_TTL_SECONDS": 7}, headers={"If-Match": tag})
            second = await caller.http.post(
                "/actuator/config", json={"CACHE_TTL_SECONDS": 8}, headers={"If-Match": tag}
            )
            unchanged = await caller.http.get("/actuator/config", headers={"If-None-Match": '"1"'})

        assert (first.status_code, second.status_code, unchanged.status_code) == (200, 412, 304)


class TestGoingBack:
    async def test_a_version_is_one_call_and_a_preview_changes_nothing(
        self, database: Database, tmp_path: Path
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            await caller.http.post("/actuator/config", json={"CACHE_TTL_SECONDS": 7})
            preview = await caller.http.post("/configuration/preview", json={"CACHE_TTL_SECONDS": 9})
            reverted = await caller.http.post("/configuration/revert", json={"version": 0, "reason": "worse"})
            again = await caller.http.post("/configuration/revert", json={"version": 0, "reason": "worse"})
            there = await caller.told("/actuator/config")

        assert preview.json() == {"differences": [{"name": "CACHE_TTL_SECONDS", "old": "7", "new": "9"}]}
        assert reverted.json()["made"]["reverts_to"] == 0
        assert again.json() == {"made": None}
        assert shown(there, "CACHE_TTL_SECONDS") == (300, "default")


class TestAFileOfAll:
    async def test_exported_is_imported_exactly(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            await caller.http.post("/actuator/config", json={"CACHE_TTL_SECONDS": 7, "SEARCH_TIMEOUT": 900})
            file = await caller.told("/configuration/export")
            await caller.http.post("/actuator/config", json={"SEARCH_TIMEOUT": None, "MAX_RESULTS_PER_PAGE": 10})
            answer = await caller.http.post("/configuration/import", json=file)

        assert file["parameters"] == {"CACHE_TTL_SECONDS": "7", "SEARCH_TIMEOUT": "900"}
        assert answer.status_code == 200, answer.text
        assert shown(answer.json(), "CACHE_TTL_SECONDS") == (7, "live")
        assert shown(answer.json(), "SEARCH_TIMEOUT") == (900, "live")
        assert shown(answer.json(), "MAX_RESULTS_PER_PAGE") == (100, "default")


class TestAScheduledChange:
    async def test_is_listed_until_it_is_cancelled(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            made = await caller.http.post(
                "/configuration/scheduled",
                json={
                    "parameters": {"CACHE_TTL_SECONDS": 7},
                    "due_at": "2026-12-01T02:00:00+05:30",
                    "reason": "tonight",
                },
            )
            listed = await caller.told("/configuration/scheduled")
            gone = await caller.http.delete(f"/configuration/scheduled/{made.json()['id']}", params={"reason": "no"})
            after = await caller.told("/configuration/scheduled")

        assert made.status_code == 201, made.text
        assert [one["changes"] for one in listed["scheduled"]] == [{"CACHE_TTL_SECONDS": "7"}]
        assert (gone.status_code, after["scheduled"]) == (204, [])
