"""Ingestions over HTTP: reports of runs, rows set aside, deciding about dumps that were kept out, and their jobs."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from desk import TEA, Caller, Desk, opened
from errands import ended, upload, work_off
from instrument_registry.access.model import Scope
from instrument_registry.database import Database

pytestmark = pytest.mark.tea

TOMORROW = "2026-08-19"
COFFEE = "23600001,92190,COFFEE,COFFEE HOUSE,0,,0,0.05,1,EQ,NSE,NSE\n"
HALF = "".join(line for line in TEA.splitlines(keepends=True) if "NFO" not in line) + COFFEE  # a segment is missing
CUT = TEA[:-10]
TWICE = TEA + "23040257,90009,OTHER,OTHER ESTATES,0,,0,0.1,1,EQ,NSE,NSE\n"  # one token, two contracts
CALLS = "".join(
    f"{30000000 + strike},{92000 + strike},NIFTY26901{strike}CE,NIFTY,0,2026-09-01,{strike},0.05,65,CE,NFO-OPT,NFO\n"
    for strike in range(25000, 25200)
)
ODD = """23554000,92810,NIFTY2690124600CE,NIFTY,0,2026-13-01,24600,0.05,65,CE,NFO-OPT,NFO
23554001,92811,NIFTY2690124650CE,NIFTY,0,2026-09-01,NaN,0.05,65,CE,NFO-OPT,NFO
"""


@pytest_asyncio.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(database, tmp_path) as one:
        one.now += timedelta(days=1)
        yield one


@pytest_asyncio.fixture
async def operator(desk: Desk) -> AsyncIterator[Caller]:
    async with desk.caller() as one:
        yield one


async def brought(desk: Desk, operator: Caller, text: str) -> int:
    """The run of a dump that came the day after."""
    job = await ended(desk, operator, await upload(operator, text, market_date=TOMORROW))
    return int(job["outcome"]["id"])


async def jobs(operator: Caller, **asked: object) -> dict:
    return (await operator.http.get("/jobs", params=asked)).json()


async def decide(
    operator: Caller, run: int, what: str, *, key: str | None = None, reason: str = "Seen and right"
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await operator.http.post(f"/ingestions/{run}/{what}", json={"reason": reason}, headers=headers)


class TestReports:
    async def test_runs_are_listed_newest_first_and_paged(self, desk: Desk, operator: Caller) -> None:
        runs = [await brought(desk, operator, text) for text in (HALF, TEA, CUT)]
        first = await operator.told("/ingestions", limit=3)
        second = await operator.told("/ingestions", limit=3, cursor=first["pagination"]["next_cursor"])

        assert [one["id"] for one in first["ingestions"]] == runs[::-1]
        assert [one["market_date"] for one in second["ingestions"]] == ["2026-08-18"]
        assert second["pagination"]["next_cursor"] is None

    @pytest.mark.parametrize(
        ("asked", "found"),
        [({"broker": "zerodha"}, 3), ({"broker": "upstox"}, 0), ({"status": "quarantined"}, 1), ({"held": True}, 1),
         ({"status": ["applied", "unchanged"]}, 2), ({"from": TOMORROW}, 2), ({"to": "2026-08-18"}, 1),
         ({"from": "2026-08-18", "to": TOMORROW, "status": "applied"}, 1)],
    )  # fmt: skip
    async def test_filters_narrow_them(self, desk: Desk, operator: Caller, asked: dict, found: int) -> None:
        for text in (HALF, TEA):
            await brought(desk, operator, text)

        answer = await operator.http.get("/ingestions", params=asked)
        assert len(answer.json()["ingestions"]) == found

    async def test_one_says_why_it_was_kept_out(self, desk: Desk, operator: Caller) -> None:
        told = await operator.told(f"/ingestions/{await brought(desk, operator, HALF)}")

        (reason,) = told["reasons"]
        assert (told["status"], told["kept"], told["actor"]) == ("quarantined", True, operator.actor)
        assert "NFO" in reason["detail"]
        assert told["files"][0]["name"] == "kite_NSE.csv"
        assert len(told["files"][0]["sha256"]) == 64

    async def test_one_that_was_applied_tells_its_counts_and_gaps(self, desk: Desk, operator: Caller) -> None:
        run = await brought(desk, operator, TEA.replace("TEA LEAF ESTATES", "TEA LEAF GARDENS") + CALLS)
        told = await operator.told(f"/ingestions/{run}")

        assert told["counts"]["listed"] == 200
        assert told["counts_by_venue"]["NFO"] == {"listed": 200, "strike_added": 200}
        assert told["segments"]["NFO"] == 204
        assert told["gaps"]["against_before"] == []

    async def test_rows_set_aside_come_with_line_field_value_and_reason(self, desk: Desk, operator: Caller) -> None:
        run = await brought(desk, operator, TEA + CALLS + ODD)
        first = await operator.told(f"/ingestions/{run}/set-aside", limit=1)
        second = await operator.told(f"/ingestions/{run}/set-aside", limit=1, cursor=first["pagination"]["next_cursor"])

        rows = [*first["set_aside"], *second["set_aside"]]
        assert [(row["line"], row["field"], row["value"], row["dropped"]) for row in rows] == [
            (210, "expiry", "2026-13-01", True), (211, "strike", "NaN", True),
        ]  # fmt: skip
        assert all(row["reason"] for row in rows)
        assert second["pagination"]["next_cursor"] is None

    @pytest.mark.parametrize(
        "path", ["/ingestions/99", "/ingestions/99/set-aside", "/ingestions/x", "/jobs/99", "/jobs/-1"]
    )
    async def test_what_is_not_there_is_not_found(self, operator: Caller, path: str) -> None:
        await operator.told(path, status=404)


class TestRelease:
    async def test_the_dump_is_applied_and_both_runs_say_so(self, desk: Desk, operator: Caller) -> None:
        run = await brought(desk, operator, HALF)
        job = await ended(desk, operator, (await decide(operator, run, "release")).json())
        held, applied = [await operator.told(f"/ingestions/{one}") for one in (run, job["outcome"]["id"])]

        assert job["outcome"]["status"] == applied["status"] == "applied"
        assert (held["status"], held["kept"], held["released_as"]) == ("released", False, applied["id"])
        assert (held["released_by"], held["release_reason"]) == (operator.actor, "Seen and right")
        assert applied["released_from"] == run
        assert [one["gate"] for one in applied["warnings"]] == [one["gate"] for one in held["reasons"]]
        assert (await operator.told("/ingestions", held=True))["ingestions"] == []

    async def test_twice_is_refused_unless_it_is_the_same_request(self, desk: Desk, operator: Caller) -> None:
        run = await brought(desk, operator, HALF)
        first = await decide(operator, run, "release", key="r-1")
        await work_off(desk)
        same, other = await decide(operator, run, "release", key="r-1"), await decide(operator, run, "release")

        assert (same.status_code, same.json()["id"]) == (202, first.json()["id"])
        assert (other.status_code, other.json()["type"]) == (409, "/problems/NotHeld")

    async def test_a_dump_nothing_can_be_read_from_stays_kept(self, desk: Desk, operator: Caller) -> None:
        run = await brought(desk, operator, CUT)
        job = await ended(desk, operator, (await decide(operator, run, "release")).json())

        assert (job["status"], job["problem"]["kind"]) == ("failed", "CannotBeReleased")
        assert (await operator.told(f"/ingestions/{run}"))["kept"] is True

    async def test_a_token_that_means_two_contracts_is_refused_at_once(self, desk: Desk, operator: Caller) -> None:
        answer = await decide(operator, await brought(desk, operator, TWICE), "release")

        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/CannotBeReleased")

    async def test_what_was_applied_is_not_held(self, desk: Desk, operator: Caller) -> None:
        run = await brought(desk, operator, TEA)
        answers = [await decide(operator, run, what) for what in ("release", "discard")]

        assert [answer.status_code for answer in answers] == [409, 409]
        assert (await decide(operator, 99, "release")).status_code == 404

    @pytest.mark.parametrize("what", ["release", "discard"])
    async def test_a_reason_is_needed(self, operator: Caller, what: str) -> None:
        answers = [await decide(operator, 1, what, reason=reason) for reason in ("", " ", "x" * 1001)]

        assert {answer.status_code for answer in answers} == {422}

    async def test_readers_may_not(self, desk: Desk) -> None:
        async with desk.caller(Scope.READER) as reader:
            assert {(await decide(reader, 1, what)).status_code for what in ("release", "discard")} == {403}


class TestDiscard:
    async def test_the_files_go_and_the_report_stays(self, desk: Desk, operator: Caller) -> None:
        run = await brought(desk, operator, HALF)
        answer = await decide(operator, run, "discard", reason="The broker sent another")
        told = answer.json()
        released = await decide(operator, run, "release")

        assert (answer.status_code, told["status"], told["kept"]) == (200, "discarded", False)
        assert (told["discarded_by"], told["discard_reason"]) == (operator.actor, "The broker sent another")
        assert told["reasons"]
        assert released.status_code == 409
        async with desk.database.transaction(read_only=True) as tx:
            kept = await tx.execute("select 1 from ingestion_files where ingestion_id = %s", (run,))
            told_of = await tx.execute("select data from events where type = 'ingestion.discarded'")
            assert await kept.fetchone() is None
            assert await told_of.fetchone() is not None


class TestJobs:
    async def test_they_are_listed_newest_first_by_status(self, desk: Desk, operator: Caller) -> None:
        done = [(await upload(operator, TEA))["id"] for _ in range(3)]
        await work_off(desk)
        waiting = (await upload(operator, TEA))["id"]
        first = await jobs(operator, status="done", limit=2)
        second = await jobs(operator, status="done", limit=2, cursor=first["pagination"]["next_cursor"])

        assert [one["id"] for one in (*first["jobs"], *second["jobs"])] == done[::-1]
        assert [one["id"] for one in (await jobs(operator, status="queued"))["jobs"]] == [waiting]

    async def test_a_key_is_printable(self, operator: Caller) -> None:
        headers = {"Idempotency-Key": "a b"}
        answer = await operator.http.post("/brokers/zerodha/ingest", json={}, headers=headers)

        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "header.Idempotency-Key")
