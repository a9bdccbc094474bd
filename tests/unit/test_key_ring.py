"""How long a worker believes what it knows of the keys."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest

import frame
from instrument_registry.access.model import KeyEnded, KeyRejected, Scope, SealedKey, text_of
from instrument_registry.errors import Unavailable
from instrument_registry.http.auth import KeyRing, KeysNotChecked, Trust


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
                await ring.recognise(text_of("a" * 16, f"{number:043d}"))

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

    async def test_a_key_ends_at_its_instant_however_old_what_is_known_is(self, keys: frame.Keys, watch: Watch) -> None:
        end = frame.NOON + timedelta(minutes=1)
        _, text = keys.add(Scope.READER, expires_at=end)
        at = [end - timedelta(microseconds=1)]
        ring = KeyRing(keys.load, keys.record_use, clock=lambda: at[0], elapsed=watch)
        await ring.recognise(text)

        at[0] = end

        with pytest.raises(KeyEnded):
            await ring.recognise(text)
        assert keys.asked == 1

    async def test_a_wrong_secret_waits_for_the_database_as_an_unknown_id_does(
        self, keys: frame.Keys, watch: Watch
    ) -> None:
        key_id, text = keys.add(Scope.READER)
        ring = ring_of(keys, watch)
        asked = []

        for stranger in (text_of("z" * 16, "1" * 43), text_of(key_id, "1" * 43)):
            await ring.recognise(text)
            watch.seconds += 0.06
            before = keys.asked
            with pytest.raises(KeyRejected):
                await ring.recognise(stranger)
            asked.append(keys.asked - before)

        assert asked == [1, 1]


class TestWithoutADatabase:
    """What was known is believed for a bounded time, for reading alone; nobody new is let in."""

    @staticmethod
    def trusting(keys: frame.Keys, watch: Watch, *, seconds: float = 3600.0, away: bool = False) -> KeyRing:
        trust = Trust(seconds=lambda: seconds, database_is_away=lambda: away)
        return KeyRing(keys.load, keys.record_use, clock=lambda: frame.NOON, elapsed=watch, trust=trust)

    async def test_whoever_was_known_is_let_in_until_the_trust_ends(self, keys: frame.Keys, watch: Watch) -> None:
        _, text = keys.add(Scope.READER)
        ring = self.trusting(keys, watch)
        await ring.recognise(text)
        keys.away = True

        for _ in range(36):
            watch.seconds += 100
            known = await ring.recognise(text)
        trusted = ring.trusted()
        watch.seconds += 1

        assert (known.scope, trusted, ring.trusted()) == (Scope.READER, True, False)
        with pytest.raises(KeysNotChecked):
            await ring.recognise(text)

    async def test_whoever_was_not_is_told_to_come_later(self, keys: frame.Keys, watch: Watch) -> None:
        key_id, text = keys.add(Scope.READER)
        ring = self.trusting(keys, watch, away=True)
        await ring.recognise(text)
        _, new = keys.add(Scope.ADMIN)
        keys.away = True
        watch.seconds += 10

        for stranger in (new, text_of("z" * 16, "1" * 43), text_of(key_id, "1" * 43)):
            with pytest.raises(KeysNotChecked):
                await ring.recognise(stranger)

    async def test_nobody_is_sure_enough_to_change_something(self, keys: frame.Keys, watch: Watch) -> None:
        _, text = keys.add(Scope.OPERATOR)
        ring = self.trusting(keys, watch)
        await ring.recognise(text)
        await ring.be_sure()
        keys.away = True
        watch.seconds += 10
        await ring.recognise(text)

        with pytest.raises(KeysNotChecked):
            await ring.be_sure()

    async def test_nobody_waits_while_it_is_known_to_be_away(self, keys: frame.Keys, watch: Watch) -> None:
        _, text = keys.add(Scope.READER)
        hanging = asyncio.Event()

        async def load() -> Mapping[str, SealedKey]:
            found = await keys.load()
            if keys.asked > 1:
                await hanging.wait()
            return found

        trust = Trust(seconds=lambda: 3600.0, database_is_away=lambda: True)
        ring = KeyRing(load, keys.record_use, clock=lambda: frame.NOON, elapsed=watch, trust=trust)
        await ring.recognise(text)
        watch.seconds += 10

        async with asyncio.timeout(5):
            known = await ring.recognise(text)
        hanging.set()
        await ring.close()

        assert known.scope is Scope.READER

    async def test_a_failure_long_ago_does_not_keep_a_revoked_key_alive(self, keys: frame.Keys, watch: Watch) -> None:
        """The database failed once, nobody called for an hour, and meanwhile the key was revoked."""
        key_id, text = keys.add(Scope.READER)
        ring = self.trusting(keys, watch)
        await ring.recognise(text)
        keys.away = True
        watch.seconds += 2
        await ring.recognise(text)
        await settle()

        keys.away = False
        del keys.in_force[key_id]
        watch.seconds += 1800

        with pytest.raises(KeyRejected):
            await ring.recognise(text)

    async def test_it_is_checked_again_once_the_database_is_back(self, keys: frame.Keys, watch: Watch) -> None:
        key_id, text = keys.add(Scope.READER)
        ring = self.trusting(keys, watch)
        await ring.recognise(text)
        keys.away = True
        watch.seconds += 10
        await ring.recognise(text)

        keys.away = False
        del keys.in_force[key_id]
        watch.seconds += 1.6

        with pytest.raises(KeyRejected):
            await ring.recognise(text)
