"""The audit at the HTTP door: what was done is found, proved and exported; refusals are counted, not stormed."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psycopg
import pytest
import pytest_asyncio

from conftest import DatabaseUrls
from desk import Caller, Desk, opened
from instrument_registry.access.model import Scope, text_of
from instrument_registry.configuration.model import Sources
from instrument_registry.database import Database
from instrument_registry.events.audit import merkle, sealer
from instrument_registry.events.audit.checkpoints import by_id, checked
from instrument_registry.events.audit.outside import Outside
from instrument_registry.http.refusals import Refusals

pytestmark = pytest.mark.tea

GARDEN = {"alias": "the garden", "target": "TEALEAF", "reason": "what the desk calls it"}


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        sealing = asyncio.create_task(sealer.run(database, Outside(tmp_path), clock=one.clock, poll_seconds=0.05))
        yield one
        sealing.cancel()
        await asyncio.gather(sealing, return_exceptions=True)


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


async def checkpoint(operator: Caller) -> dict:
    answer = await operator.http.post("/audit/checkpoints")
    assert answer.status_code == 201, answer.text
    return answer.json()


class TestWhatWasDone:
    async def test_is_found_with_who_why_and_whence(self, operator: Caller) -> None:
        answer = await operator.http.post("/aliases", json=GARDEN, headers={"X-Correlation-ID": "morning-7"})
        found = await operator.told("/audit", actor=operator.actor)
        by_correlation = await operator.told("/audit", correlation_id=answer.headers["x-correlation-id"])

        (told,) = found["records"]
        assert {name: told[name] for name in ("action", "actor", "old", "new", "reason", "address")} == {
            "action": "alias.added", "actor": operator.actor, "old": None, "new": GARDEN,
            "reason": GARDEN["reason"], "address": "127.0.0.1",
        }  # fmt: skip
        assert by_correlation["records"][0]["number"] == told["number"]

    async def test_is_listed_page_by_page_the_newest_first(self, operator: Caller) -> None:
        for number in range(5):
            await operator.http.post("/aliases", json=GARDEN | {"alias": f"garden {number}"})
        seen, cursor = [], None
        while True:
            page = await operator.told(
                "/audit", limit=2, action="alias.added", **({"cursor": cursor} if cursor else {})
            )
            seen += [one["new"]["alias"] for one in page["records"]]
            cursor = page["pagination"].get("next_cursor")
            if cursor is None:
                break

        assert seen == [f"garden {number}" for number in reversed(range(5))]

    async def test_is_found_by_time(self, operator: Caller) -> None:
        await operator.http.post("/aliases", json=GARDEN)
        (one,) = (await operator.told("/audit", action="alias.added"))["records"]
        at = datetime.fromisoformat(one["at"])
        after = (at + timedelta(microseconds=1)).isoformat()

        within = await operator.told("/audit", action="alias.added", **{"from": at.isoformat(), "to": after})
        later = await operator.told("/audit", action="alias.added", **{"from": after})
        assert (len(within["records"]), len(later["records"])) == (1, 0)

    @pytest.mark.parametrize("wrong", [{"from": "yesterday"}, {"limit": 0}, {"who": "me"}, {"cursor": "x"}])
    async def test_questions_that_cannot_be_meant_are_refused(self, operator: Caller, wrong: dict) -> None:
        await operator.told("/audit", status=422, **wrong)

    async def test_is_not_a_readers_business(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as reader:
            for path in ("", "/export", "/checkpoints", "/consistency?from=1&to=1", "/1", "/1/proof"):
                assert (await reader.http.get(f"/audit{path}")).status_code == 403
            assert (await reader.http.post("/audit/checkpoints")).status_code == 403


class TestProofs:
    async def test_are_enough_for_whoever_has_the_public_key(self, operator: Caller, tmp_path: Path) -> None:
        await operator.http.post("/aliases", json=GARDEN)
        made = await checkpoint(operator)
        (told,) = (await operator.told("/audit", action="alias.added"))["records"]
        record = await operator.told(f"/audit/{told['position']}")
        proof = await operator.told(f"/audit/{told['position']}/proof")

        leaf = merkle.leaf_hash(record["text"].encode())
        path = [bytes.fromhex(one) for one in proof["path"]]
        root = merkle.root_from_inclusion(leaf, told["position"] - 1, proof["checkpoint"]["size"], path)
        signed = checked(proof["checkpoint"]["note"], by_id(Outside(tmp_path).trusted()))
        assert (record["leaf"], proof["leaf"], record["record"]) == (leaf.hex(), leaf.hex(), told)
        assert (root, signed.root, made["size"]) == (signed.root, root, signed.size)

    async def test_of_consistency_lead_from_checkpoint_to_checkpoint(self, operator: Caller) -> None:
        first = await checkpoint(operator)
        await operator.http.post("/aliases", json=GARDEN)
        second = await checkpoint(operator)
        listed = await operator.told("/audit/checkpoints")
        told = await operator.told("/audit/consistency", **{"from": first["size"], "to": second["size"]})

        roots = bytes.fromhex(told["from_root"]), bytes.fromhex(told["to_root"])
        path = [bytes.fromhex(one) for one in told["path"]]
        assert merkle.consistent(told["from"], told["to"], roots, path)
        assert [one["size"] for one in listed["checkpoints"][:2]] == [second["size"], first["size"]]
        assert (told["from_root"], told["to_root"]) == (first["root"], second["root"])

    @pytest.mark.parametrize(
        ("path", "status", "kind"),
        [
            ("/audit/99999", 404, "RecordNotFound"),
            ("/audit/99999/proof", 404, "RecordNotFound"),
            ("/audit/1/proof?size=99999", 422, "SizeUnknown"),
            ("/audit/consistency?from=5&to=2", 422, "SizeUnknown"),
            ("/audit/first", 404, "NoSuchName"),
        ],
    )
    async def test_of_what_is_not_there_are_refused(self, operator: Caller, path: str, status: int, kind: str) -> None:
        await checkpoint(operator)
        answer = await operator.http.get(path)

        assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")


class TestExports:
    async def test_hold_the_exact_texts_the_oldest_first(self, operator: Caller) -> None:
        await operator.http.post("/aliases", json=GARDEN)
        await checkpoint(operator)
        answer = await operator.http.get("/audit/export")
        lines = [msgspec.json.decode(line, type=dict[str, msgspec.Raw]) for line in answer.content.splitlines()]
        listed = await operator.told("/audit", limit=1000)

        proof = await operator.told("/audit/1/proof")
        assert merkle.leaf_hash(bytes(lines[0]["record"])).hex() == proof["leaf"]
        assert [int(line["position"]) for line in lines] == [one["position"] for one in listed["records"][::-1]]

    async def test_are_tables_for_spreadsheets_too(self, operator: Caller) -> None:
        await operator.http.post("/aliases", json=GARDEN)
        answer = await operator.http.get("/audit/export", params={"format": "csv", "action": "alias.added"})

        (row,) = csv.DictReader(io.StringIO(answer.text))
        assert (row["action"], row["reason"], msgspec.json.decode(row["new"])) == (
            "alias.added", GARDEN["reason"], GARDEN,
        )  # fmt: skip


class TestRefusals:
    async def test_a_storm_of_them_leaves_one_record_a_key_a_route_and_a_minute(self, desk: Desk) -> None:
        desk.sources = Sources(environment={"RATE_LIMIT_WRITE_PER_SECOND": "1000"})
        async with desk.caller(Scope.READER) as reader:
            refusals: Refusals = reader.http._transport.app.state.refusals
            for _ in range(200):
                assert (await reader.http.post("/aliases", json=GARDEN)).status_code == 403
            for _ in range(3):
                await reader.http.get("/audit")
            desk.now += timedelta(minutes=1)
            await reader.http.post("/aliases", json=GARDEN)
            before = await told_refusals(desk)
            count = await refusals.tell(desk.database)
        after = await told_refusals(desk)

        assert (before, count) == ([], 3)
        assert [(one["actor"], one["new"]["route"].rsplit("/", 1)[1], one["new"]["count"]) for one in after] == [
            (reader.actor, "aliases", 200), (reader.actor, "audit", 3), (reader.actor, "aliases", 1),
        ]  # fmt: skip
        assert {one["new"]["problem"] for one in after} == {"ScopeLacking"}

    async def test_of_strangers_are_told_by_address_without_what_they_sent(self, desk: Desk) -> None:
        async with desk.caller() as caller:
            refusals: Refusals = caller.http._transport.app.state.refusals
            secret = "s" * 43
            for key in ("", "nonsense", *(text_of(letter * 16, secret) for letter in "abcdefgh")):
                await caller.http.get("/audit", headers={"X-Internal-API-Key": key})
            await refusals.tell(desk.database)
        (one,) = await told_refusals(desk)

        assert (one["actor"], one["address"], one["new"]["count"]) == ("unknown", "127.0.0.1", 10)
        assert one["new"]["claimed_key_ids"] == [letter * 16 for letter in "abcde"]
        assert secret not in str(one)

    async def test_take_no_more_room_than_their_bound(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as reader:
            app = reader.http._transport.app
            app.state.refusals = Refusals(desk.clock, distinct_max=3)
            for number in range(20):
                await reader.http.post("/aliases", json=GARDEN)
                desk.now += timedelta(minutes=1)
                assert len(app.state.refusals._counts) <= 4, number
            await app.state.refusals.tell(desk.database)

        assert sorted(one["new"]["count"] for one in await told_refusals(desk)) == [1, 1, 1, 17]

    async def test_wait_for_a_database_that_is_away(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as reader:
            refusals: Refusals = reader.http._transport.app.state.refusals
            await reader.http.post("/aliases", json=GARDEN)
            away = Database("postgresql://nobody@127.0.0.1:1/none", wait_timeout_seconds=0.1)
            assert await refusals.tell(away) == 0
            await reader.http.post("/aliases", json=GARDEN)
            assert await refusals.tell(desk.database) == 1

        assert [one["new"]["count"] for one in await told_refusals(desk)] == [2]


async def told_refusals(desk: Desk) -> list[dict]:
    async with desk.database.transaction(read_only=True) as tx:
        statement = "select text from audit_records where action = 'access.refused' order by number"
        rows = await (await tx.execute(statement)).fetchall()
    return [msgspec.json.decode(text) for (text,) in rows]


class TestHealth:
    @pytest.mark.parametrize(
        ("change", "verdict", "reason"),
        [
            ("select", "passed", "records signed for"),
            ("delete from audit_leaves; update appends set recorded_at = recorded_at - interval '2 minutes';"
             "update audit_records set at = at - interval '2 minutes'", "failed", "to be sealed"),
            ("delete from audit_checkpoints; update audit_leaves set at = at - interval '5 minutes'",
             "failed", "not been signed for"),
            ("drop table audit_records_{month}", "failed", "no room"),
        ],
        ids=["well", "not sealed", "not signed", "no room"],
    )  # fmt: skip
    async def test_says_what_is_wrong_with_the_audit(
        self, database: Database, database_urls: DatabaseUrls, tmp_path: Path, change: str, verdict: str, reason: str
    ) -> None:
        async with opened(database, tmp_path) as desk, desk.caller() as caller:
            await caller.caught_up()
            async with database.session("sealer") as session:
                sealing = await sealer.prepare(session, Outside(tmp_path), clock=desk.clock)
                await caller.caught_up()
                await sealing.seal()
                await sealing.sign()
            following = (datetime.now(UTC).replace(day=1) + timedelta(days=32)).strftime("%Y_%m")
            with psycopg.connect(database_urls.owner) as owner:
                owner.execute("set search_path = instrument_registry")
                owner.execute(change.format(month=following).encode())
            answer = await caller.http.get("http://registry/health")

        (check,) = (one for one in answer.json()["checks"] if one["check"] == "audit")
        assert (check["verdict"], reason in check["reason"]) == (verdict, True), check
