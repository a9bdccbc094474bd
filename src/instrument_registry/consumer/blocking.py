"""The consumer for programs that wait: one connection brings events, another acknowledges them."""

import http.client
import socket
import threading
from collections.abc import Callable, Generator
from datetime import datetime
from pathlib import Path
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
    Settled,
    Subscription,
    headers,
    parsed,
    refusal,
)
from instrument_registry.errors import Invalid, RegistryError, Unavailable
from instrument_registry.outbound.trust import trusting
from instrument_registry.settings import trusted_authorities

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
    ca: str | Path | None = None,
) -> Generator[Event, None, None]:
    """Events for ever; asking for the next one acknowledges the one before, leaving the loop does not.

    `ca` is a file of certificates to trust instead of the web's; without it, INSTRUMENT_REGISTRY_TLS_CA names one.

    Raises: Unauthorized, Forbidden, Invalid, NotFound when the consumer is removed, Gone for an archived position.
    """
    subscription = Subscription(
        consumer_id=consumer_id, event_types=event_types, start=start, batch_size=batch_size, bulk=bulk, follow=follow
    )
    return Consumer(url, key, subscription, ca=ca).events()


class Consumer:
    """One process of a consumer; what it holds comes again to another when it dies."""

    def __init__(self, url: str, key: str, subscription: Subscription, *, ca: str | Path | None = None) -> None:
        self._door, self._subscription = _Door(url, key, ca=ca), subscription
        self._teller = _Teller(self._door, subscription.acknowledging)
        self._stream: http.client.HTTPConnection | None = None
        self._answer: http.client.HTTPResponse | None = None
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
                    self._teller.done(event.position)
                else:
                    log.warning(
                        "consumer.handler_failed", position=event.position, event_type=event.event_type,
                        attempt=event.attempt, reason=repr(attempt.error),
                    )  # fmt: skip
                    self._teller.failed(event.position, attempt.error)
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
                self._teller.done(event.position)
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

    def _open(self) -> http.client.HTTPResponse:
        self._stream = self._door.connect()
        answer = self._door.post(self._stream, STREAM, self._subscription.body(), accept="application/x-ndjson")
        if answer.status >= 300:
            raise refusal(answer.status, answer.read(ANSWER_LIMIT_BYTES))
        self._answer = answer
        return answer

    def _leave(self, begun: int | None) -> None:
        """Tell what is settled and give back what was not looked at, if the registry can be asked; else it comes
        again."""
        self._teller.close(self._subscription.leaving(begun) if self._answer is not None else None)
        self._close_stream()

    def _wait(self, error: Exception) -> None:
        seconds = self._backoff.next_seconds()
        if not self._stopped.is_set():
            log.info("consumer.comes_again", reason=str(error) or type(error).__name__, in_seconds=round(seconds, 2))
        self._stopped.wait(seconds)

    def _close_stream(self) -> None:
        if self._answer is not None:
            self._answer.close()
        if self._stream is not None:
            self._stream.close()
        self._answer = self._stream = None


class _Teller:
    """Acknowledges beside the work, in a thread of its own: what was settled while one request was on its way goes with
    the next."""

    def __init__(self, door: "_Door", path: str) -> None:
        self._door, self._path = door, path
        self._settled, self._changed = Settled(), threading.Condition()
        self._connection: http.client.HTTPConnection | None = None
        self._thread: threading.Thread | None = None
        self._refused: RegistryError | None = None
        self._closing = False

    def done(self, position: int) -> None:
        """One event is done; Raises: what the registry refused before."""
        with self._changed:
            self._settled.done(position)
            self._start()

    def failed(self, position: int, error: Exception) -> None:
        """One event could not be digested; Raises: what the registry refused before."""
        with self._changed:
            self._settled.failed(position, error)
            self._start()

    def close(self, farewell: bytes | None) -> None:
        """Tell what is left, at most once more, and say goodbye."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        try:
            while self._settled:
                self._post(self._settled.take())
            if farewell is not None:
                self._post(farewell)
        except (RegistryError, *BROKEN) as error:
            log.warning("consumer.left_in_a_hurry", reason=str(error))
        finally:
            self._disconnect()

    def _start(self) -> None:
        if self._refused is not None:
            raise self._refused
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="acknowledging", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        backoff = Backoff()
        body: bytes | None = None
        while True:
            with self._changed:
                while body is None and not self._settled and not self._closing:
                    self._changed.wait()
                if self._closing:
                    break
                body = body or self._settled.take()
            try:
                self._post(body)
            except (Unavailable, *BROKEN) as error:  # a second time does no harm
                self._disconnect()
                seconds = backoff.next_seconds()
                log.warning("consumer.not_acknowledged", reason=str(error), again_in_seconds=round(seconds, 2))
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, seconds)
            except RegistryError as error:
                self._refused = error
                return
            else:
                body = None
                backoff.succeeded()
        if body is not None:
            try:
                self._post(body)
            except (RegistryError, *BROKEN) as error:
                log.warning("consumer.not_acknowledged", reason=str(error))

    def _post(self, body: bytes) -> None:
        if self._connection is None:
            self._connection = self._door.connect()
        answer = self._door.post(self._connection, self._path, body, accept="application/json")
        content = answer.read(ANSWER_LIMIT_BYTES)
        if answer.status >= 300:
            raise refusal(answer.status, content)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class _Door:
    """Where the registry is, and the key to it."""

    def __init__(self, url: str, key: str, *, ca: str | Path | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"{url[:200]} is not the address of a registry; it looks like http://host:8901")
        self._secure, self._host, self._port, self._path = (
            parts.scheme == "https",
            parts.hostname,
            parts.port,
            parts.path,
        )
        self._key = key
        self._trust = trusting(ca or trusted_authorities()) if self._secure else None

    def connect(self) -> http.client.HTTPConnection:
        """A connection on which small requests leave at once and silence is noticed; Raises: OSError."""
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_SECONDS, context=self._trust)
            if self._secure
            else http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        )
        connection.connect()
        connection.sock.settimeout(SILENCE_SECONDS)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def post(
        self, connection: http.client.HTTPConnection, path: str, body: bytes, *, accept: str
    ) -> http.client.HTTPResponse:
        """The answer to what is sent, its body not read yet."""
        connection.request("POST", self._path + path, body, dict(headers(self._key, accept=accept)))
        return connection.getresponse()
