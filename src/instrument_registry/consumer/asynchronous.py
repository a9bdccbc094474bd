"""The consumer for programs with an event loop: the same promises as the one that waits."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
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
    Settled,
    Subscription,
    headers,
    parsed,
    refusal,
)
from instrument_registry.errors import RegistryError, Unavailable
from instrument_registry.outbound.trust import trusting
from instrument_registry.settings import trusted_authorities

BROKEN = (OSError, aiohttp.ClientError, TimeoutError, ValueError)  # a line without an end is a ValueError
LAST_WORDS_SECONDS = 5.0

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
    ca: str | Path | None = None,
) -> AsyncGenerator[Event, None]:
    """Events for ever; asking for the next one acknowledges the one before, leaving the loop does not.

    `ca` is a file of certificates to trust instead of the web's; without it, INSTRUMENT_REGISTRY_TLS_CA names one.

    Raises: Unauthorized, Forbidden, Invalid, NotFound when the consumer is removed, Gone for an archived position.
    """
    subscription = Subscription(
        consumer_id=consumer_id, event_types=event_types, start=start, batch_size=batch_size, bulk=bulk, follow=follow
    )
    return AsyncConsumer(url, key, subscription, ca=ca).events()


class AsyncConsumer:
    """One process of a consumer; what it holds comes again to another when it dies."""

    def __init__(self, url: str, key: str, subscription: Subscription, *, ca: str | Path | None = None) -> None:
        self._url, self._key, self._subscription = url.rstrip("/"), key, subscription
        self._trust = trusting(ca or trusted_authorities()) if self._url.startswith("https:") else None
        self._backoff = Backoff()

    async def run(self, handler: Callable[[Event], Awaitable[object]]) -> None:
        """Hand every event to a handler until cancelled; one that raises gets the event again, in the end it is a dead
        letter, and the others go on meanwhile.

        Raises: as `consume_async`.
        """
        async with self._session() as session, contextlib.aclosing(self._lines(session)) as lines:
            teller, begun = _Teller(session, self._url + self._subscription.acknowledging), None
            try:
                async for event in lines:
                    begun = event.position
                    with Attempt() as attempt:
                        await handler(event)
                    if attempt.error is None:
                        teller.done(event.position)
                    else:
                        log.warning(
                            "consumer.handler_failed", position=event.position, event_type=event.event_type,
                            attempt=event.attempt, reason=repr(attempt.error),
                        )  # fmt: skip
                        teller.failed(event.position, attempt.error)
                    begun = None
            finally:
                await teller.close(self._subscription.leaving(begun))

    async def events(self) -> AsyncGenerator[Event, None]:
        """Events for ever: asking for the next acknowledges the one before."""
        async with self._session() as session, contextlib.aclosing(self._lines(session)) as lines:
            teller, begun = _Teller(session, self._url + self._subscription.acknowledging), None
            try:
                async for event in lines:
                    begun = event.position
                    yield event
                    teller.done(event.position)
                    begun = None
            finally:
                await teller.close(self._subscription.leaving(begun))

    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        accept = "application/x-ndjson, application/json"
        return aiohttp.ClientSession(
            headers=headers(self._key, accept=accept), timeout=timeout, read_bufsize=LINE_BYTES_MAX,
            connector=None if self._trust is None else aiohttp.TCPConnector(ssl=self._trust),
        )  # fmt: skip

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


class _Teller:
    """Acknowledges beside the work: what was settled while one request was on its way goes with the next."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url
        self._settled = Settled()
        self._telling: asyncio.Task[None] | None = None

    def done(self, position: int) -> None:
        """One event is done; Raises: what the registry refused before."""
        self._settled.done(position)
        self._start()

    def failed(self, position: int, error: Exception) -> None:
        """One event could not be digested; Raises: what the registry refused before."""
        self._settled.failed(position, error)
        self._start()

    async def close(self, farewell: bytes) -> None:
        """Tell what is left, at most once more, and say goodbye: what was not looked at is given back."""
        telling, self._telling = self._telling, None
        if telling is not None:
            await asyncio.wait([telling], timeout=LAST_WORDS_SECONDS)
            telling.cancel()
        try:
            while self._settled:
                await self._post(self._settled.take())
            await self._post(farewell)
        except (RegistryError, *BROKEN) as error:
            log.warning("consumer.left_in_a_hurry", reason=str(error))

    def _start(self) -> None:
        if self._telling is not None and self._telling.done():
            self._telling.result()
            self._telling = None
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        backoff = Backoff()
        while self._settled:
            body = self._settled.take()
            while True:
                try:
                    await self._post(body)
                except (Unavailable, *BROKEN) as error:  # a second time does no harm
                    seconds = backoff.next_seconds()
                    log.warning("consumer.not_acknowledged", reason=str(error), again_in_seconds=round(seconds, 2))
                    await asyncio.sleep(seconds)
                else:
                    break

    async def _post(self, body: bytes) -> None:
        async with self._session.post(self._url, data=body) as answer:
            content = await answer.read()
            if answer.status >= 300:
                raise refusal(answer.status, content)
