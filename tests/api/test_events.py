"""Events read and published through the door, and streams that nobody has to acknowledge."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from conftest import DatabaseUrls
from facts import AT, METADATA, renamed
from instrument_registry import events
from instrument_registry.access import service
from instrument_registry.access.model import Scope
from instrument_registry.catalog.events import IngestionApplied, InstrumentDelisted, InstrumentListed
from instrument_registry.database import Database
from instrument_registry.events import model
from instrument_registry.http.routes import PREFIX
from streaming import Lines, Worker, said, tell, tell_each, worker

# As if the first three positions had gone with a month.
ARCHIVED = """
insert into instrument_registry.archives (name, kind, starts_at, ends_at, rows, digest, first_position, last_position,
    columns, file, file_bytes, file_sha256, state, exported_at, dropped_at)
values ('events_2001_02', 'events', '2001-02-01', '2001-03-01', 3, repeat('0', 64), 1, 3, '{}', 'x', 1, repeat('0', 64),
    'dropped', now(), now())
"""
OPENED = {"event_type": "external.desk.opened", "data": {"desk": "options", "lots": [1, 2.5]}, "subject": "desk-1"}
CLOSED = {"event_type": "external.desk.closed", "data": {}}


@pytest_asyncio.fixture
async def here(database: Database, tmp_path: Path) -> AsyncIterator[Worker]:
    async with worker(database, tmp_path) as one:
        yield one


def listed(number: int, kind: type[InstrumentListed] = InstrumentListed) -> InstrumentListed:
    return kind(
        occurred_at=AT, instrument_id=f"I{number}", key=None, effective_date="2026-08-18", source="dhan", ingestion=1,
        evidence=None, old=None, new=None,
    )  # fmt: skip


async def placed(here: Worker, count: int) -> None:
    """Wait until so many events have their order."""
    async with asyncio.timeout(20):
        while (await here.get("/events/health"))["position"] < count:
            await asyncio.sleep(0.01)


class TestPublishing:
    async def test_what_is_published_is_read_like_any_other_event(self, here: Worker) -> None:
        told = await here.post("/events/publish", {"events": [OPENED, CLOSED], "stream": "desk"}, status=201)
        await placed(here, 2)
        read = await here.get("/events", event_types="external.*")
        one = await here.get(f"/events/{told['events'][0]['event_id']}")
        about = await here.get("/events", subject="desk-1")

        assert [event["event_id"] for event in read["events"]] == [event["event_id"] for event in told["events"]]
        assert [event["stream_version"] for event in read["events"]] == [1, 2]
        assert (one["data"], one["stream"], one["subject"]) == (OPENED["data"], "external-desk", "desk-1")
        assert about["events"] == [one]
        assert (await here.get(f"/events/{one['position']}")) == one

    async def test_with_a_key_it_is_told_once_however_often_and_at_once_it_is_sent(self, here: Worker) -> None:
        headers = {"Idempotency-Key": "opening-1"}
        body = {"events": [OPENED, CLOSED]}
        answers = await asyncio.gather(
            *(here.post("/events/publish", body, status=201, headers=headers) for _ in range(6))
        )
        other = await here.post("/events/publish", {"events": [CLOSED]}, status=409, headers=headers)
        changed = {"events": [OPENED | {"data": {"desk": "futures"}}, CLOSED]}
        another = await here.post("/events/publish", changed, status=409, headers=headers)
        without = await here.post("/events/publish", body, status=201)

        assert all(answer == answers[0] for answer in answers)
        assert other["type"] == another["type"] == "/problems/PublishedOtherwise"
        assert without["events"] != answers[0]["events"]
        async with here.database.transaction(read_only=True) as tx:
            row = await (await tx.execute("select count(*) from events where type like 'external.%'")).fetchone()
        assert row == (4,)

    @pytest.mark.parametrize(
        ("changed", "status", "problem"),
        [
            ({"event_type": "instrument.delisted"}, 403, "InternalType"),
            ({"event_type": "externals.tick"}, 403, "InternalType"),
            ({"event_type": "external.*"}, 422, "Invalid"),
            ({"event_type": "external.Tick"}, 422, "Invalid"),
            ({"event_type": "external." + "x" * 100}, 422, "InvalidRequest"),
            ({"data": [1]}, 422, "InvalidRequest"),
            ({"data": {"long": "x" * 70_000}}, 422, "Invalid"),
            ({"occurred_at": "2026-08-18T09:00:00"}, 422, "InvalidRequest"),
            ({"position": 1}, 422, "InvalidRequest"),
        ],
    )
    async def test_what_cannot_be_told_is_refused_and_nothing_is(
        self, here: Worker, changed: dict[str, object], status: int, problem: str
    ) -> None:
        told = await here.post("/events/publish", {"events": [OPENED, OPENED | changed]}, status=status)

        assert told["type"] == f"/problems/{problem}"
        async with here.database.transaction(read_only=True) as tx:
            assert await (await tx.execute("select 1 from events where type like 'external.%'")).fetchone() is None

    async def test_data_may_be_deep_and_odd_but_not_bottomless(self, here: Worker) -> None:
        odd = {"big": 12345678901234567890123, "tiny": -0.0, "": None, "nested": {"a": [[{}]]}, "text": "\u2028 \x7f"}
        await here.post("/events/publish", {"events": [OPENED | {"data": odd}]}, status=201)
        bottomless: dict[str, object] = {}
        for _ in range(40):
            bottomless = {"in": bottomless}
        await here.post("/events/publish", {"events": [OPENED | {"data": bottomless}]}, status=422)

        await placed(here, 1)
        assert (await here.get("/events"))["events"][-1]["data"] == odd

    async def test_a_reader_publishes_and_moves_nothing(self, here: Worker) -> None:
        async with here.database.transaction() as tx:
            _, key = await service.create_key(tx, name="reader", scope=Scope.READER, metadata=METADATA, at=AT)
        headers = {"X-Internal-API-Key": key}

        await here.post("/events/publish", {"events": [OPENED]}, status=403, headers=headers)
        await here.post("/consumers", {"consumer_id": "mine"}, status=201, headers=headers)
        await here.post("/consumers/mine/seek", {"from": 1, "reason": "No"}, status=403, headers=headers)


class TestReading:
    async def test_pages_lead_through_everything_once(self, here: Worker) -> None:
        await tell_each(here.database, range(7))
        await placed(here, 8)
        seen: list[int] = []
        query: dict[str, object] = {"event_types": "external.tick", "limit": 3}
        while True:
            page = await here.get("/events", **query)
            seen += [event["data"]["n"] for event in page["events"]]
            if (cursor := page["pagination"]["next_cursor"]) is None:
                break
            query["cursor"] = cursor
        await tell_each(here.database, range(7, 9))
        await placed(here, page["position"] + 2)
        later = await here.get("/events", after=page["position"])

        assert seen == list(range(7))
        assert [event["data"]["n"] for event in later["events"]] == [7, 8]

    async def test_times_and_streams_choose(self, here: Worker) -> None:
        await tell(here.database, said(1), stream="external-a")
        await tell(here.database, said(2), stream="external-b")
        await placed(here, 3)
        everything = (await here.get("/events", event_types="external.*"))["events"]
        second = everything[1]["recorded_at"]

        def numbers(page: dict) -> list[int]:
            return [event["data"]["n"] for event in page["events"]]

        assert numbers(await here.get("/events", **{"from": second})) == [2]
        assert numbers(await here.get("/events", event_types="external.*", to=everything[0]["recorded_at"])) == [1]
        assert numbers(await here.get("/events", stream="external-b")) == [2]
        assert numbers(await here.get("/events", stream="external-b", event_types="instrument.*")) == []
        await here.get("/events/00000000-0000-0000-0000-000000000000", status=404)
        await here.get("/events/999999", status=404)
        await here.get("/events/nonsense", status=404)

    async def test_a_position_that_does_not_exist_yet_and_a_filter_that_is_none_are_refused(self, here: Worker) -> None:
        async with here.http.post(f"{PREFIX}/events/stream", json={"from": 5000}) as answer:
            beyond = await answer.json()
        async with here.http.post(f"{PREFIX}/events/stream", json={"event_types": ["*.listed"]}) as answer:
            odd = await answer.json()

        assert (beyond["status"], beyond["type"]) == (422, "/problems/BeyondTheEnd")
        assert (odd["status"], odd["type"]) == (422, "/problems/BadFilter")


class TestServerSentEvents:
    async def test_whoever_comes_again_with_the_last_id_misses_nothing(self, here: Worker) -> None:
        await tell_each(here.database, range(4))
        await placed(here, 5)
        query = {"from": "earliest", "event_types": "external.tick"}
        async with here.http.get(f"{PREFIX}/events/stream", params=query) as answer:
            first = [await sent(answer.content) for _ in range(2)]
            media = answer.headers["content-type"]
        headers = {"Last-Event-ID": first[-1]["id"]}
        async with here.http.get(f"{PREFIX}/events/stream", params=query, headers=headers) as answer:
            second = [await sent(answer.content) for _ in range(2)]

        assert media.startswith("text/event-stream")
        assert [part["event"] for part in first] == ["external.tick"] * 2
        assert [f'"n": {n}' in part["data"] for n, part in enumerate(first + second)] == [True] * 4
        assert (await here.get("/consumers"))["consumers"] == []

    async def test_a_consumer_is_served_the_same_way_and_keeps_its_place_by_acknowledging(self, here: Worker) -> None:
        await tell_each(here.database, range(2))
        query = {"from": "earliest", "event_types": "external.tick", "consumer_id": "browser"}
        async with here.http.get(f"{PREFIX}/events/stream", params=query) as answer:
            first = await sent(answer.content)
            await here.acknowledge("browser", int(first["id"]))
        async with here.http.get(f"{PREFIX}/events/stream", params=query) as answer:
            second = await sent(answer.content)

        assert ('"n": 0' in first["data"], '"n": 1' in second["data"]) == (True, True)

    async def test_it_is_sent_as_it_comes_also_to_who_takes_compressed_answers(self, here: Worker) -> None:
        headers, asked = {"Accept-Encoding": "gzip, zstd"}, {"from": "earliest", "event_types": ["external.*"]}
        async with here.http.post(f"{PREFIX}/events/stream", json=asked, headers=headers) as answer:
            stream = Lines(answer)
            await stream.line()
            await tell_each(here.database, range(1))
            event = await stream.event(within_seconds=5)

        assert "content-encoding" not in answer.headers
        assert event["data"] == {"n": 0}

    async def test_a_head_request_ends(self, here: Worker) -> None:
        async with asyncio.timeout(5), here.http.head(f"{PREFIX}/events/stream") as answer:
            assert answer.status == 200


class TestEnds:
    async def test_streams_end_at_once_when_the_worker_stops(self, here: Worker) -> None:
        async with here.stream(**{"from": "latest"}) as stream:
            await stream.line()
            here.server.config.app.state.flows.end()
            ended = await stream.end(within_seconds=2)

        assert ended == "stopping"

    async def test_a_key_that_is_revoked_ends_its_streams(self, here: Worker) -> None:
        async with here.stream(**{"from": "latest"}) as stream:
            await stream.line()
            async with here.database.transaction() as tx:
                await service.revoke_key(tx, here.key.split("_")[1], metadata=METADATA, at=AT)
            await asyncio.sleep(2.1)  # keys are believed so long
            await tell(here.database, said(1))
            ended = await stream.end(within_seconds=10)

        assert ended == "refused"


class TestRuns:
    async def test_single_facts_of_a_bulk_run_go_to_who_asks_and_the_others_are_told_where_they_are(
        self, here: Worker
    ) -> None:
        facts = [listed(n) for n in range(model.BULK_FACTS + 1)]
        async with here.database.transaction() as tx:
            run = await events.append(tx, *facts, stream="ingestion-1", metadata=METADATA)
            summary = IngestionApplied(
                occurred_at=AT, ingestion=1, broker="dhan", feed="dhan", market_date="2026-08-18",
                counts={"listed": len(facts)}, rows=len(facts), first_version=run.first_version,
                last_version=run.version,
            )  # fmt: skip
            await events.append(tx, summary, stream="ingestion-1", metadata=METADATA)
        await events.wake(here.database)
        await placed(here, len(facts) + 2)
        kinds = ["instrument.*", "ingestion.*"]
        async with here.stream(event_types=kinds, **{"from": "earliest"}, follow=False) as stream:
            applied = await stream.event()
            alone = await stream.end()
        async with here.stream(event_types=kinds, **{"from": "earliest"}, bulk=True) as stream:
            single = await stream.event()

        assert (applied["event_type"], alone) == ("ingestion.applied", "caught_up")
        assert applied["data"]["counts"] == {"listed": len(facts)}
        assert applied["run"]["to"] - applied["run"]["from"] == len(facts) - 1
        assert (single["event_type"], single["position"]) == ("instrument.listed", applied["run"]["from"])

    async def test_who_asks_for_updates_gets_every_fact_but_listed_under_that_name(self, here: Worker) -> None:
        await tell(here.database, listed(1), listed(2, InstrumentDelisted), stream="i-1")
        async with here.stream(event_types=["instrument.updated"], **{"from": "earliest"}) as stream:
            event = await stream.event()

        assert (event["event_type"], event["data"]) == ("instrument.updated", {"instrument_id": "I2"})

    async def test_a_consumer_begins_at_an_instant(self, here: Worker) -> None:
        await tell(here.database, renamed())
        await tell_each(here.database, range(2))
        await placed(here, 4)
        second = (await here.get("/events", event_types="external.tick"))["events"][1]
        async with here.stream(consumer_id="late", **{"from": second["recorded_at"]}) as stream:
            event = await stream.event()
        standing = await here.get("/consumers/late")

        assert event["data"] == {"n": 1}
        assert standing["position"] == second["position"] - 1


async def sent(content: object) -> dict[str, str]:
    """The next event of a stream of Server-Sent Events, signs of life left out."""
    while True:
        part: dict[str, str] = {}
        while line := (await content.readline()).decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            part[name] = value
        if part.get("event") != "heartbeat":
            return part


class TestArchives:
    async def test_who_wants_to_begin_in_an_archive_is_told_which_and_where_to_begin_instead(
        self, here: Worker, database_urls: DatabaseUrls
    ) -> None:
        await tell_each(here.database, range(4))
        await placed(here, 5)
        with psycopg.connect(database_urls.owner) as owner:
            owner.execute(ARCHIVED)
        asked = [
            here.post("/events/stream", {"from": 2}, status=410),
            here.post("/events/stream", {"from": 2, "consumer_id": "late"}, status=410),
            here.post("/consumers", {"consumer_id": "late", "from": 3}, status=410),
            here.get("/events", after=1, status=410),
            here.get("/events/3", status=410),
        ]
        answers = [await one for one in asked]
        async with here.stream(**{"from": "earliest"}) as stream:
            first = await stream.event()

        assert {(one["type"], one["archive"], one["oldest_position"]) for one in answers} == {
            ("/problems/Archived", "events_2001_02", 4)
        }
        assert first["position"] == 4
        await here.get("/consumers/late", status=404)
