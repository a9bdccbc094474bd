"""The consumer for programs that wait: one connection brings events, another acknowledges them."""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

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
from instrument_registry.errors import Invalid, RegistryError, Unavailable

ANSWER_LIMIT_BYTES = 1024 * 1024
BROKEN = (OSError, http.client.HTTPException)

log = structlog.get_logger("consumer")


def consume(
    url: str,
    key: str,
    *,
    consumer_id: str,
    event_types: list[str] | None = None,
    start: Literal["earliest", "latest"] | int | datetime | None = None,
    batch_size: int | None = None,
    bulk: bool | None = None,
    follow: bool = True,
) -> Generator[Event, None, None]:
    """Events for ever; asking for the next one acknowledges the one before, leaving the loop does not.

    Raises: Unauthorized, Forbidden, Invalid, NotFound when the consumer is removed, Gone for an archived position.
    """
    subscription = Subscription(
        consumer_id=consumer_id, event_types=event_types, start=start, batch_size=batch_size, bulk=bulk, follow=follow
    )
    return Consumer(url, key, subscription).events()


class Consumer:
    """One process of a consumer; what it holds comes again to another when it dies."""

    def __init__(self, url: str, key: str, subscription: Subscription) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"{url[:200]} is not the address of a registry; it looks like http://host:8901")
        self._parts, self._key, self._subscription = parts, key, subscription
        self._stream: http.client.HTTPConnection | None = None
        self._answer: http.client.HTTPResponse | None = None
        self._telling: http.client.HTTPConnection | None = None
        self._backoff = Backoff()
        self._stopped = threading.Event()

    def run(self, handler: Callable[[Event], object]) -> None:
        """Hand every event to a handler until stopped; one that raises gets the event again, in the end it is a dead
        letter, and the others go on meanwhile.

        Raises: as `consume`.
        """
        begun: int | None = None
        try:
            while (event := self._next()) is not None:
                begun = event.position
                with Attempt() as attempt:
                    handler(event)
                if attempt.error is None:
                    self._tell(self._subscription.done(event.position))
                else:
                    log.warning(
                        "consumer.handler_failed", position=event.position, event_type=event.event_type,
                        attempt=event.attempt, reason=repr(attempt.error),
                    )  # fmt: skip
                    self._tell(self._subscription.failed(event.position, attempt.error))
                begun = None
        finally:
            self._leave(begun)

    def events(self) -> Generator[Event, None, None]:
        """Events for ever: asking for the next acknowledges the one before."""
        begun: int | None = None
        try:
            while (event := self._next()) is not None:
                begun = event.position
                yield event
                self._tell(self._subscription.done(event.position))
                begun = None
        finally:
            self._leave(begun)

    def stop(self) -> None:
        """Let `run` or `events` end after the event at hand; may be called from a signal handler or a thread."""
        self._stopped.set()
        stream = self._stream
        if stream is not None and stream.sock is not None:
            try:
                stream.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it had ended already

    def _next(self) -> Event | None:
        """The next event; None when stopped, or when everything there is was asked for and has come."""
        while not self._stopped.is_set():
            try:
                answer = self._answer or self._open()
                line = answer.readline(LINE_BYTES_MAX)
                if not line:
                    raise Lost("the connection ended")
                event = parsed(line)
            except CaughtUp:
                return None
            except (Lost, Unavailable, *BROKEN) as error:
                self._close_stream()
                self._wait(error)
                continue
            self._backoff.succeeded()
            if event is not None:
                return event
        return None

    def _tell(self, body: bytes) -> None:
        """Acknowledge, as often as it takes: a second time does no harm."""
        backoff = Backoff()
        while True:
            try:
                self._post(body)
            except (Unavailable, *BROKEN) as error:
                self._close_telling()
                seconds = backoff.next_seconds()
                log.warning("consumer.not_acknowledged", reason=str(error), again_in_seconds=round(seconds, 2))
                if self._stopped.wait(seconds):
                    return  # it comes again
            else:
                return

    def _post(self, body: bytes) -> None:
        if self._telling is None:
            self._telling = self._connection()
        self._telling.request(
            "POST", self._parts.path + self._subscription.acknowledging, body, dict(self._headers("application/json"))
        )
        answer = self._telling.getresponse()
        content = answer.read(ANSWER_LIMIT_BYTES)
        if answer.status >= 300:
            raise refusal(answer.status, content)

    def _open(self) -> http.client.HTTPResponse:
        self._stream = self._connection()
        body = self._subscription.body()
        self._stream.request("POST", self._parts.path + STREAM, body, dict(self._headers("application/x-ndjson")))
        answer = self._stream.getresponse()
        if answer.status >= 300:
            raise refusal(answer.status, answer.read(ANSWER_LIMIT_BYTES))
        self._answer = answer
        return answer

    def _leave(self, begun: int | None) -> None:
        """Give back what was not looked at, if the registry can be asked; else it comes again after a while."""
        try:
            if self._answer is not None:
                self._post(self._subscription.leaving(begun))
        except (RegistryError, *BROKEN) as error:
            log.warning("consumer.left_in_a_hurry", reason=str(error))
        finally:
            self._close_stream()
            self._close_telling()

    def _wait(self, error: Exception) -> None:
        seconds = self._backoff.next_seconds()
        if not self._stopped.is_set():
            log.info("consumer.comes_again", reason=str(error) or type(error).__name__, in_seconds=round(seconds, 2))
        self._stopped.wait(seconds)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "http":
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
        else:
            connection = http.client.HTTPSConnection(
                host, port, timeout=CONNECT_SECONDS, context=ssl.create_default_context()
            )
        connection.connect()
        connection.sock.settimeout(SILENCE_SECONDS)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _headers(self, accept: str) -> dict[str, str]:
        return dict(headers(self._key, accept=accept))

    def _close_stream(self) -> None:
        if self._answer is not None:
            self._answer.close()
        if self._stream is not None:
            self._stream.close()
        self._answer = self._stream = None

    def _close_telling(self) -> None:
        if self._telling is not None:
            self._telling.close()
        self._telling = None
