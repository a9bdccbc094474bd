"""The relay to Redis as a background worker."""

import secrets

from instrument_registry.breakers.terms import REDIS
from instrument_registry.configuration.parameters import EVENT_BATCH_SIZE
from instrument_registry.events.streams import redis_streams, relay
from instrument_registry.events.streams.layout import Ordering
from instrument_registry.events.streams.redis_streams import RedisResting, Streams
from instrument_registry.wiring import Registry

OWNER_BYTES = 16


async def relay_to_redis(registry: Registry) -> None:
    """Bring the log to Redis for ever, where the settings name one; else finished."""
    url = registry.settings.event_broker_url
    if url is None:
        return
    client = redis_streams.connect(url.get_secret_value())
    try:
        ordering = Ordering(registry.settings.event_ordering_guarantee)
        breaker = registry.breakers.of(REDIS, resting=RedisResting)
        streams = Streams(client, ordering, owner=secrets.token_hex(OWNER_BYTES), breaker=breaker)
        await relay.run(registry.database, streams, batch_size=lambda: registry.configuration.now[EVENT_BATCH_SIZE])
    finally:
        await redis_streams.disconnect(client)
