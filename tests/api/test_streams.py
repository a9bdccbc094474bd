"""Streams for consumers: nothing lost, nothing in the way of others, not more than can be digested."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from instrument_registry.database import Database
from instrument_registry.events.streams import dead_letters
from instrument_registry.events.streams.model import Letters
from instrument_registry.http.routes import PREFIX
from streaming import Worker, said, tell, tell_each, worker

TICKS = {"consumer_id": "ticker", "event_types": ["external.*"], "from": "earliest"}


@pytest_asyncio.fixture
async def here(database: Database, tmp_path: Path) -> AsyncIterator[Worker]:
    async with worker(database, tmp_path) as one:
        yield one


def numbers(lines: list[dict]) -> list[int]:
    return [line["data"]["n"] for line in lines]


class TestFollowing:
    async def test_what_is_there_comes_first_and_what_is_told_then_comes_at_once(self, here: Worker) -> None:
        await tell_each(here.database, range(3))
        async with here.stream(**TICKS) as stream:
            first = await stream.take(3)
            await tell_each(here.database, range(3, 5))
            second = await stream.take(2)

        assert numbers(first + second) == [0, 1, 2, 3, 4]
        assert [line["attempt"] for line in first] == [1, 1, 1]
        assert {"event_type", "data", "position", "event_id", "stream", "subject", "recorded_at"} <= first[0].keys()
        assert stream.beats[0]["event_type"] == "heartbeat"

    async def test_what_is_acknowledged_does_not_come_again_and_the_rest_does(self, here: Worker) -> None:
        await tell_each(here.database, range(4))
        async with here.stream(**TICKS) as stream:
            lines = await stream.take(4)
            told = await here.acknowledge("ticker", lines[0]["position"], lines[2]["position"])
        async with here.stream(consumer_id="ticker") as stream:
            again = [await stream.event()]
            await here.acknowledge("ticker", again[0]["position"])
            again.append(await stream.event())

        assert (told["acknowledged"], told["unknown"]) == (2, [])
        assert told["position"] == lines[1]["position"] - 1
        assert numbers(again) == [1, 3]
        assert [line["attempt"] for line in again] == [2, 2]

    async def test_no_more_than_the_batch_is_in_hand_at_once(self, here: Worker) -> None:
        await tell(here.database, *(said(n) for n in range(10)))
        async with here.stream(**TICKS, batch_size=4) as stream:
            first = await stream.take(4)
            stopped = await stream.none_within(1.5)
            await here.acknowledge("ticker", up_to=first[2]["position"])
            second = await stream.take(3)
            standing = await here.get("/consumers/ticker")

        assert stopped
        assert numbers(first + second) == list(range(7))
        assert (standing["held"], standing["waiting"]) == (4, 0)

    async def test_filters_choose_and_names_are_those_asked_for(self, here: Worker) -> None:
        await tell_each(here.database, range(2), "external.other")
        await tell_each(here.database, range(2), "external.tick")
        async with here.stream(**TICKS | {"event_types": ["external.tick"]}) as stream:
            lines = await stream.take(2)
            await here.acknowledge("ticker", *(line["position"] for line in lines))
            standing = await here.get("/consumers/ticker")

        assert {line["event_type"] for line in lines} == {"external.tick"}
        assert (standing["position"] >= lines[-1]["position"], standing["held"]) == (True, 0)

    async def test_what_is_not_said_again_stays_and_what_is_said_changes_it(self, here: Worker) -> None:
        async with here.stream(**TICKS) as stream:
            await stream.line()
            async with here.stream(consumer_id="ticker", event_types=["external.tick"], bulk=True) as changed:
                await changed.line()
        async with here.stream(consumer_id="ticker") as stream:
            await stream.line()
        standing = await here.get("/consumers/ticker")
        told = await here.get("/events", stream="consumer-ticker")

        assert (standing["event_types"], standing["bulk"], standing["shared"]) == (["external.tick"], True, False)
        assert [one["event_type"] for one in told["events"]] == ["consumer.created", "consumer.filter_changed"]

    async def test_without_following_it_ends_when_all_is_settled(self, here: Worker) -> None:
        await tell_each(here.database, range(2))
        async with here.stream(**TICKS, follow=False) as stream:
            lines = await stream.take(2)
            await here.acknowledge("ticker", up_to=lines[-1]["position"])
            ended = await stream.end()

        assert ended == "caught_up"


class TestFailures:
    async def test_a_poison_event_comes_three_times_and_is_then_a_dead_letter_while_others_pass(
        self, here: Worker
    ) -> None:
        await tell_each(here.database, range(6))
        done, attempts = [], []
        async with here.stream(**TICKS) as stream:
            while len(done) < 5 or len(attempts) < 3:
                line = await stream.event()
                if line["data"]["n"] == 2:
                    attempts.append(line["attempt"])
                    failed = [{"position": line["position"], "reason": "ValueError", "detail": "two"}]
                    await here.acknowledge("ticker", failed=failed)
                else:
                    done.append(line["data"]["n"])
                    await here.acknowledge("ticker", line["position"])
            nothing = await stream.none_within(0.3)
        standing = await here.get("/consumers/ticker")
        letters = (await here.get("/events/dlq/external.tick"))["dead_letters"]

        assert (sorted(done), attempts, nothing) == ([0, 1, 3, 4, 5], [1, 2, 3], True)
        assert [(one["reason"], one["attempts"], len(one["failures"])) for one in letters] == [("ValueError", 3, 3)]
        assert (standing["lag"], standing["held"], standing["waiting"], standing["dead_letters"]) == (0, 0, 0, 1)

    async def test_of_a_batch_that_came_back_without_a_word_only_the_guilty_dies(self, here: Worker) -> None:
        """A consumer that dies at one event dies with its whole batch: blame for all would bury the innocent."""
        await tell(here.database, *(said(n) for n in range(20)))
        done, deaths = set(), 0
        while len(done) < 19 and deaths < 10:
            async with here.stream(**TICKS) as stream:
                while len(done) < 19:
                    line = await stream.event()
                    if line["data"]["n"] == 5:
                        deaths += 1
                        break  # killed: nothing is said
                    done.add(line["data"]["n"])
                    await here.acknowledge("ticker", line["position"])
        async with here.stream(consumer_id="ticker", follow=False) as stream:
            await stream.end()
        letters = (await here.get("/events/dlq/external.tick"))["dead_letters"]

        assert done == set(range(20)) - {5}
        assert deaths <= 3
        assert [(one["reason"], one["attempts"]) for one in letters] == [("never acknowledged", 3)]

    async def test_what_was_never_looked_at_counts_as_no_attempt(self, here: Worker) -> None:
        await tell(here.database, *(said(n) for n in range(3)))
        async with here.stream(**TICKS) as stream:
            lines = await stream.take(3)
            await here.acknowledge("ticker", unread=[line["position"] for line in lines[1:]])
            again = await stream.none_within(0.3)
            await here.acknowledge("ticker", lines[0]["position"])
            second = await stream.take(2)

        assert again  # they come once nothing else is in hand
        assert [line["attempt"] for line in second] == [1, 1]

    async def test_who_says_nothing_for_too_long_is_let_go(self, here: Worker) -> None:
        await tell_each(here.database, range(1))
        async with here.stream(**TICKS, acknowledge_within_seconds=1) as stream:
            await stream.event()
            reason = await stream.end()
        async with here.stream(consumer_id="ticker") as stream:
            again = await stream.event()

        assert reason == "unacknowledged"
        assert again["attempt"] == 2


class TestProcesses:
    async def test_one_is_served_and_the_other_stands_by_until_it_leaves(self, here: Worker) -> None:
        await tell_each(here.database, range(1))
        async with here.stream(**TICKS, process="one") as first:
            await first.event()
            async with here.stream(consumer_id="ticker", process="two") as second:
                beat = await second.line()
                first.answer.close()
                taken = await second.event()

        assert beat["standby"] is True
        assert (taken["data"], taken["attempt"]) == ({"n": 0}, 2)

    async def test_the_same_process_takes_its_place_back_at_once(self, here: Worker) -> None:
        await tell_each(here.database, range(1))
        async with here.stream(**TICKS, process="one") as first:
            await first.event()
            async with here.stream(consumer_id="ticker", process="one") as second:
                again = await second.event()
                ended = await first.end()

        assert again["attempt"] == 2
        assert ended == "elsewhere"

    async def test_two_that_share_get_each_event_once(self, here: Worker) -> None:
        await tell(here.database, *(said(n) for n in range(40)))
        seen: list[int] = []

        async def work(process: str) -> int:
            mine = 0
            async with here.stream(**TICKS, shared=True, process=process, batch_size=4) as stream:
                while len(seen) < 40:
                    try:
                        line = await stream.event(within_seconds=2)
                    except TimeoutError:
                        break
                    seen.append(line["data"]["n"])
                    mine += 1
                    await asyncio.sleep(0.005)
                    await here.acknowledge("ticker", line["position"])
            return mine

        shares = await asyncio.gather(work("one"), work("two"))

        assert sorted(seen) == list(range(40))
        assert min(shares) > 4


class TestOperators:
    async def test_seeking_back_brings_everything_again_to_whoever_is_being_served(self, here: Worker) -> None:
        await tell_each(here.database, range(3))
        async with here.stream(**TICKS) as stream:
            lines = await stream.take(3)
            await here.acknowledge("ticker", up_to=lines[-1]["position"])
            body = {"from": lines[1]["position"], "reason": "The ticker lost two"}
            sought = await here.post("/consumers/ticker/seek", body)
            again = await stream.take(2)
        told = await here.get("/events", stream="consumer-ticker")

        assert sought["position"] == lines[0]["position"]
        assert numbers(again) == [1, 2]
        assert [one["event_type"] for one in told["events"]] == ["consumer.created", "consumer.sought"]
        assert told["events"][-1]["data"]["reason"] == "The ticker lost two"

    async def test_a_removed_consumer_is_told_so(self, here: Worker) -> None:
        async with here.stream(**TICKS) as stream:
            await stream.line()
            async with here.http.delete(f"{PREFIX}/consumers/ticker", params={"reason": "Gone"}) as answer:
                status = answer.status
            ended = await stream.end()

        assert (status, ended) == (200, "removed")
        await here.get("/consumers/ticker", status=404)

    async def test_exactly_one_dead_letter_is_tried_again(self, here: Worker) -> None:
        """The predecessor took the wrong message off its list."""
        await tell_each(here.database, range(3))
        async with here.stream(**TICKS) as stream:
            for _ in range(9):
                line = await stream.event()
                failed = [{"position": line["position"], "reason": "Bad"}]
                await here.acknowledge("ticker", failed=failed)
            letters = (await here.get("/events/dlq/external.tick"))["dead_letters"]
            middle = letters[1]
            path = f"/events/dlq/external.tick/reprocess/{middle['id']}"
            await here.post(path.replace("tick/", "other/"), {"reason": "Mended"}, status=404)
            await here.post(path, {"reason": "Mended"})
            again = await stream.event()
            await here.acknowledge("ticker", again["position"])
            nothing = await stream.none_within(0.3)
        left = (await here.get("/events/dlq/external.tick"))["dead_letters"]

        assert (again["position"], again["event_id"]) == (middle["position"], middle["event_id"])
        assert nothing
        assert [one["id"] for one in left] == [letters[0]["id"], letters[2]["id"]]
        await here.post(path, {"reason": "Once more"}, status=404)

    async def test_many_are_counted_first_and_tried_again_only_if_the_count_still_holds(self, here: Worker) -> None:
        await tell_each(here.database, range(2))
        async with here.stream(**TICKS) as stream:
            for _ in range(6):
                line = await stream.event()
                await here.acknowledge("ticker", failed=[{"position": line["position"], "reason": "Bad"}])
        meant = {"reason": "Mended", "event_type": "external.tick", "failure": "Bad"}
        counted = await here.post("/events/dlq/replay", meant)
        await here.post("/events/dlq/replay", meant | {"dry_run": False, "expected": 1}, status=409)
        async with here.database.transaction(read_only=True) as tx:
            untouched = await dead_letters.count(tx, Letters())
        done = await here.post("/events/dlq/replay", meant | {"dry_run": False, "expected": 2})
        async with here.stream(consumer_id="ticker") as stream:
            again = await stream.take(2)

        assert (counted["count"], counted["done"], untouched, len(done["done"])) == (2, [], 2, 2)
        assert sorted(numbers(again)) == [0, 1]
