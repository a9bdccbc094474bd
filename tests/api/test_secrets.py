"""Secrets over HTTP: operators set and list them, admins read one at one path, and no other answer holds a value."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from desk import Caller, Desk
from instrument_registry.access.model import Scope
from instrument_registry.database import Database
from instrument_registry.sealing import FILE_NAME, KeyFile

VALUE = "open-sesame"
REFUSED_BODIES = (
    {"value": [VALUE], "reason": "x"},
    {"value": {VALUE: 1}, "reason": "x"},
    {"value": VALUE * 6_000, "reason": "x"},
    {"value": VALUE},
    {"value": VALUE, "reason": ""},
    {"value": VALUE, "reason": "x", "overlap_seconds": -1},
    {"value": VALUE, "reason": "x", "environment": "Nowhere"},
    {"value": VALUE, "reason": "x", "more": VALUE},
    {"value": "x", "reason": [VALUE]},
    VALUE,
    [VALUE],
)
KEY_PATH = "http://registry/api/v1/secrets/{}/value"


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    return Desk(database, tmp_path)


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as caller:
        yield caller


async def put(operator: Caller, name: str = "FEED_PASSWORD", **more: object) -> httpx.Response:
    body = {"value": VALUE, "reason": "trial", **more}
    return await operator.http.put(f"/secrets/{name}", json=body)


async def _read_keys(caller: Caller) -> None:
    assert caller.app is not None
    await caller.app.state.key_ring._read()


class TestSecrets:
    async def test_are_set_listed_and_read_at_one_path_by_an_admin(self, desk: Desk, operator: Caller) -> None:
        made = await put(operator)
        listed = await operator.told("/secrets")
        async with desk.caller(Scope.ADMIN) as admin:
            read = await admin.http.get(KEY_PATH.format("FEED_PASSWORD"), params={"environment": "production"})
            prefixed = await admin.http.get(KEY_PATH.format("instrument_registry_feed_password"))

        assert made.status_code == 200, made.text
        assert (made.json()["version"], made.json()["actor"]) == (1, operator.actor)
        assert listed["secrets"] == [made.json()]
        assert read.json() == {
            "key": "FEED_PASSWORD", "value": VALUE, "environment": "production", "version": 1,
        }  # fmt: skip
        assert read.headers["cache-control"] == "no-store"
        assert prefixed.json()["value"] == VALUE
        assert VALUE not in made.text + str(listed)

    async def test_are_read_by_a_key_that_was_granted_this_one_and_by_no_other_name(
        self, desk: Desk, operator: Caller
    ) -> None:
        await put(operator)
        await put(operator, "OTHER")
        async with desk.caller(Scope.READER) as ticker, desk.caller(Scope.ADMIN) as admin:
            grants = f"/keys/{ticker.actor.removeprefix('api_key:')}/secrets"
            body = {"secrets": ["instrument_registry_feed_password"], "reason": "its credentials"}
            before = await ticker.http.get(KEY_PATH.format("FEED_PASSWORD"))
            by_operator = await operator.http.put(grants, json=body)
            granted = await admin.http.put(grants, json=body)
            await _read_keys(ticker)
            read = await ticker.http.get(KEY_PATH.format("FEED_PASSWORD"))
            other = await ticker.http.get(KEY_PATH.format("OTHER"))
            listed = await ticker.http.get("/secrets")
            withdrawn = await admin.http.delete(grants, params={"reason": "moved"})
            await _read_keys(ticker)
            after = await ticker.http.get(KEY_PATH.format("FEED_PASSWORD"))

        assert (before.status_code, by_operator.status_code) == (403, 403)
        assert granted.json()["secrets"] == ["FEED_PASSWORD"]
        assert (read.status_code, read.json()["value"]) == (200, VALUE)
        assert [one.status_code for one in (other, listed, after)] == [403, 403, 403]
        assert withdrawn.json()["secrets"] == []
        assert VALUE not in other.text + after.text

    async def test_granted_to_a_key_are_read_by_the_key_that_takes_its_place(
        self, desk: Desk, operator: Caller
    ) -> None:
        await put(operator)
        async with desk.caller(Scope.ADMIN) as admin, desk.caller(Scope.READER) as ticker:
            known = ticker.actor.removeprefix("api_key:")
            await admin.http.put(f"/keys/{known}/secrets", json={"secrets": ["FEED_PASSWORD"], "reason": "its"})
            rotated = await admin.http.post(f"/keys/{known}/rotate", json={})
            header = {"X-Internal-API-Key": rotated.json()["text"]}
            read = await ticker.http.get(KEY_PATH.format("FEED_PASSWORD"), headers=header)

        assert read.status_code == 200

    async def test_rotate_keep_the_former_value_for_a_while_and_go_on_request(
        self, desk: Desk, operator: Caller
    ) -> None:
        await put(operator)
        rotated = await operator.http.post("/secrets/FEED_PASSWORD/rotate", json={"reason": "monthly"})
        async with desk.caller(Scope.ADMIN) as admin:
            new = (await admin.http.get(KEY_PATH.format("FEED_PASSWORD"))).json()
            old = (await admin.http.get(KEY_PATH.format("FEED_PASSWORD"), params={"version": 1})).json()
            gone = await operator.http.delete("/secrets/FEED_PASSWORD", params={"reason": "closed"})
            after = await admin.http.get(KEY_PATH.format("FEED_PASSWORD"))
            former = await admin.http.get(KEY_PATH.format("FEED_PASSWORD"), params={"version": 2})
        versions = await operator.told("/secrets/FEED_PASSWORD/versions")

        assert rotated.json()["version"] == 2
        assert (old["value"], new["version"], len(new["value"])) == (VALUE, 2, 43)
        assert (gone.status_code, after.status_code, former.status_code) == (204, 404, 410)
        assert [one["ended_reason"] for one in versions["versions"]] == ["closed", "closed"]

    async def test_list_by_pages_and_by_environment(self, operator: Caller) -> None:
        for name in ("A", "B", "C"):
            await put(operator, name)
        await put(operator, "A", environment="staging")
        first = await operator.told("/secrets", limit=3)
        second = await operator.told("/secrets", limit=3, cursor=first["pagination"]["next_cursor"])
        staging = await operator.told("/secrets", environment="staging")

        seen = [(one["name"], one["environment"]) for one in first["secrets"] + second["secrets"]]
        assert seen == [("A", "production"), ("A", "staging"), ("B", "production"), ("C", "production")]
        assert [one["name"] for one in staging["secrets"]] == ["A"]

    async def test_rewrap_under_a_key_that_was_added_while_it_runs(self, desk: Desk, operator: Caller) -> None:
        await put(operator)
        added = KeyFile(desk.folder / FILE_NAME).add().hex()
        before = await operator.told("/secrets/keys")
        done = await operator.http.post("/secrets/rewrap", json={})
        after = await operator.told("/secrets/keys")
        async with desk.caller(Scope.ADMIN) as admin:
            read = await admin.http.get(KEY_PATH.format("FEED_PASSWORD"))

        assert [(one["newest"], one["secrets"]) for one in before["keys"]] == [(True, 0), (False, 1)]
        assert done.json() == {"key_id": added, "rewrapped": 1, "left": 0, "damaged": []}
        assert [(one["key_id"] == added, one["secrets"]) for one in after["keys"]] == [(True, 1), (False, 0)]
        assert read.json()["value"] == VALUE

    async def test_each_read_is_in_the_audit_trail_by_whom_and_of_which_version(
        self, desk: Desk, operator: Caller
    ) -> None:
        await put(operator)
        async with desk.caller(Scope.ADMIN) as admin:
            await admin.http.get(KEY_PATH.format("FEED_PASSWORD"))
        async with desk.database.transaction(read_only=True) as tx:
            rows = await (
                await tx.execute(
                    """select a.actor, e.data::text from events e join appends a using (number)
                        where e.type = 'secret.read'"""
                )
            ).fetchall()

        assert [actor for actor, _ in rows] == [admin.actor]
        assert VALUE not in rows[0][1]


class TestRefusals:
    @pytest.mark.parametrize("scope", [Scope.READER, Scope.OPERATOR])
    async def test_who_may_not_read_values_learns_nothing_about_names(
        self, desk: Desk, operator: Caller, scope: Scope
    ) -> None:
        await put(operator)
        async with desk.caller(scope) as caller:
            refused = [await caller.http.get(KEY_PATH.format(name)) for name in ("FEED_PASSWORD", "FEED_PASWORD", "9")]

        told = [{name: value for name, value in one.json().items() if name != "instance"} for one in refused]
        for one in told:
            del one["correlation_id"]
        assert [one.status_code for one in refused] == [403] * 3
        assert told[0] == told[1] == told[2]

    async def test_a_reader_may_do_nothing_with_them(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as reader:
            answers = [
                await reader.http.get("/secrets"),
                await reader.http.get("/secrets/keys"),
                await reader.http.get("/secrets/A/versions"),
                await reader.http.put("/secrets/A", json={"value": VALUE, "reason": "x"}),
                await reader.http.post("/secrets/A/rotate", json={"reason": "x"}),
                await reader.http.post("/secrets/rewrap", json={}),
                await reader.http.delete("/secrets/A", params={"reason": "x"}),
            ]

        assert [one.status_code for one in answers] == [403] * 7

    async def test_an_admin_is_told_which_name_was_meant(self, desk: Desk, operator: Caller) -> None:
        await put(operator)
        async with desk.caller(Scope.ADMIN) as admin:
            refused = await admin.http.get(KEY_PATH.format("FEED_PASWORD"))
            elsewhere = await admin.http.get(KEY_PATH.format("FEED_PASSWORD"), params={"environment": "staging"})

        assert (refused.status_code, refused.json()["remedy"]) == (404, "Did you mean FEED_PASSWORD?")
        assert elsewhere.json()["remedy"] == "There is one in production: say environment=production"

    async def test_a_refused_body_is_not_repeated(self, operator: Caller) -> None:
        for body in REFUSED_BODIES:
            set_ = await operator.http.put("/secrets/A", json=body)
            rotated = await operator.http.post("/secrets/A/rotate", json=body)

            assert (set_.status_code, rotated.status_code in (404, 422)) == (422, True), body
            assert VALUE not in set_.text + rotated.text

    async def test_broken_json_is_not_repeated_either(self, operator: Caller) -> None:
        headers = {"content-type": "application/json"}
        refused = await operator.http.put("/secrets/A", content=b'{"value": "open-sesame', headers=headers)

        assert refused.status_code == 422
        assert VALUE not in refused.text

    async def test_a_value_that_was_changed_in_its_table_is_503_and_names_the_secret(
        self, desk: Desk, operator: Caller
    ) -> None:
        await put(operator)
        async with desk.database.transaction() as tx:
            await tx.execute("update secret_versions set sealed = set_byte(sealed, 90, get_byte(sealed, 90) # 1)")
        async with desk.caller(Scope.ADMIN) as admin:
            refused = await admin.http.get(KEY_PATH.format("FEED_PASSWORD"))

        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/SealBroken")
        assert "FEED_PASSWORD version 1 of production" in refused.json()["detail"]
