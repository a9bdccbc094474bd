"""The Python consumer, both forms of it, against a worker on a socket."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from instrument_registry.consumer import AsyncConsumer, Consumer, Event, Subscription, consume, consume_async
from instrument_registry.database import Database
from instrument_registry.errors import NotFound, Unauthorized
from instrument_registry.http.routes import PREFIX
from streaming import Worker, said, tell, tell_each, worker

TICKS = {"consumer_id": "ticker", "event_types": ["external.*"], "start": "earliest"}


@pytest_asyncio.fixture
async def here(database: Database, tmp_path: Path) -> AsyncIterator[Worker]:
    async with worker(database, tmp_path) as one:
        yield one


def number(event: Event) -> int:
    return event.data["n"]


class TestALoop:
    """Each in both colours: the waiting one runs in a thread."""

    async def test_asking_for_the_next_acknowledges_the_one_before_and_leaving_does_not(self, here: Worker) -> None:
        await tell(here.database, *(said(n) for n in range(10)))

        def first() -> list[int]:
            seen = []
            for event in consume(here.url, here.key, **TICKS):
                seen.append(number(event))
                if len(seen) == 4:
                    break
            return seen

        seen = await asyncio.to_thread(first)
        standing = await here.get("/consumers/ticker")
        async with contextlib.aclosing(consume_async(here.url, here.key, **TICKS, follow=False)) as events:
            again = [(number(event), event.attempt) async for event in events]

        assert seen == [0, 1, 2, 3]
        assert (standing["held"], standing["waiting"]) == (0, 7)
        # The fourth had been begun, the others not even looked at.
        assert again == [(3, 2), *((n, 1) for n in range(4, 10))]

    async def test_an_exception_in_the_loop_acknowledges_nothing(self, here: Worker) -> None:
        await tell_each(here.database, range(3))

        with pytest.raises(ZeroDivisionError):
            async with contextlib.aclosing(consume_async(here.url, here.key, **TICKS)) as events:
                async for event in events:
                    1 / (1 - number(event))
        standing = await here.get("/consumers/ticker")

        assert (standing["held"], standing["waiting"]) == (0, 2)

    async def test_both_see_the_same(self, here: Worker) -> None:
        await tell(here.database, *(said(n) for n in range(30)))
        waiting = await asyncio.to_thread(
            lambda: [number(one) for one in consume(here.url, here.key, **TICKS, follow=False)]
        )
        other = TICKS | {"consumer_id": "other"}
        async with contextlib.aclosing(consume_async(here.url, here.key, **other, follow=False)) as events:
            looping = [number(one) async for one in events]

        assert waiting == looping == list(range(30))
        standing = await here.get("/consumers/other")
        assert (standing["lag"], standing["held"], standing["waiting"]) == (0, 0, 0)

    async def test_a_key_that_is_none_and_a_consumer_that_goes_are_told(self, here: Worker) -> None:
        with pytest.raises(Unauthorized):
            await anext(consume_async(here.url, "irk_nobody", **TICKS))

        async def follow() -> None:
            async for _ in consume_async(here.url, here.key, **TICKS):
                pass

        following = asyncio.create_task(follow())
        while True:
            async with here.http.get(f"{PREFIX}/consumers/ticker") as answer:
                if answer.status == 200 and (await answer.json())["processes"]:
                    break
            await asyncio.sleep(0.01)
        async with here.http.delete(f"{PREFIX}/consumers/ticker", params={"reason": "Gone"}) as answer:
            assert answer.status == 200
        with pytest.raises(NotFound):
            await following


class TestAHandler:
    async def test_one_that_always_raises_for_an_event_never_stops_the_others(self, here: Worker) -> None:
        await tell_each(here.database, range(8))
        seen: list[tuple[int, int]] = []
        consumer = Consumer(here.url, here.key, Subscription(**TICKS))

        def handle(event: Event) -> None:
            seen.append((number(event), event.attempt))
            if number(event) in (2, 5):
                raise ValueError(f"Cannot digest {number(event)}")
            if len(seen) >= 12:
                consumer.stop()

        thread = threading.Thread(target=consumer.run, args=(handle,))
        thread.start()
        while (await here.get("/events/health"))["dead_letters"] < 2:
            await asyncio.sleep(0.02)
        consumer.stop()
        await asyncio.to_thread(thread.join, 20)
        letters = (await here.get("/events/dlq/external.tick"))["dead_letters"]
        standing = await here.get("/consumers/ticker")

        assert not thread.is_alive()
        assert sorted(seen) == sorted([*((n, 1) for n in range(8)), *((n, again) for n in (2, 5) for again in (2, 3))])
        assert [(one["reason"], one["failures"][-1]["detail"]) for one in letters] == [
            ("ValueError", "Cannot digest 2"),
            ("ValueError", "Cannot digest 5"),
        ]
        assert (standing["held"], standing["waiting"], standing["lag"]) == (0, 0, 0)

    async def test_the_same_in_a_loop_of_events(self, here: Worker) -> None:
        await tell_each(here.database, range(4))
        seen: list[int] = []
        consumer = AsyncConsumer(here.url, here.key, Subscription(**TICKS, follow=False))

        async def handle(event: Event) -> None:
            seen.append(number(event))
            if number(event) == 1:
                raise ValueError("Never")

        await consumer.run(handle)

        assert sorted(seen) == [0, 1, 1, 1, 2, 3]
        assert (await here.get("/events/dlq"))["groups"][0]["reason"] == "ValueError"
