"""Brokers: how fresh each is, what it calls an instrument, and bringing its dump in by HTTP."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from desk import TEA, Caller, Desk, opened
from errands import ended, upload, work_off
from instrument_registry.access.model import Scope
from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.database import Database
from instrument_registry.http.brokers import UPLOAD_LIMIT_BYTES
from instrument_registry.http.deadline import Deadline

pytestmark = pytest.mark.tea

MORE = TEA + "23600001,92190,COFFEE,COFFEE HOUSE,0,,0,0.05,1,EQ,NSE,NSE\n"
TOMORROW = "2026-08-19"
BYTES = {"Content-Type": "application/octet-stream"}


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        yield one


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


class TestBrokers:
    async def test_all_are_listed_with_their_public_addresses(self, operator: Caller) -> None:
        listed = (await operator.told("/brokers"))["brokers"]

        assert {one["id"] for one in listed} == set(BROKERS)
        assert {one["id"] for one in listed if one["official"]} == {"nse", "bse", "iso10383", "bybit"}
        assert all(source["url"].startswith("https://") for one in listed for source in one["sources"])
        assert [one["id"] for one in listed if one["fresh"]] == ["zerodha"]

    async def test_one_says_of_each_segment_when_it_was_applied_last(self, operator: Caller) -> None:
        zerodha = await operator.told("/brokers/zerodha")

        assert {(one["segment"], one["market_date"], one["rows"], one["fresh"]) for one in zerodha["segments"]} == {
            ("INDICES", "2026-08-18", 1, True), ("NSE", "2026-08-18", 2, True), ("BSE", "2026-08-18", 1, True),
            ("NFO", "2026-08-18", 4, True),
        }  # fmt: skip
        assert (zerodha["rows"], zerodha["fresh_to"], zerodha["age_days"]) == (8, "2026-08-18", 0)
        assert (zerodha["last_run"]["status"], zerodha["dialects"]) == ("applied", ["kite"])

    async def test_one_is_fresh_no_longer_after_a_week(self, desk: Desk, operator: Caller) -> None:
        desk.now += timedelta(days=7)
        then = await operator.told("/brokers/zerodha")
        desk.now += timedelta(days=1)
        later = await operator.told("/brokers/zerodha")

        assert (then["fresh"], later["fresh"], later["age_days"]) == (True, False, 8)

    async def test_an_unknown_one_is_not_found(self, operator: Caller) -> None:
        told = await operator.told("/brokers/zeroda", status=404)

        assert told["type"] == "/problems/NoSuchBroker"
        assert "zerodha" in told["detail"]


class TestTokens:
    async def test_they_are_told_with_their_days(self, operator: Caller) -> None:
        told = await operator.told("/brokers/zerodha/tokens/NSE:TEALEAF")

        (token,) = told["tokens"]
        assert (told["broker"], told["key"], told["as_of"]) == ("zerodha", "NSE:TEALEAF", None)
        assert (token["segment"], token["token"], token["exchange_token"]) == ("NSE", "23040257", "90001")
        assert (token["valid_from"], token["valid_to"], token["tick_size"]) == ("2026-08-18", None, "0.1")

    async def test_a_broker_that_does_not_list_the_instrument_has_none(self, operator: Caller) -> None:
        told = await operator.told("/brokers/upstox/tokens/NSE:TEALEAF", as_of="2026-08-18")

        assert told["tokens"] == []

    async def test_the_id_and_an_encoded_key_name_it_too(self, operator: Caller) -> None:
        by_key = await operator.told("/brokers/zerodha/tokens/NFO:NIFTY%3B2026-09-01%3B24500%3BC")
        by_id = await operator.told(f"/brokers/zerodha/tokens/{by_key['instrument_id']}")

        assert by_key == by_id

    @pytest.mark.parametrize("path", ["/brokers/zerodha/tokens/NSE:NOTHING", "/brokers/zerodha/tokens/nonsense"])
    async def test_an_unknown_instrument_is_not_found(self, operator: Caller, path: str) -> None:
        assert (await operator.told(path, status=404))["type"] == "/problems/InstrumentNotFound"


class TestIngesting:
    async def test_it_is_a_job_that_fetches_from_the_broker(self, operator: Caller) -> None:
        answer = await operator.http.post("/brokers/zerodha/ingest", json={"dry_run": True, "scope": ["NSE"]})

        job = answer.json()
        assert (answer.status_code, job["status"], job["what"]) == (202, "queued", "ingest")
        assert answer.headers["location"].endswith(f"/jobs/{job['id']}")
        assert (job["request"]["broker"], job["request"]["dry_run"], job["request"]["scope"]) == (
            "zerodha",
            True,
            ["NSE"],
        )
        assert job["actor"] == operator.actor

    @pytest.mark.parametrize(
        "source",
        ["/etc/passwd", "dumps/kite.csv", "file:///etc/passwd", "http://127.0.0.1/kite.csv", "http://169.254.169.254/",
         "https://someone:secret@example.com/kite.csv", "ftp://example.com/kite.csv"],
    )  # fmt: skip
    async def test_what_the_server_alone_can_read_is_nobodys_to_name(self, operator: Caller, source: str) -> None:
        answer = await operator.http.post(
            "/brokers/zerodha/ingest", json={"sources": ["https://api.kite.trade/instruments", source]}
        )

        assert answer.status_code == 422
        assert (answer.json()["type"], answer.json()["field"]) == ("/problems/FetchRefused", "sources[1]")
        assert "secret" not in answer.text
        assert (await operator.told("/jobs"))["jobs"] == []

    async def test_a_mirror_that_is_listed_is_fetched_from(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_FETCH_NETWORKS", "127.0.0.0/8")
        mirror = web.Application()
        mirror.router.add_get("/kite_NSE.csv", lambda request: asyncio.sleep(0, web.Response(text=MORE)))
        desk.now += timedelta(days=1)

        async with TestServer(mirror, host="127.0.0.1") as server, desk.caller() as operator:
            body = {"sources": [f"http://127.0.0.1:{server.port}/kite_NSE.csv"], "market_date": TOMORROW}
            answer = await operator.http.post("/brokers/zerodha/ingest", json=body)
            job = await ended(desk, operator, answer.json())

        assert (job["outcome"]["status"], job["outcome"]["counts"]) == ("applied", {"listed": 1})

    async def test_readers_may_not(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as reader:
            answers = [
                await reader.http.post("/brokers/zerodha/ingest", json={}),
                await reader.http.post("/brokers/zerodha/upload", params={"name": "kite_NSE.csv"}, content=b"x"),
                await reader.http.put("/brokers/zerodha/schedule", json={"cron": "40 8 * * *"}),
                await reader.http.delete("/brokers/zerodha/schedule"),
            ]

        assert {answer.status_code for answer in answers} == {403}


class TestUploading:
    async def test_the_dump_is_applied_and_let_go_of(self, desk: Desk, operator: Caller) -> None:
        desk.now += timedelta(days=1)
        job = await upload(operator, MORE, market_date=TOMORROW)
        done = await ended(desk, operator, job)
        await operator.caught_up()

        assert (done["status"], done["problem"], done["attempts"]) == ("done", None, 1)
        assert (done["outcome"]["status"], done["outcome"]["counts"]) == ("applied", {"listed": 1})
        assert (done["outcome"]["market_date"], done["outcome"]["date_known_by"]) == (TOMORROW, "given")
        assert (await operator.instrument("NSE:COFFEE", as_of=TOMORROW))["tokens"] == {"zerodha": "23600001"}
        async with desk.database.transaction(read_only=True) as tx:
            assert await (await tx.execute("select 1 from job_uploads")).fetchone() is None

    async def test_a_packed_one_may_tell_its_day_by_its_name(self, desk: Desk, operator: Caller) -> None:
        desk.now += timedelta(days=1)
        packed = await operator.http.post(
            "/brokers/zerodha/upload", params={"name": f"kite_{TOMORROW}_NSE.csv.gz"}, headers=BYTES,
            content=gzip.compress(MORE.encode()),
        )  # fmt: skip
        done = await ended(desk, operator, packed.json())

        assert (done["outcome"]["market_date"], done["outcome"]["date_known_by"]) == (TOMORROW, "file name")

    async def test_the_same_request_again_is_the_same_job(self, desk: Desk, operator: Caller) -> None:
        first = await upload(operator, MORE, key="monday-1")
        again = await upload(operator, MORE, key="monday-1")
        await work_off(desk)
        later = await upload(operator, MORE, key="monday-1")

        assert first["id"] == again["id"] == later["id"]
        assert later["status"] == "done"

    async def test_a_key_of_another_request_is_a_conflict(self, operator: Caller) -> None:
        await upload(operator, MORE, key="monday-1")
        answer = await operator.http.post(
            "/brokers/zerodha/upload", params={"name": "kite_NSE.csv"}, content=TEA.encode(),
            headers=BYTES | {"Idempotency-Key": "monday-1"},
        )  # fmt: skip

        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/KeyUsedOtherwise")

    async def test_a_dump_that_cannot_be_read_is_a_failed_or_quarantined_one_and_harms_nothing(
        self, desk: Desk, operator: Caller
    ) -> None:
        page = await ended(desk, operator, await upload(operator, "<html>Come back later</html>"))
        cut = await ended(desk, operator, await upload(operator, MORE[:-10]))

        assert page["outcome"]["status"] == cut["outcome"]["status"] == "quarantined"
        assert (await operator.told("/brokers/zerodha"))["rows"] == 8

    @pytest.mark.parametrize("name", ["../kite.csv", "/etc/kite.csv", "a b.csv", "", ".kite.csv"])
    async def test_a_name_is_a_plain_file_name(self, operator: Caller, name: str) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        answer = await operator.http.post(
            "/brokers/zerodha/upload", params={"name": name}, content=b"x", headers=headers
        )

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "query.name"

    @pytest.mark.parametrize(
        ("path", "parameters", "body", "field"),
        [("upload", {"name": "kite_NSE.csv", "market_date": TOMORROW}, None, "query.market_date"),
         ("upload", {"name": f"kite_{TOMORROW}_NSE.csv.gz"}, None, "query.name"),
         ("ingest", {}, {"market_date": TOMORROW}, "body.market_date")],
    )  # fmt: skip
    async def test_a_day_that_is_still_to_come_is_refused_at_the_door(
        self, operator: Caller, path: str, parameters: dict, body: dict | None, field: str
    ) -> None:
        sent = {"json": body} if body else {"content": MORE.encode(), "headers": BYTES}
        answer = await operator.http.post(f"/brokers/zerodha/{path}", params=parameters, **sent)

        assert answer.status_code == 422
        (problem,) = answer.json()["errors"]
        assert (problem["field"], problem["problem"]) == (field, "lies in the future: today is 2026-08-18")
        assert TOMORROW in problem["value"]
        assert problem["remedy"]
        assert (await operator.told("/jobs"))["jobs"] == []

    async def test_the_day_that_is_given_counts_and_not_the_one_in_the_name(self, operator: Caller) -> None:
        answer = await operator.http.post(
            "/brokers/zerodha/upload", params={"name": f"kite_{TOMORROW}_NSE.csv", "market_date": "2026-08-18"},
            content=MORE.encode(), headers=BYTES,
        )  # fmt: skip

        assert answer.status_code == 202

    async def test_a_name_with_two_days_needs_the_one_that_is_meant(self, desk: Desk, operator: Caller) -> None:
        name = "kite_2026-08-17_2026-08-18_NSE.csv"
        refused = await operator.http.post(
            "/brokers/zerodha/upload", params={"name": name}, content=MORE.encode(), headers=BYTES
        )
        done = await ended(desk, operator, await upload(operator, MORE, name=name, market_date="2026-08-18"))

        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/DateAmbiguous")
        assert (done["problem"], done["outcome"]["market_date"]) == (None, "2026-08-18")

    async def test_a_slow_line_may_take_longer_than_other_requests(self, operator: Caller) -> None:
        for layer in operator.http._transport.app.user_middleware:  # before the first request builds them
            if layer.cls is Deadline:
                layer.kwargs["seconds"] = 0.3

        async def slowly() -> AsyncIterator[bytes]:
            for line in MORE.encode().splitlines(keepends=True):
                await asyncio.sleep(0.05)
                yield line

        dump = await operator.http.post(
            "/brokers/zerodha/upload", params={"name": "kite_NSE.csv"}, content=slowly(), headers=BYTES
        )
        other = await operator.http.post("/search", content=slowly(), headers={"Content-Type": "application/json"})

        assert (dump.status_code, other.status_code) == (202, 503)
        assert other.json()["type"] == "/problems/TookTooLong"

    async def test_it_comes_as_bytes(self, operator: Caller) -> None:
        answer = await operator.http.post("/brokers/zerodha/upload", params={"name": "kite.csv"}, json={"a": 1})

        assert (answer.status_code, answer.json()["type"]) == (415, "/problems/BytesExpected")
        assert answer.headers["accept"] == "application/octet-stream"

    @pytest.mark.parametrize(
        ("path", "size", "status"),
        [("upload?name=a", 5_000_000, 202), ("upload?name=a", UPLOAD_LIMIT_BYTES + 1, 413), ("ingest", 5_000_000, 413)],
    )  # fmt: skip
    async def test_a_dump_may_be_larger_than_other_bodies_but_not_endless(
        self, operator: Caller, path: str, size: int, status: int
    ) -> None:
        headers = BYTES | {"Content-Length": str(size)}
        answer = await operator.http.post(f"/brokers/zerodha/{path}", content=b"x", headers=headers)

        assert answer.status_code == status


class TestSchedule:
    PATH = "/brokers/zerodha/schedule"

    async def test_it_is_set_seen_replaced_and_removed(self, operator: Caller) -> None:
        none = await operator.told(self.PATH, status=404)
        made = (await operator.http.put(self.PATH, json={"cron": "40  8 * * *"})).json()
        seen = await operator.told(self.PATH)
        listed = (await operator.told("/brokers/zerodha"))["schedule"]
        changed = (
            await operator.http.put(self.PATH, json={"cron": "0 9 * * 1-5", "venue": None, "paused": True})
        ).json()
        gone = await operator.http.delete(self.PATH)
        again = await operator.http.delete(self.PATH)

        assert none["type"] == "/problems/NoSchedule"
        assert (made["cron"], made["venue"], made["grace_minutes"]) == ("40 8 * * *", "NSE", 60)
        assert (made["next_due"], made["last"]) == ("2026-08-19T08:40:00+05:30", None)
        assert made == seen == listed
        assert (changed["venue"], changed["paused"], changed["next_due"]) == (None, True, None)
        assert (gone.status_code, again.status_code) == (204, 404)

    @pytest.mark.parametrize(
        ("body", "field"),
        [({"cron": "every morning"}, "cron"), ({"cron": "99 8 * * *"}, "cron"), ({"cron": "0 0 8 * * *"}, "cron"),
         ({"cron": "40 8 * * *", "venue": "MARS"}, "venue")],
    )  # fmt: skip
    async def test_what_makes_no_sense_is_refused(self, operator: Caller, body: dict, field: str) -> None:
        answer = await operator.http.put(self.PATH, json=body)

        assert (answer.status_code, answer.json()["field"]) == (422, field)
