"""What consumers hold and what becomes of it: who takes over, what is counted, told and let go of."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from facts import AT, METADATA, catch_up
from instrument_registry import events
from instrument_registry.database import Database
from instrument_registry.events.streams import consumers, dead_letters, delivering, measures
from instrument_registry.events.streams.delivering import Step
from instrument_registry.events.streams.model import Failed, Hold, Letters, OtherCount, Retrying, Wanted
from instrument_registry.workers.consumers import look_after
from streaming import registry_of, said

RETRYING = Retrying(attempts_max=3, first_wait_seconds=0.0)
TICKS = Wanted(event_types=("external.*",))


async def told(database: Database, count: int) -> None:
    """So many ticks, and a consumer called ticker that begins at the first."""
    async with database.transaction() as tx:
        await events.append(tx, *(said(n) for n in range(count)), stream="external-tests", metadata=METADATA)
        await consumers.create(tx, "ticker", TICKS, start="earliest", metadata=METADATA, at=AT)
    await catch_up(database)


async def opened(database: Database, process: str, *, lease_seconds: float = 15.0) -> Hold:
    async with database.transaction() as tx:
        held = await delivering.hold(
            tx, "ticker", process=process, batch_size=100, stream_id=uuid4(), lease_seconds=lease_seconds
        )
    assert held is not None
    return held


async def step(database: Database, held: Hold) -> Step | None:
    async with database.transaction() as tx:
        ahead = await delivering.look_ahead(tx, held, after=held.reached)
        return await delivering.hand_out(tx, held, ahead, retrying=RETRYING)


async def handed(database: Database, held: Hold) -> list[tuple[int, int]]:
    """Number and attempt of what is handed out now."""
    found = await step(database, held)
    assert found is not None
    return [(int(one.event.data.partition(": ")[2][:-1]), one.attempt) for one in found.handed]


async def settle(database: Database, *positions: int, **more: object) -> None:
    async with database.transaction() as tx:
        await delivering.acknowledge(tx, "ticker", positions=positions, retrying=RETRYING, at=AT, **more)


async def standing(database: Database) -> tuple[int, int, int, int]:
    async with database.transaction(read_only=True) as tx:
        one = await consumers.find(tx, "ticker")
    return one.lag, one.held, one.waiting, one.dead_letters


class TestHands:
    async def test_a_place_that_is_not_renewed_is_lost_to_whoever_comes_and_what_was_in_hand_comes_again(
        self, database: Database
    ) -> None:
        await told(database, 3)
        dead = await opened(database, "dead", lease_seconds=0.0)
        alive = await opened(database, "alive", lease_seconds=0.05)

        assert await step(database, dead) is None
        assert await handed(database, alive) == [(0, 1), (1, 1), (2, 1)]

    async def test_two_hands_at_once_are_refused(self, database: Database) -> None:
        await told(database, 1)
        await opened(database, "one")
        async with database.transaction() as tx:
            second = await delivering.hold(tx, "ticker", process="two", batch_size=1, stream_id=uuid4())

        assert second is None

    async def test_what_comes_back_goes_out_alone_and_in_order(self, database: Database) -> None:
        await told(database, 3)
        assert await handed(database, await opened(database, "one")) == [(0, 1), (1, 1), (2, 1)]

        again = await opened(database, "one")  # the same process, after a crash
        first = await handed(database, again)
        meanwhile = await handed(database, again)
        await settle(database, 1)
        second = await handed(database, again)

        assert (first, meanwhile, second) == ([(0, 2)], [], [(1, 2)])

    async def test_only_what_was_alone_each_last_time_is_buried(self, database: Database) -> None:
        await told(database, 3)
        for _ in range(3):  # each crash at the first
            await handed(database, await opened(database, "one"))
        last = await opened(database, "one")
        await step(database, last)

        assert await handed(database, last) == [(1, 2)]
        assert await standing(database) == (2, 1, 1, 1)

    async def test_what_was_not_looked_at_goes_out_together_as_if_for_the_first_time(self, database: Database) -> None:
        await told(database, 4)
        held = await opened(database, "one")
        await handed(database, held)
        await settle(database, process="one", leaving=True, begun=[1])
        lost = await step(database, held)
        again = await opened(database, "one")
        first = await handed(database, again)
        await settle(database, 1)

        assert (lost, first) == (None, [(0, 2)])
        assert await handed(database, again) == [(1, 1), (2, 1), (3, 1)]

    async def test_acknowledging_up_to_a_position_leaves_what_waits_for_another_try(self, database: Database) -> None:
        await told(database, 4)
        held = await opened(database, "one")
        await handed(database, held)
        await settle(database, failed=[Failed(2, "Bad")])
        await settle(database, up_to=3)

        assert (await standing(database))[1:] == (1, 1, 0)
        await settle(database, 4)
        assert await handed(database, held) == [(1, 2)]


class TestDeadLetters:
    async def test_a_letter_that_dies_again_keeps_its_whole_history(self, database: Database) -> None:
        await told(database, 1)
        held = await opened(database, "one")
        for attempt in range(3):
            await handed(database, held)
            await settle(database, failed=[Failed(1, f"Bad {attempt}", "because")])
        async with database.transaction() as tx:
            (letter,) = await dead_letters.listed(tx, Letters())
            await dead_letters.replay(tx, "external.tick", letter.id, reason="Mended", metadata=METADATA, at=AT)
        for _ in range(3):
            await handed(database, held)
            await settle(database, failed=[Failed(1, "Worse")])
        async with database.transaction(read_only=True) as tx:
            (again,) = await dead_letters.listed(tx, Letters())
            replayed = await events.read_stream(tx, "dead_letters")

        assert [failure["reason"] for failure in again.failures] == ["Bad 0", "Bad 1", "Bad 2", *["Worse"] * 3]
        assert (again.reason, again.attempts, again.position) == ("Worse", 3, 1)
        assert [(one.type, one.metadata.actor) for one in replayed] == [("dead_letter.replayed", "tests")]

    async def test_one_that_is_ahead_of_its_consumer_again_comes_once(self, database: Database) -> None:
        await buried(database, 2)
        async with database.transaction() as tx:
            await consumers.seek(tx, "ticker", 1, reason="All again", metadata=METADATA, at=AT)
            await dead_letters.replay_many(tx, Letters(), expected=2, reason="Mended", metadata=METADATA, at=AT)

        held = await opened(database, "two")
        assert [await handed(database, held) for _ in range(2)] == [[(0, 1), (1, 1)], []]

    async def test_a_discarded_one_is_gone_and_says_why(self, database: Database) -> None:
        await buried(database, 3)
        async with database.transaction() as tx:
            with pytest.raises(OtherCount):
                await dead_letters.discard(
                    tx, Letters(reason="Bad"), expected=2, reason="Old", metadata=METADATA, at=AT
                )
            await dead_letters.discard(tx, Letters(reason="Bad"), expected=3, reason="Old", metadata=METADATA, at=AT)
            told_of = await events.read_stream(tx, "dead_letters")

        assert await standing(database) == (0, 0, 0, 0)
        assert [one.type for one in told_of] == ["dead_letter.discarded"]
        assert '"reason":"Old"' in told_of[0].data

    async def test_after_their_time_they_are_let_go_of_and_one_fact_says_how_many(
        self, database: Database, tmp_path: Path
    ) -> None:
        await buried(database, 3)
        later = datetime.now(UTC) + timedelta(hours=71)
        await look_after(registry_of(database, tmp_path, now=later))
        kept = (await standing(database))[3]
        await look_after(registry_of(database, tmp_path, now=later + timedelta(hours=2)))
        async with database.transaction(read_only=True) as tx:
            told_of = await events.read_stream(tx, "dead_letters")

        assert (kept, (await standing(database))[3]) == (3, 0)
        assert [one.type for one in told_of] == ["dead_letter.expired"]
        assert '"count":3' in told_of[0].data
        assert '"by_consumer":{"ticker":3}' in told_of[0].data


class TestSilence:
    async def test_it_is_told_once_and_again_only_after_a_word(self, database: Database, tmp_path: Path) -> None:
        await told(database, 1)
        registry = registry_of(database, tmp_path, now=AT)
        await look_after(registry)
        for _ in range(2):
            await a_week_passes(database)
            for _ in range(2):
                await look_after(registry)
            await opened(database, "one")
        async with database.transaction(read_only=True) as tx:
            told_of = await events.read_stream(tx, "consumer-ticker")

        assert [one.type for one in told_of] == ["consumer.created", "consumer.silent", "consumer.silent"]


class TestGauges:
    async def test_they_say_what_the_tables_say(self, database: Database) -> None:
        await told(database, 5)
        held = await opened(database, "one")
        await handed(database, held)
        await settle(database, 1, failed=[Failed(2, "Bad")])
        async with database.transaction() as tx:
            await tx.execute("update deliveries set attempts = 3 where position = 3")
        await settle(database, failed=[Failed(3, "Worse")])
        async with database.transaction(read_only=True) as tx:
            await measures.measure(tx, silent_days=1)
            row = await (
                await tx.execute(
                    """
                    select (select max(position + facts - 1) from positions) - reached
                           + (select count(*) from deliveries d where d.consumer_id = c.consumer_id),
                           (select count(*) from deliveries d where d.stream_id is not null),
                           (select count(*) from deliveries d where d.stream_id is null),
                           (select count(*) from dead_letters)
                      from consumers c
                    """
                )
            ).fetchone()
        seen = [
            REGISTRY.get_sample_value(f"instrument_registry_consumer_{name}", {"consumer": "ticker"})
            for name in ("lag", "held", "waiting")
        ]
        dead = REGISTRY.get_sample_value(
            "instrument_registry_dead_letters", {"type": "external.tick", "reason": "Worse"}
        )

        assert (*seen, dead) == row
        assert row[1:] == (2, 1, 1)


async def buried(database: Database, count: int) -> None:
    """So many dead letters."""
    await told(database, count)
    held = await opened(database, "one")
    for _ in range(3 * count):
        found = await step(database, held)
        assert found is not None
        failed = [Failed(one.event.position or 0, "Bad") for one in found.handed]
        await settle(database, failed=failed)


async def a_week_passes(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("update consumers set seen_at = seen_at - interval '7 days 1 second'")
