"""Connections with bounds: how long a request's head may be and take, how long nobody may read an answer.

The server reads a head of any length for as long as it drips. Here every phase of a connection has an end, and what is
beyond a bound is told as a problem before the connection is closed.
"""

import asyncio
import http
import resource
from enum import Enum, auto
from typing import Any, ClassVar

import msgspec
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

URL_LIMIT_BYTES = 8 * 1024
HEAD_LIMIT_BYTES = 32 * 1024
HEADERS_MAX = 100
HEAD_WITHIN_SECONDS = 10.0
UNREAD_SECONDS = 60.0  # of a part of an answer; streams that nobody takes from end after that
LAST_BYTES_SECONDS = 3.0
CONNECTIONS_MAX = 4000
OTHER_DESCRIPTORS = 256  # files, the database, Redis, callers of ours

ENDED = Counter("instrument_registry_connections_ended_total", "Connections that were ended at a bound", ["bound"])

Refusal = tuple[int, str, str]  # status, what is wrong, what to do
MALFORMED = (400, "This is no HTTP request", "Send HTTP/1.1 as RFC 9112 has it")
TOO_SLOW = (408, f"The head of a request must be here within {HEAD_WITHIN_SECONDS:g} s", "Send it at once")
URL_TOO_LONG = (
    414, f"A URL may have at most {URL_LIMIT_BYTES} bytes",
    "Ask for less, or use the POST form of the endpoint, which takes a body",
)  # fmt: skip
HEAD_TOO_LARGE = (
    431, f"The head of a request may have at most {HEAD_LIMIT_BYTES} bytes and {HEADERS_MAX} headers",
    "Send fewer and shorter headers",
)  # fmt: skip
TOO_MANY = (503, "This worker has as many connections as it may", "Use fewer, or come later")


class Phase(Enum):
    """What of a request comes next."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class _Refused(Exception):
    """Ends the parsing of a request; the parser makes one of its own errors of it."""


class BoundedConnection(HttpToolsProtocol):
    """One connection of a caller."""

    most: ClassVar[int] = CONNECTIONS_MAX
    head_within_seconds: ClassVar[float] = HEAD_WITHIN_SECONDS
    unread_seconds: ClassVar[float] = UNREAD_SECONDS

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **named)
        self._phase = Phase.NOTHING
        self._refusal: Refusal | None = None
        self._hung_up = False
        self._head_bytes = self._headers_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has come."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse(TOO_MANY)
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """A caller has gone."""
        self._stop_waiting_for_head()
        self._stop_waiting_for_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, or of several."""
        if self._hung_up:
            return
        super().data_received(data)
        if self._phase is Phase.HEAD:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES and not self._hung_up:
                self._refuse(HEAD_TOO_LARGE)
        elif self._phase is Phase.NOTHING and self._idle and not self._hung_up:
            self._expect_head()  # empty lines between two requests are no request

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._phase, self._head_bytes, self._headers_bytes = Phase.HEAD, 0, 0
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        super().on_url(url)
        if len(self.url) > URL_LIMIT_BYTES:
            self._refusal = URL_TOO_LONG
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        super().on_header(name, value)
        self._headers_bytes += len(name) + len(value)
        if len(self.headers) > HEADERS_MAX or self._headers_bytes > HEAD_LIMIT_BYTES:
            self._refusal = HEAD_TOO_LARGE
            raise _Refused

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._phase = Phase.BODY
        self._stop_waiting_for_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._phase = Phase.NOTHING
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser refused, or we did while it parsed."""
        self._refuse(self._refusal or MALFORMED)

    def timeout_keep_alive_handler(self) -> None:
        """Nobody asked for a while; whoever has not even read the last answer is not waited for."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(LAST_BYTES_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        """The caller reads more slowly than we write."""
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.unread_seconds, self._nobody_reads)

    def resume_writing(self) -> None:
        """The caller has read something."""
        self._stop_waiting_for_reader()
        super().resume_writing()

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_within_seconds, self._refuse, TOO_SLOW)

    def _stop_waiting_for_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_waiting_for_reader(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _nobody_reads(self) -> None:
        ENDED.labels("unread").inc()
        self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Say what was wrong, if no other answer is being sent, and hang up."""
        self._hung_up = True
        self._stop_waiting_for_head()
        ENDED.labels(str(refusal[0])).inc()
        if self._idle and not self.transport.is_closing():
            self.transport.write(_answer(*refusal))
            if self.transport.can_write_eof():
                # Closed with bytes unread, the answer might be lost on its way: what still comes is taken for a while.
                self.transport.write_eof()
                self.loop.call_later(LAST_BYTES_SECONDS, self.transport.abort)
                return
        self.transport.close()
        self.loop.call_later(LAST_BYTES_SECONDS, self.transport.abort)


def make_room_for_connections() -> None:
    """Let this process have as many files open as it may, and no more connections than those allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        BoundedConnection.most = max(64, soft - OTHER_DESCRIPTORS)


def _answer(status: int, detail: str, remedy: str) -> bytes:
    title = http.HTTPStatus(status).phrase
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, "remedy": remedy}
    content = msgspec.json.encode(problem)
    retry = "retry-after: 1\r\n" if status == http.HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n{retry}"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + content
