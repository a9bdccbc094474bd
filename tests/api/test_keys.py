"""API keys at the door: made, shown once, ended, replaced with an overlap, revoked."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest_asyncio

from desk import ARRANGED, Caller, Desk
from frame import NOON
from instrument_registry import events
from instrument_registry.access import measures
from instrument_registry.access.limits import service as limits
from instrument_registry.access.limits.model import Limits
from instrument_registry.access.model import Scope, presented, text_of
from instrument_registry.database import Database


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    return Desk(database, tmp_path)


@pytest_asyncio.fixture
async def admin(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller(Scope.ADMIN) as one:
        yield one


async def made(admin: Caller, **wanted: object) -> dict:
    answer = await admin.http.post("/keys", json={"name": "loader", **wanted})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def tried(admin: Caller, text: str) -> httpx.Response:
    """What somebody with this key is answered."""
    return await admin.http.get("/jobs", headers={"X-Internal-API-Key": text})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


class TestMaking:
    async def test_a_new_key_works_at_once_and_its_text_is_shown_once(self, admin: Caller) -> None:
        answer = await admin.http.post("/keys", json={"name": "loader", "scope": "operator"})
        new = answer.json()
        shown = await admin.http.get(answer.headers["location"].rpartition("/internal/instrument-registry")[2])
        listed = await admin.http.get("/keys")

        assert (await tried(admin, new["text"])).status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert (new["key"]["scope"], new["key"]["created_by"]) == ("operator", admin.actor)
        assert shown.json()["id"] == new["key"]["id"] == presented(new["text"]).id
        secret = presented(new["text"]).secret
        assert secret not in shown.text + listed.text

    async def test_nobody_gives_more_than_they_have(self, desk: Desk, admin: Caller) -> None:
        async with desk.caller(Scope.OPERATOR) as operator:
            answer = await operator.http.post("/keys", json={"name": "mine", "scope": "admin"})

        assert answer.status_code == 403
        assert len((await admin.told("/keys"))["keys"]) == 2  # those of the two callers

    async def test_what_cannot_be_is_refused(self, admin: Caller) -> None:
        wanted = {
            "BadKeyName": {"name": " x"},
            "InvalidRequest": {"name": "x", "scope": "root"},
            "BadExpiry": {"name": "x", "expires_at": "2026-08-18T06:30:00Z"},
            "BadExpiry ": {"name": "x", "expires_at": "2099-01-01T00:00:00Z"},
            "InvalidRequest ": {"name": "x", "expires_at": "2026-09-01T00:00:00"},
        }
        answers = [await admin.http.post("/keys", json=body) for body in wanted.values()]

        assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [
            (422, f"/problems/{kind.strip()}") for kind in wanted
        ]

    async def test_many_are_listed_in_pages(self, admin: Caller) -> None:
        for number in range(4):
            await made(admin, name=f"n{number}")

        first = await admin.told("/keys", limit=3)
        second = await admin.told("/keys", limit=3, cursor=first["pagination"]["next_cursor"])

        ids = [one["id"] for one in first["keys"] + second["keys"]]
        assert (len(ids), len(set(ids)), second["pagination"].get("next_cursor")) == (5, 5, None)


class TestEnding:
    async def test_a_key_is_refused_from_its_last_instant_on(self, desk: Desk, admin: Caller) -> None:
        new = await made(admin, expires_at="2026-08-18T07:00:00Z")
        desk.now = at("2026-08-18T06:59:59.999+00:00")
        before = await tried(admin, new["text"])
        desk.now = at("2026-08-18T07:00:00+00:00")
        after = await tried(admin, new["text"])

        assert (before.status_code, after.status_code) == (200, 401)
        assert after.json()["type"] == "/problems/KeyEnded"
        assert "2026-08-18 07:00 UTC" in after.json()["detail"]

    async def test_only_who_has_the_secret_is_told_that_a_key_ended(self, desk: Desk, admin: Caller) -> None:
        new, other = await made(admin, expires_at="2026-08-18T07:00:00Z"), await made(admin)
        desk.now = at("2026-08-18T08:00:00+00:00")
        guess = text_of(presented(new["text"]).id, presented(other["text"]).secret)

        assert (await tried(admin, guess)).json()["type"] == "/problems/KeyRejected"

    async def test_what_a_key_is_good_for_is_shown(self, desk: Desk, admin: Caller) -> None:
        new = await made(admin, expires_at="2026-09-18T00:00:00Z")
        states = []
        for day in (18, 10):
            desk.now = at(f"2026-09-{day:02}T00:00:00+00:00")
            states.append((await admin.told(f"/keys/{new['key']['id']}"))["state"])

        assert (new["key"]["state"], states) == ("in_force", ["ended", "ending"])


class TestRotating:
    async def test_both_keys_work_until_the_overlap_is_over(self, desk: Desk, admin: Caller) -> None:
        old = await made(admin, scope="operator")
        answer = await admin.http.post(f"/keys/{old['key']['id']}/rotate", json={"overlap_seconds": 3600})
        done = answer.json()
        during = [(await tried(admin, one["text"])).status_code for one in (old, done)]
        desk.now = NOON + timedelta(hours=1)
        after = [(await tried(admin, one["text"])).status_code for one in (old, done)]

        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
        assert (during, after) == ([200, 200], [401, 200])
        assert (done["key"]["name"], done["key"]["scope"]) == ("loader", "operator")
        assert (done["key"]["replaces"], done["replaced"]["replaced_by"]) == (old["key"]["id"], done["key"]["id"])

    async def test_no_overlap_ends_the_old_key_at_once(self, admin: Caller) -> None:
        old = await made(admin)
        done = (await admin.http.post(f"/keys/{old['key']['id']}/rotate", json={"overlap_seconds": 0})).json()

        assert (await tried(admin, done["text"])).status_code == 200
        await eventually_refused(admin, old["text"])

    async def test_the_new_key_lives_as_long_as_the_old_one_was_to_live(self, desk: Desk, admin: Caller) -> None:
        old = await made(admin, expires_at="2026-08-28T06:30:00Z")
        desk.now = NOON + timedelta(days=9, hours=20)
        done = (await admin.http.post(f"/keys/{old['key']['id']}/rotate", json={})).json()

        assert at(done["key"]["expires_at"]) == desk.now + timedelta(days=10)
        assert at(done["replaced"]["expires_at"]) == NOON + timedelta(days=10)  # an overlap makes no key live longer

    async def test_the_new_key_is_limited_as_the_old_one(self, desk: Desk, admin: Caller) -> None:
        old = await made(admin)
        async with desk.database.transaction() as tx:
            own = {"read": Limits(per_minute=7, per_second=None)}
            await limits.set_limits(tx, old["key"]["id"], own, reason="r", metadata=ARRANGED, at=NOON)
        done = (await admin.http.post(f"/keys/{old['key']['id']}/rotate", json={})).json()
        async with desk.database.transaction(read_only=True) as tx:
            listed = await limits.list_limits(tx)

        assert listed[done["key"]["id"]].limits == listed[old["key"]["id"]].limits

    async def test_a_key_is_replaced_once(self, admin: Caller) -> None:
        old = await made(admin)
        first = await admin.http.post(f"/keys/{old['key']['id']}/rotate", json={})
        again = await admin.http.post(f"/keys/{old['key']['id']}/rotate", json={})

        assert (first.status_code, again.status_code) == (201, 409)
        assert again.json()["by"] == first.json()["key"]["id"]

    async def test_what_opens_nothing_cannot_be_rotated(self, desk: Desk, admin: Caller) -> None:
        revoked, ended = await made(admin), await made(admin, expires_at="2026-08-18T07:00:00Z")
        await admin.http.post(f"/keys/{revoked['key']['id']}/revoke")
        desk.now = NOON + timedelta(hours=1)
        answers = [
            await admin.http.post(f"/keys/{key_id}/rotate", json={})
            for key_id in (revoked["key"]["id"], ended["key"]["id"], "a" * 16)
        ]
        long = await admin.http.post(f"/keys/{revoked['key']['id']}/rotate", json={"overlap_seconds": 31 * 86_400})

        assert [answer.json()["type"].rpartition("/")[2] for answer in (*answers, long)] == [
            "KeyAlreadyRevoked", "KeyHasEnded", "KeyNotFound", "InvalidRequest",
        ]  # fmt: skip

    async def test_it_is_told_by_two_facts_without_a_secret(self, desk: Desk, admin: Caller) -> None:
        old = await made(admin)
        done = (await admin.http.post(f"/keys/{old['key']['id']}/rotate", json={})).json()
        async with desk.database.transaction(read_only=True) as tx:
            told = [await events.read_about(tx, one["key"]["id"]) for one in (old, done)]

        assert [[fact.type for fact in facts] for facts in told] == [
            ["api_key.created", "api_key.rotated"], ["api_key.created"],
        ]  # fmt: skip
        words = "".join(fact.data for facts in told for fact in facts)
        assert not any(presented(one["text"]).secret in words for one in (old, done))
        assert {fact.metadata.actor for facts in told for fact in facts} == {admin.actor}


class TestRevoking:
    async def test_a_second_time_changes_and_tells_nothing_more(self, desk: Desk, admin: Caller) -> None:
        new = await made(admin)
        first = await admin.http.post(f"/keys/{new['key']['id']}/revoke")
        desk.now = NOON + timedelta(hours=1)
        again = await admin.http.post(f"/keys/{new['key']['id']}/revoke")
        async with desk.database.transaction(read_only=True) as tx:
            told = await events.read_about(tx, new["key"]["id"])

        assert (first.status_code, again.status_code) == (200, 200)
        assert first.json() == again.json() | {"last_used_at": first.json()["last_used_at"]}
        assert (again.json()["state"], again.json()["revoked_by"]) == ("revoked", admin.actor)
        assert [fact.type for fact in told] == ["api_key.created", "api_key.revoked"]

    async def test_an_unknown_key_is_not_found(self, admin: Caller) -> None:
        answers = [await admin.http.post("/keys/nobody/revoke"), await admin.http.get("/keys/nobody")]

        assert [answer.status_code for answer in answers] == [404, 404]


class TestNumbers:
    async def test_keys_that_end_soon_and_are_not_replaced_are_counted(self, desk: Desk, admin: Caller) -> None:
        for name, days in (("soon", 14), ("later", 15), ("replaced", 3)):
            made_one = await made(admin, name=name, expires_at=(NOON + timedelta(days=days)).isoformat())
        await admin.http.post(f"/keys/{made_one['key']['id']}/rotate", json={"overlap_seconds": 60})
        await made(admin, name="gone", expires_at=(NOON + timedelta(seconds=1)).isoformat())
        async with desk.database.transaction(read_only=True) as tx:
            await measures.measure(tx, at=NOON + timedelta(seconds=1))

        in_force, ending = (gauge.collect()[0].samples[0].value for gauge in (measures.IN_FORCE, measures.ENDING))
        assert (in_force, ending) == (5, 2)  # the caller's, soon, later, replaced and the one in its place


async def eventually_refused(admin: Caller, text: str) -> None:
    """Within two seconds a worker knows; it asks anew whenever somebody calls."""
    async with asyncio.timeout(2):
        while (await tried(admin, text)).status_code != 401:
            await asyncio.sleep(0.05)
