"""The consumer for programs with an event loop: the same promises as the one that waits."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import Literal

import aiohttp
import structlog

from instrument_registry.consumer.protocol import (
    CONNECT_SECONDS,
    LINE_BYTES_MAX,
    SILENCE_SECONDS,
    STREAM,
    Attempt,
    Backoff,
    CaughtUp,
    Event,
    Lost,
    Subscription,
    headers,
    parsed,
    refusal,
)
from instrument_registry.errors import RegistryError, Unavailable

BROKEN = (OSError, aiohttp.ClientError, TimeoutError, ValueError)  # a line without an end is a ValueError

log = structlog.get_logger("consumer")


def consume_async(
    url: str,
    key: str,
    *,
    consumer_id: str,
    event_types: list[str] | None = None,
    start: Literal["earliest", "latest"] | int | datetime | None = None,
    batch_size: int | None = None,
    bulk: bool | None = None,
    follow: bool = True,
) -> AsyncGenerator[Event, None]:
    """Events for ever; asking for the next one acknowledges the one before, leaving the loop does not.

    Raises: Unauthorized, Forbidden, Invalid, NotFound when the consumer is removed, Gone for an archived position.
    """
    subscription = Subscription(
        consumer_id=consumer_id, event_types=event_types, start=start, batch_size=batch_size, bulk=bulk, follow=follow
    )
    return AsyncConsumer(url, key, subscription).events()


class AsyncConsumer:
    """One process of a consumer; what it holds comes again to another when it dies."""

    def __init__(self, url: str, key: str, subscription: Subscription) -> None:
        self._url, self._key, self._subscription = url.rstrip("/"), key, subscription
        self._backoff = Backoff()

    async def run(self, handler: Callable[[Event], Awaitable[object]]) -> None:
        """Hand every event to a handler until cancelled; one that raises gets the event again, in the end it is a dead
        letter, and the others go on meanwhile.

        Raises: as `consume_async`.
        """
        async with self._session() as session:
            lines = self._lines(session)
            begun: int | None = None
            try:
                async for event in lines:
                    begun = event.position
                    with Attempt() as attempt:
                        await handler(event)
                    if attempt.error is None:
                        await self._tell(session, self._subscription.done(event.position))
                    else:
                        log.warning(
                            "consumer.handler_failed", position=event.position, event_type=event.event_type,
                            attempt=event.attempt, reason=repr(attempt.error),
                        )  # fmt: skip
                        await self._tell(session, self._subscription.failed(event.position, attempt.error))
                    begun = None
            finally:
                await self._leave(session, begun)
                await lines.aclose()

    async def events(self) -> AsyncGenerator[Event, None]:
        """Events for ever: asking for the next acknowledges the one before."""
        async with self._session() as session:
            lines = self._lines(session)
            begun: int | None = None
            try:
                async for event in lines:
                    begun = event.position
                    yield event
                    await self._tell(session, self._subscription.done(event.position))
                    begun = None
            finally:
                await self._leave(session, begun)
                await lines.aclose()

    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        accept = "application/x-ndjson, application/json"
        return aiohttp.ClientSession(
            headers=headers(self._key, accept=accept), timeout=timeout, read_bufsize=LINE_BYTES_MAX
        )

    async def _lines(self, session: aiohttp.ClientSession) -> AsyncGenerator[Event, None]:
        """Events as they come, from one stream after another, until everything there is was asked for and has come."""
        while True:
            try:
                async with session.post(self._url + STREAM, data=self._subscription.body()) as answer:
                    if answer.status >= 300:
                        raise refusal(answer.status, await answer.read())
                    while line := await answer.content.readline():
                        event = parsed(line)
                        self._backoff.succeeded()
                        if event is not None:
                            yield event
                    raise Lost("the connection ended")
            except CaughtUp:
                return
            except (Lost, Unavailable, *BROKEN) as error:
                seconds = self._backoff.next_seconds()
                reason = str(error) or type(error).__name__
                log.info("consumer.comes_again", reason=reason, in_seconds=round(seconds, 2))
                await asyncio.sleep(seconds)

    async def _tell(self, session: aiohttp.ClientSession, body: bytes) -> None:
        """Acknowledge, as often as it takes: a second time does no harm."""
        backoff = Backoff()
        while True:
            try:
                await self._post(session, body)
            except (Unavailable, *BROKEN) as error:
                seconds = backoff.next_seconds()
                log.warning("consumer.not_acknowledged", reason=str(error), again_in_seconds=round(seconds, 2))
                await asyncio.sleep(seconds)
            else:
                return

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> None:
        async with session.post(self._url + self._subscription.acknowledging, data=body) as answer:
            if answer.status >= 300:
                raise refusal(answer.status, await answer.read())
            await answer.read()

    async def _leave(self, session: aiohttp.ClientSession, begun: int | None) -> None:
        """Give back what was not looked at, if the registry can be asked; else it comes again after a while."""
        try:
            await self._post(session, self._subscription.leaving(begun))
        except (RegistryError, *BROKEN) as error:
            log.warning("consumer.left_in_a_hurry", reason=str(error))
