"""What a worker is and holds: shown truly, changed in every worker, refused with the nearest name."""

import json
import os
import sys
from datetime import date
from pathlib import Path

import httpx
import pytest

from desk import Desk, opened
from instrument_registry.access.model import Scope
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database, migrations
from instrument_registry.http.app import published
from instrument_registry.operations.about import commit_of, version
from instrument_registry.telemetry import levels

WHY = {"reason": "trial"}


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    return Desk(database, tmp_path)


@pytest.fixture(autouse=True)
def usual_levels():
    yield
    levels.parts.set({})


def named(answer: dict, name: str) -> dict:
    return next(one for one in answer["caches"] if one["name"] == name)


class TestInfo:
    async def test_says_what_runs_here(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            await caller.caught_up()
            info = await caller.told("/actuator/info")

        assert (info["version"], info["pid"], info["data_dir"]) == (version(), os.getpid(), str(tmp_path))
        assert (info["migration"], info["migrations_pending"]) == (migrations.revisions()[-1].number, [])
        assert info["catalogue"]["instruments"] == 8
        assert info["catalogue"]["position"] == caller.catalogue.position
        assert {"psycopg", "starlette"} <= set(info["dependencies"])

    def test_knows_the_commit_of_a_checkout_however_git_keeps_it(self, tmp_path: Path) -> None:
        commit, git = "a" * 40, tmp_path / ".git"
        (git / "refs" / "heads").mkdir(parents=True)
        (git / "HEAD").write_text("ref: refs/heads/main\n")
        nowhere = commit_of(tmp_path)
        (git / "packed-refs").write_text(f"# pack-refs\n{commit} refs/heads/main\n")
        packed = commit_of(tmp_path)
        (git / "refs" / "heads" / "main").write_text("b" * 40 + "\n")
        loose = commit_of(tmp_path)
        (git / "HEAD").write_text("c" * 40 + "\n")

        assert (nowhere, packed, loose, commit_of(tmp_path)) == (None, commit, "b" * 40, "c" * 40)
        assert commit_of(tmp_path / "elsewhere") is None


class TestCaches:
    async def test_are_counted_and_evicted_in_every_worker(self, database: Database, tmp_path: Path) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as one, desk.caller() as other:
            await one.caught_up((other,))
            for caller in (one, other, one):
                await caller.told("/search", query="tea")
                await caller.told("/search", query="tea", as_of=str(date(2026, 8, 17)))
            before = await one.told("/actuator/caches")
            evicted = await one.http.post("/actuator/caches/answers/evict", json=WHY)
            mine, theirs = await one.told("/actuator/caches"), await other.told("/actuator/caches")
            await other.app.state.registry.configuration.refresh()  # as it does twice a second
            seen = await other.told("/actuator/caches")
            again = await one.http.post("/actuator/caches/evict", json=WHY)
            await one.told("/search", query="tea")
            await other.app.state.registry.configuration.refresh()
            after, others = await one.told("/actuator/caches"), await other.told("/actuator/caches")

        assert (named(before, "answers")["entries"], named(before, "answers")["hits"]) == (2, 2)
        assert named(before, "answers")["bytes"] > 100
        assert (named(before, "day_indexes")["entries"], named(before, "day_indexes")["hits"]) == (1, 1)
        assert evicted.json()["evicted"] == ["answers"]
        assert evicted.json()["entries"] == 2
        assert [named(one, "answers")["entries"] for one in (mine, theirs, seen)] == [0, 2, 0]
        assert named(mine, "day_indexes")["entries"] == 1
        assert len(again.json()["evicted"]) == len(before["caches"])
        assert named(after, "answers")["entries"] == 1
        assert named(others, "day_indexes")["entries"] == 0

    async def test_an_eviction_is_a_fact_and_an_unknown_name_is_met_with_the_nearest(
        self, database: Database, tmp_path: Path
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            unknown = await caller.http.post("/actuator/caches/anwsers/evict", json=WHY)
            await caller.http.post("/actuator/caches/answers/evict", json=WHY)
            await caller.caught_up()
            facts = await caller.told("/events", event_types="operations.*")

        assert (unknown.status_code, unknown.json()["remedy"]) == (422, "Did you mean answers?")
        (fact,) = facts["events"]
        assert (fact["event_type"], fact["data"]["caches"]) == ("operations.caches_evicted", ["answers"])


@pytest.mark.obeys("LOG_LEVELS")
class TestLoggers:
    async def test_a_level_is_set_everywhere_with_its_history_and_taken_back(self, desk: Desk) -> None:
        levels.parts.begin(sys.stderr, levels.LEVELS["info"])
        http = levels.parts("http")
        async with desk.caller() as caller:
            one = await caller.http.post("/actuator/loggers/http", json={"level": "DEBUG", **WHY})
            while_set = http.threshold
            two = await caller.http.post("/actuator/loggers/audit", json={"level": "warning", **WHY})
            back = await caller.http.post("/actuator/loggers/http", json={"level": None, **WHY})
            versions = await caller.told("/configuration/versions", parameter="LOG_LEVELS")
            await caller.http.post("/configuration/revert", json={"version": 2, **WHY})
            reverted = http.threshold

        assert {"name": "http", "level": "debug", "set": True} in one.json()["loggers"]
        assert (while_set, reverted) == (levels.LEVELS["debug"], levels.LEVELS["debug"])
        assert {"name": "http", "level": "debug", "set": True} in two.json()["loggers"]
        assert {"name": "http", "level": "info", "set": False} in back.json()["loggers"]
        assert [one["changes"]["LOG_LEVELS"]["new"] for one in versions["versions"]] == [
            "audit=warning", "audit=warning,http=debug", "http=debug",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "level", "remedy"),
        [("htpt", "debug", "Did you mean http?"), ("http", "debgu", "Did you mean debug?")],
    )
    async def test_what_does_not_exist_is_met_with_the_nearest(
        self, desk: Desk, name: str, level: str, remedy: str
    ) -> None:
        async with desk.caller() as caller:
            answer = await caller.http.post(f"/actuator/loggers/{name}", json={"level": level, **WHY})

        assert (answer.status_code, answer.json()["remedy"]) == (422, remedy)


@pytest.mark.obeys("MAINTENANCE")
class TestMaintenance:
    async def test_refuses_writes_naming_who_and_why_and_lets_reading_and_operating_go_on(
        self, database: Database, tmp_path: Path
    ) -> None:
        alias = {"alias": "chai", "target": "TEALEAF", "reason": "trial"}
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            began = await caller.http.post("/actuator/maintenance", json={"enabled": True, "reason": "moving house"})
            refused = await caller.http.post("/aliases", json=alias)
            found = await caller.told("/search", query="tea")
            bulk = await caller.http.post("/instruments/bulk", json={"instrument_ids": ["NSE:TEALEAF"]})
            shown = await caller.told("/actuator/maintenance")
            health = await caller.told("/actuator/health")
            ended = await caller.http.post("/actuator/maintenance", json={"enabled": False, "reason": "moved"})
            made = await caller.http.post("/aliases", json=alias)

        assert (began.status_code, began.json()["enabled"]) == (200, True)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/ReadOnly")
        assert (refused.json()["by"], refused.json()["reason"]) == (caller.actor, "moving house")
        assert refused.headers["retry-after"] == "30"
        assert found["instruments"]
        assert bulk.status_code == 200, bulk.text
        assert (shown["by"], shown["reason"], shown["jobs_running"]) == (caller.actor, "moving house", 0)
        check = next(one for one in health["checks"] if one["check"] == "maintenance")
        assert (health["status"], "moving house" in check["reason"]) == ("degraded", True)
        assert ended.json()["enabled"] is False
        assert made.status_code < 300, made.text

    async def test_pinned_by_the_environment_cannot_be_ended_here(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path, sources=Sources(environment={"MAINTENANCE": "on"}))
        async with desk.caller() as caller:
            refused = await caller.http.post("/aliases", json={})
            ended = await caller.http.post("/actuator/maintenance", json={"enabled": False, **WHY})

        assert "environment" in refused.json()["detail"]
        assert (ended.status_code, ended.json()["pinned_by"]) == (409, "INSTRUMENT_REGISTRY_MAINTENANCE")

    async def test_every_write_is_refused_and_nothing_else(self, database: Database, tmp_path: Path) -> None:
        desk = Desk(database, tmp_path, sources=Sources(environment={"MAINTENANCE": "on"}))
        passed: set[str] = set()
        refused: set[str] = set()
        async with desk.caller(Scope.ADMIN) as caller:
            for path, methods in json.loads(published())["paths"].items():
                for method in methods.keys() & {"post", "put", "patch", "delete"}:
                    if not path.endswith("/events/stream"):  # which would not end
                        answer = await asked(caller.http, method, path)
                        kind = refused if answer.json().get("type") == "/problems/ReadOnly" else passed
                        kind.add(f"{method} {path.removeprefix('/api/v1/internal/instrument-registry')}")

        outside = {
            one for one in passed
            if not one.split()[1].startswith(("/actuator/", "/configuration/", "/ofrep/", "/secrets", "/keys"))
        }  # fmt: skip
        assert outside <= {
            "post /search", "post /instruments/bulk", "post /consumers/{consumer}/acknowledge",
            "post /audit/checkpoints", "post /subscriptions/capacity/{account}/health", "post /subscriptions/acks",
            "post /subscriptions/leases/{account}", "delete /subscriptions/leases/{account}",
            "post /subscriptions/what-if", "post /subscriptions/plan/{plan}/describe",
        }  # fmt: skip
        assert {"post /aliases", "post /brokers/{broker}/ingest", "post /events/publish"} <= refused


async def asked(http: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    """What a request with nothing in it is answered; others' limits are no matter here."""
    return await http.request(method, f"http://registry{path}".replace("{", "").replace("}", ""), json={})


class TestTheReset:
    async def test_takes_everything_back_once_confirmed_and_can_be_undone(
        self, database: Database, tmp_path: Path
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            await caller.http.post("/actuator/maintenance", json={"enabled": True, **WHY})
            await caller.http.post("/actuator/config", json={"CACHE_TTL_SECONDS": 7, **WHY})
            await caller.told("/search", query="tea")
            look = await caller.told("/actuator/emergency/reset")
            wrong = await caller.http.post("/actuator/emergency/reset", json={"confirm": "yes", **WHY})
            stale = await caller.http.post(
                "/actuator/emergency/reset", json={"confirm": "reset everything as of version 1", **WHY}
            )
            still = await caller.told("/actuator/maintenance")
            done = await caller.http.post("/actuator/emergency/reset", json={"confirm": look["confirm"], **WHY})
            again = await caller.http.post("/actuator/emergency/reset", json={"confirm": look["confirm"], **WHY})
            after = await caller.told("/actuator/config")
            caches = await caller.told("/actuator/caches")
            back = await caller.http.post("/configuration/revert", json={"version": done.json()["before"], **WHY})
            restored = await caller.told("/actuator/maintenance")

        assert look["live"] == {"CACHE_TTL_SECONDS": "7", "MAINTENANCE": "true"}
        assert [(one.status_code, one.json()["type"]) for one in (wrong, stale)] == [
            (422, "/problems/NotConfirmed")
        ] * 2
        assert still["enabled"] is True
        assert (done.status_code, done.json()["version"]) == (200, 3)
        assert done.json()["taken_back"] == ["CACHE_TTL_SECONDS", "MAINTENANCE"]
        assert (again.status_code, again.json()["version"]) == (200, None)
        assert not [one for one in after["parameters"] if one["source"] == "live"]
        assert named(caches, "answers")["entries"] == 0
        assert (back.status_code, restored["enabled"]) == (200, True)

    async def test_closes_breakers_and_takes_back_what_lies_below_a_pin(
        self, database: Database, tmp_path: Path
    ) -> None:
        plain, pinned = (
            Desk(database, tmp_path),
            Desk(database, tmp_path, sources=Sources(environment={"CACHE_TTL_SECONDS": "5"})),
        )
        async with plain.caller() as caller:
            await caller.http.post("/actuator/config", json={"CACHE_TTL_SECONDS": 7, **WHY})
        async with pinned.caller() as caller:
            caller.app.state.registry.breakers.of("redis").open("trial")
            look = await caller.told("/actuator/emergency/reset")
            done = await caller.http.post("/actuator/emergency/reset", json={"confirm": look["confirm"], **WHY})
            closed = caller.app.state.registry.breakers.of("redis").closed

        assert (done.status_code, done.json()["taken_back"]) == (200, ["CACHE_TTL_SECONDS"])
        assert (done.json()["breakers"], closed) == (["redis"], True)


class TestWhoMay:
    async def test_an_actuator_needs_an_operator(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as caller:
            answers = [
                await caller.http.get(f"/actuator/{what}")
                for what in (
                    "info",
                    "caches",
                    "loggers",
                    "tasks",
                    "maintenance",
                    "health",
                    "toggles",
                    "emergency/reset",
                )
            ]
            watched = await caller.http.get("/configuration/watch")

        assert {one.status_code for one in (*answers, watched)} == {403}


class TestHealthForPeople:
    async def test_a_browser_gets_a_page_and_a_program_gets_json(self, desk: Desk) -> None:
        async with desk.caller() as caller:
            browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
            page = await caller.http.get("http://registry/health", headers=browser)
            program = await caller.http.get("http://registry/health")

        assert page.headers["content-type"].startswith("text/html")
        assert "<td>database<td" in page.text
        assert program.json()["status"] in ("ready", "degraded")

    async def test_a_stopping_process_is_not_ready(self, desk: Desk) -> None:
        async with desk.caller() as caller:
            caller.app.state.stopping = True
            answer = await caller.http.get("http://registry/health/ready")
            live = await caller.http.get("http://registry/health/live")

        assert (answer.status_code, live.status_code) == (503, 200)
        assert answer.json()["detail"].startswith("stopping")
