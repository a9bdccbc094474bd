"""How long a key is looked at tells nothing: not how nearly a secret was right, not which ids there are.

Samples of the two kinds are taken in turn, so that whatever else the machine does meets both; the slowest tenth is
left out of both at one common bound. Where an id lies in a dictionary, and how its letters lie in memory, takes some
nanoseconds more or less for as long as the process lives: so each sample is of another key. Welch's t beyond 4.5 says
that they differ. Naive variants must be told apart by the very same measurement, or it would prove nothing.
"""

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Callable

import pytest

import frame
from instrument_registry.access.model import ApiKey, Scope, Wanted, mint, presented, text_of
from instrument_registry.errors import Unauthorized
from instrument_registry.http.auth import KeyRing

T_MAX = 4.5
SAMPLES = 12_000
KEPT = 0.9
# One measurement in some hundred thousand exceeds the bound by chance, and a busy machine drifts: a real difference
# shows each time, so it has to be seen three times in a row.
TRIES = 3
# A known id is found in memory that the processor has not at hand: a hundredth of the time, some nanoseconds, which no
# network carries. Whoever leaves early saves many times as much, and must be seen.
FLOOR = 0.03
KEYS = 400
Work = Callable[[int], object]
SECRET = "abcdefghij" * 4 + "klm"
FIRST_WRONG = "z" + SECRET[1:]

pytestmark = pytest.mark.serial


def welch(one: Work, other: Work, *, samples: int = SAMPLES) -> float:
    """The t of how long they take for some key, in turn and each first as often as the other; 0 below the floor."""
    works = (one, other)
    seen: tuple[list[int], list[int]] = ([], [])
    order = random.Random(5)
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    try:
        for _ in range(samples):
            first, key = order.getrandbits(1), order.randrange(KEYS)
            for number in (first, 1 - first):
                work = works[number]
                work(key)  # what the other one left in the caches is not ours
                begun = clock()
                work(key)
                seen[number].append(clock() - begun)
    finally:
        gc.enable()
    bound = sorted(seen[0] + seen[1])[int(KEPT * 2 * samples)]
    kept = [[value for value in values if value <= bound] for values in seen]
    means = [statistics.fmean(values) for values in kept]
    errors = [statistics.variance(values) / len(values) for values in kept]
    t = (means[0] - means[1]) / (sum(errors) or 1e-9) ** 0.5
    return t if abs(means[0] - means[1]) > FLOOR * min(means) else 0.0


def differs(one: Work, other: Work) -> list[float]:
    """The t of each try, up to the first that shows no difference."""
    found: list[float] = []
    while len(found) < TRIES and (not found or abs(found[-1]) >= T_MAX):
        found.append(welch(one, other))
    return found


def alike(tries: list[float]) -> bool:
    return abs(tries[-1]) < T_MAX


class Naive:
    """Compares letter by letter and leaves at the first that differs."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def opens(self, secret: str) -> bool:
        return all(ours == theirs for ours, theirs in zip(self._secret, secret, strict=True))


class TestSecrets:
    def test_a_right_one_takes_as_long_as_one_whose_first_character_is_wrong(self) -> None:
        keys = frame.Keys()
        key_id, text = keys.add(Scope.READER)
        one, right = keys.in_force[key_id], presented(text).secret
        wrong = ("1" if right[0] != "1" else "2") + right[1:]

        tries = differs(lambda _: one.opens(right), lambda _: one.opens(wrong))

        assert (one.opens(right), one.opens(wrong)) == (True, False)
        assert alike(tries), tries

    def test_an_early_return_is_seen_by_this_measurement(self) -> None:
        naive = Naive(SECRET)

        assert not alike(differs(lambda _: naive.opens(SECRET), lambda _: naive.opens(FIRST_WRONG)))


class EarlyRing(KeyRing):
    """Refuses an id that it does not know without looking at the secret."""

    async def recognise(self, text: str) -> ApiKey:
        claimed = presented(text)
        await self._refresh(1.5)
        found = self._seen.keys.get(claimed.id)
        if found is None or not found.opens(claimed.secret):
            raise Unauthorized("No key in force is this one")
        return found.key


class TestIds:
    @pytest.mark.parametrize(
        ("kind", "expected"), [pytest.param(KeyRing, True, id="ours"), pytest.param(EarlyRing, False, id="early")]
    )
    def test_an_unknown_one_takes_as_long_as_a_wrong_secret(self, kind: type[KeyRing], expected: bool) -> None:
        ring, shown = full_ring(kind)
        known = [text_of(key_id, SECRET) for key_id, _ in shown]
        unknown = [text_of("zz" + key_id[2:], SECRET) for key_id, _ in shown]

        tries = differs(asking(ring, known), asking(ring, unknown))

        assert alike(tries) is expected, tries

    def test_a_secret_that_is_nearly_right_takes_as_long_as_one_that_is_not(self) -> None:
        ring, shown = full_ring(KeyRing)
        nearly = [text_of(key_id, right[:-1] + other(right[-1])) for key_id, right in shown]
        hardly = [text_of(key_id, other(right[0]) + right[1:]) for key_id, right in shown]

        tries = differs(asking(ring, nearly), asking(ring, hardly))

        assert alike(tries), tries


def full_ring(kind: type[KeyRing]) -> tuple[KeyRing, list[tuple[str, str]]]:
    """A ring that has read many keys, and their ids and secrets."""
    keys, chance, texts = frame.Keys(), random.Random(7), []
    for _ in range(KEYS):
        wanted = Wanted(name="somebody", scope=Scope.READER, expires_at=None)
        sealed, text = mint(wanted, created_by="test", at=frame.NOON, random_bytes=chance.randbytes)
        keys.in_force[sealed.key.id] = sealed
        texts.append(text)
    ring = kind(keys.load, keys.record_use, clock=lambda: frame.NOON, elapsed=lambda: 1.0)

    async def read() -> None:
        await ring.recognise(texts[0])
        await ring.close()

    asyncio.run(read())
    shown = [presented(text) for text in texts]
    return ring, [(one.id, one.secret) for one in shown]


def other(letter: str) -> str:
    return "y" if letter == "z" else "z"


def asking(ring: KeyRing, texts: list[str]) -> Work:
    """The same code for both kinds: where code lies in memory makes a difference, too."""
    return lambda key: refused(ring, texts[key])


def refused(ring: KeyRing, text: str) -> None:
    """Ask without a loop: nothing has to be waited for where the keys have just been read."""
    try:
        ring.recognise(text).send(None)
    except Unauthorized:
        return
    raise AssertionError("it waited, or let somebody in")
