"""A Redis that is not there is asked a few times, and then left alone for a moment."""

from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisGone

from instrument_registry.breakers import Breakers
from instrument_registry.breakers.terms import REDIS
from instrument_registry.events.streams import redis_streams
from instrument_registry.events.streams.layout import Ordering
from instrument_registry.events.streams.redis_streams import RedisResting, Streams


async def test_it_is_asked_a_few_times_and_then_left_alone(tmp_path: Path) -> None:
    breakers = Breakers(tmp_path, elapsed=lambda: 100.0)
    client = redis_streams.connect("redis://127.0.0.1:1/0")
    breaker = breakers.of(REDIS, resting=RedisResting)
    streams = Streams(client, Ordering.PARTITION, owner="test", breaker=breaker)

    for _ in range(3):
        with pytest.raises(RedisGone):
            await streams.position()

    with pytest.raises(RedisResting) as caught:
        await streams.position()
    assert caught.value.facts == {"dependency": "redis", "retry_after": 1}
