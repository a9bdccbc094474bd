"""How long a worker believes what it knows of the keys."""

import asyncio
from collections.abc import Mapping

import pytest

import frame
from instrument_registry.access.model import KeyRejected, Scope, SealedKey
from instrument_registry.errors import Unavailable
from instrument_registry.http.auth import KeyRing


class Watch:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def keys() -> frame.Keys:
    return frame.Keys()


@pytest.fixture
def watch() -> Watch:
    return Watch()


def ring_of(keys: frame.Keys, watch: Watch) -> KeyRing:
    return KeyRing(keys.load, keys.record_use, clock=lambda: frame.NOON, elapsed=watch)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


class TestKeyRing:
    async def test_many_callers_cost_one_question(self, keys: frame.Keys, watch: Watch) -> None:
        _, text = keys.add(Scope.READER)
        ring = ring_of(keys, watch)

        await asyncio.gather(*(ring.recognise(text) for _ in range(100)))

        assert keys.asked == 1

    async def test_a_revoked_key_stops_within_two_seconds(self, keys: frame.Keys, watch: Watch) -> None:
        key_id, text = keys.add(Scope.READER)
        ring = ring_of(keys, watch)
        await ring.recognise(text)

        del keys.in_force[key_id]
        watch.seconds += 1.6

        with pytest.raises(KeyRejected):
            await ring.recognise(text)

    async def test_a_slow_answer_does_not_count_as_fresh(self, keys: frame.Keys, watch: Watch) -> None:
        key_id, text = keys.add(Scope.READER)
        answered = asyncio.Event()

        async def slow() -> Mapping[str, SealedKey]:
            found = await keys.load()
            await answered.wait()
            return found

        ring = KeyRing(slow, keys.record_use, clock=lambda: frame.NOON, elapsed=watch)
        asking = asyncio.create_task(ring.recognise(text))
        await settle()
        del keys.in_force[key_id]  # after the database was asked, before it answered
        watch.seconds += 3
        answered.set()

        with pytest.raises(KeyRejected):
            await asking
        assert keys.asked == 2

    async def test_a_key_made_a_moment_ago_works_at_once(self, keys: frame.Keys, watch: Watch) -> None:
        _, old = keys.add(Scope.READER)
        ring = ring_of(keys, watch)
        await ring.recognise(old)

        _, new = keys.add(Scope.OPERATOR)
        watch.seconds += 0.06

        assert (await ring.recognise(new)).scope is Scope.OPERATOR

    async def test_a_stranger_trying_keys_asks_the_database_nothing_more(self, keys: frame.Keys, watch: Watch) -> None:
        ring = ring_of(keys, watch)

        for number in range(200):
            with pytest.raises(KeyRejected):
                await ring.recognise(f"irk_{'a' * 16}_{number:043d}")

        assert keys.asked == 1

    async def test_what_is_read_in_the_background_delays_nobody(self, keys: frame.Keys, watch: Watch) -> None:
        _, text = keys.add(Scope.READER)
        ring = ring_of(keys, watch)
        await ring.recognise(text)

        keys.away = True
        watch.seconds += 1.0
        await ring.recognise(text)
        await settle()

        assert keys.asked == 2

    async def test_could_not_tell_never_opens(self, keys: frame.Keys, watch: Watch) -> None:
        _, text = keys.add(Scope.READER)
        ring = ring_of(keys, watch)
        await ring.recognise(text)

        keys.away = True
        watch.seconds += 2.0

        with pytest.raises(Unavailable):
            await ring.recognise(text)

    async def test_it_recovers_by_itself(self, keys: frame.Keys, watch: Watch) -> None:
        _, text = keys.add(Scope.READER)
        ring = ring_of(keys, watch)
        keys.away = True
        with pytest.raises(Unavailable):
            await ring.recognise(text)

        keys.away = False

        assert (await ring.recognise(text)).scope is Scope.READER
