"""A consumer of the registry's events: resumes where it was, reconnects, acknowledges what is done, retries what fails.

    for event in consume(url, key, consumer_id="ticker", event_types=["instrument.*"]):
        print(event.position, event.event_type, event.data)

Asking for the next event acknowledges the one before; leaving by `break` or an exception does not.
"""

from instrument_registry.consumer.asynchronous import AsyncConsumer, consume_async
from instrument_registry.consumer.blocking import Consumer, consume
from instrument_registry.consumer.protocol import Event, Subscription

__all__ = ["AsyncConsumer", "Consumer", "Event", "Subscription", "consume", "consume_async"]
