"""What was promised of profiles, each against one running instance: create, list, limits, conflicts, audit, cleanup,
stats."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from journeys.test_operating import key_of
from journeys.test_serve import Serving, demonstrated, eventually

PROFILES = "/api/v1/internal/subscription-profiles"
PREFIX = "/api/v1/internal/instrument-registry"
SHARE, FUTURE = "NSE:RELIANCE", "NFO:NIFTY;F;@1"


@pytest.fixture(scope="module")
def instance() -> Iterator[Serving]:
    """One instance for every promise; each has a user of its own."""
    with demonstrated() as one:
        yield one


def asked(
    instance: Serving, method: str, path: str, body: object = None, *, status: int = 200, prefix: str = PROFILES
) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=30)
    headers = {"X-Internal-API-Key": key_of(instance), "Content-Type": "application/json"}
    with contextlib.closing(connection):
        connection.request(method, prefix + path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
    assert answer.status == status, content
    return json.loads(content or b"{}")


def made(instance: Serving, user: str, *instruments: str, status: int = 201, **more: object) -> dict:
    body = {"user_id": user, "name": "morning", "type": "live_feed", "instruments": list(instruments)} | more
    return asked(instance, "POST", "/", body, status=status)


def told(instance: Serving, *words: str) -> dict:
    answer = instance.run(*words, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


class TestProfiles:
    def test_create(self, instance: Serving, tmp_path: Path) -> None:
        wanted = {
            "user_id": "create", "name": "morning", "type": "live_feed", "mode": "full", "priority": 80,
            "instruments": [SHARE, {"key": FUTURE, "mode": "ltp"}, "NSE:RELIANC"],
        }  # fmt: skip
        (tmp_path / "profile.json").write_text(json.dumps(wanted), encoding="utf-8")
        created = told(instance, "profiles", "create", str(tmp_path / "profile.json"), "--once", "first")
        again = told(instance, "profiles", "create", str(tmp_path / "profile.json"), "--once", "first")
        shown = told(instance, "profiles", "show", created["profile"]["id"])
        for_people = instance.run("profiles", "show", created["profile"]["id"])

        assert created == again
        assert [one["outcome"] for one in created["instruments"]] == ["accepted", "accepted", "dropped"]
        assert created["instruments"][2]["nearest"][0] == SHARE
        assert (shown["tier"], [one["mode"] for one in shown["instruments"]]) == (0, ["full", "ltp"])
        assert SHARE in for_people.stdout

    def test_list(self, instance: Serving) -> None:
        for name in ("a", "b", "c"):
            made(instance, "list", SHARE, name=name, type="alerts" if name == "c" else "live_feed")
        first = asked(instance, "GET", "/users/list/profiles?limit=2")
        rest = asked(instance, "GET", f"/users/list/profiles?limit=2&cursor={first['pagination']['next_cursor']}")
        listed = instance.run("profiles", "list", "list", "--type", "live_feed")

        assert [one["name"] for one in first["profiles"] + rest["profiles"]] == ["a", "b", "c"]
        assert [line.split()[1] for line in listed.stdout.splitlines()[1:]] == ["a", "b"]

    def test_limits(self, instance: Serving) -> None:
        raised = told(instance, "profiles", "limits", "limits", "--live-feed", "1", "--reason", "trial account")
        over = made(instance, "limits", SHARE, FUTURE, status=422)
        made(instance, "limits", SHARE)
        shown = told(instance, "profiles", "limits", "limits")

        assert raised["limits"]["live_feed"] == 1
        assert [over[name] for name in ("of", "limit", "present", "asked")] == ["instruments", 1, 0, 2]
        assert (shown["used"]["live_feed"], shown["limits"]["historical"]) == (1, 200)

    def test_conflicts(self, instance: Serving) -> None:
        older = made(instance, "conflicts", SHARE)["profile"]["id"]
        newer = made(instance, "conflicts", SHARE, FUTURE, name="evening", mode="full")
        (conflict,) = told(instance, "profiles", "conflicts", "conflicts")["conflicts"]
        settled = instance.run("profiles", "resolve", conflict["id"], "--strategy", "latest_wins")
        left = asked(instance, "GET", f"/{older}")

        assert ([conflict["id"]], conflict["kind"]) == (newer["conflicts"], "mode_conflict")
        assert "the newer profile alone has them" in settled.stdout
        assert left["instruments"] == []
        assert told(instance, "profiles", "conflicts", "conflicts")["conflicts"] == []

    def test_audit(self, instance: Serving) -> None:
        profile = made(instance, "audit", SHARE)["profile"]["id"]
        asked(instance, "PATCH", f"/{profile}", {"priority": 10})
        deleted = instance.run("profiles", "delete", profile)
        history = told(instance, "profiles", "history", profile)["versions"]
        records = asked(instance, "GET", f"/audit?subject=profile:{profile}", prefix=PREFIX)["records"]

        assert deleted.returncode == 0
        assert [one["change"] for one in history] == ["deleted", "changed", "created"]
        assert sorted(one["action"] for one in records) == ["profile.changed", "profile.created", "profile.deleted"]
        assert all(one["actor"].startswith("api_key:") and one["address"] == "127.0.0.1" for one in records)

    def test_cleanup(self, instance: Serving) -> None:
        planned = asked(instance, "POST", "/admin/cleanup-audit-logs", {})
        asked(instance, "POST", "/admin/cleanup-audit-logs", {"dry_run": False}, status=422)
        begun = asked(instance, "POST", "/admin/cleanup-audit-logs", {"dry_run": False, "reason": "trial"}, status=202)

        def had_its_turn() -> bool:
            there = asked(instance, "GET", "/actuator/tasks", prefix=PREFIX)["tasks"]
            retention = next(one for one in there if one["name"] == "retention")
            return retention["taken_at"] is not None and retention["ended_at"] is not None

        eventually(had_its_turn, within_seconds=30)

        assert planned["dry_run"] and {one["kind"] for one in planned["steps"]} >= {"deliveries", "default"}
        assert (begun["dry_run"], begun["work"]) == (False, "retention")

    def test_stats(self, instance: Serving) -> None:
        before = asked(instance, "GET", "/admin/stats")
        made(instance, "stats", SHARE, FUTURE, priority=80)
        after = asked(instance, "GET", "/admin/stats")

        def counted(stats: dict) -> tuple[int, int]:
            groups = [one for one in stats["groups"] if (one["type"], one["tier"]) == ("live_feed", 0)]
            return sum(one["profiles"] for one in groups), sum(one["instruments"] for one in groups)

        assert (after["users"], after["wants"]) == (before["users"] + 1, before["wants"] + 2)
        assert [now - then for now, then in zip(counted(after), counted(before), strict=True)] == [1, 2]
