"""Answers above about a kilobyte leave as zstd or gzip when the caller takes one of them."""

import asyncio
import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALL_BYTES = 1_000
# Compression lets go of the interpreter: above this it pays to leave the event loop to others meanwhile.
LARGE_BYTES = 128 * 1024
GZIP_LEVEL = 4
ZSTD_LEVEL = 3
GZIP_WINDOW = 31  # zlib's way of asking for gzip headers

TEXTUAL = (
    b"application/json",
    b"application/problem+json",
    b"application/x-ndjson",
    b"application/javascript",
    b"text/",
)
NEVER = (b"text/event-stream",)


class Compressor(Protocol):
    """A stream that is fed pieces and finished once."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


CODINGS: dict[bytes, Callable[[], Compressor]] = {
    b"zstd": lambda: zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj(),
    b"gzip": lambda: zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW),
}


class Compression:
    """Compresses what is worth it, whole answers and streams alike, and says that answers vary by it."""

    def __init__(self, app: ASGIApp, *, small_bytes: int = SMALL_BYTES) -> None:
        self.app = app
        self.small_bytes = small_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        accepted = next((value for name, value in scope["headers"] if name == b"accept-encoding"), b"")
        answer = _Answer(send, chosen_coding(accepted) if accepted else None, self.small_bytes)
        await self.app(scope, receive, answer.send)


def chosen_coding(accepted: bytes) -> bytes | None:
    """The coding to answer an Accept-Encoding header with: the caller's preference, then ours."""
    weights: dict[bytes, float] = {}
    for part in accepted.lower().split(b",")[:20]:
        name, _, parameters = part.partition(b";")
        weights[name.strip()] = _weight(parameters)
    other = weights.get(b"*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, other))  # the first of equals is ours to choose
    return best if weights.get(best, other) > 0 else None


def _weight(parameters: bytes) -> float:
    name, _, value = parameters.strip().partition(b"=")
    try:
        return float(value) if name.strip() == b"q" else 1.0
    except ValueError:
        return 0.0


class _Answer:
    """One answer on its way out; its head is held back until the first piece shows whether to compress."""

    def __init__(self, send: Send, coding: bytes | None, small_bytes: int) -> None:
        self._send = send
        self._coding = coding
        self._small_bytes = small_bytes
        self._head: Message | None = None
        self._compressor: Compressor | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if not _worth_it(message):
                await self._send(message)
                return
            message["headers"] = [*message["headers"], (b"vary", b"Accept-Encoding")]
            if self._coding is None:
                await self._send(message)
                return
            self._head = message
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        if self._head is not None:
            await self._decide(self._head, message)
        if self._compressor is None:
            await self._send(message)
            return
        await self._pass_on(self._compressor, message)

    async def _decide(self, head: Message, first: Message) -> None:
        self._head = None
        if first.get("more_body", False) or len(first.get("body", b"")) >= self._small_bytes:
            assert self._coding is not None
            self._compressor = CODINGS[self._coding]()
            kept = [_weakened(name, value) for name, value in head["headers"] if name.lower() != b"content-length"]
            head["headers"] = [*kept, (b"content-encoding", self._coding)]
            if not first.get("more_body", False):  # the whole body is here: its length can be told
                first["body"] = await _finished(self._compressor, first["body"])
                head["headers"].append((b"content-length", b"%d" % len(first["body"])))
                self._compressor = None
        await self._send(head)

    async def _pass_on(self, compressor: Compressor, message: Message) -> None:
        more = message.get("more_body", False)
        body = message.get("body", b"")
        piece = await (_compressed if more else _finished)(compressor, body)
        if piece or not more:
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})


async def _compressed(compressor: Compressor, body: bytes) -> bytes:
    if len(body) >= LARGE_BYTES:
        return await asyncio.to_thread(compressor.compress, body)
    return compressor.compress(body)


async def _finished(compressor: Compressor, body: bytes) -> bytes:
    if len(body) >= LARGE_BYTES:
        return await asyncio.to_thread(_finish, compressor, body)
    return _finish(compressor, body)


def _finish(compressor: Compressor, body: bytes) -> bytes:
    return compressor.compress(body) + compressor.flush()


def _weakened(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A strong entity tag promises the same bytes, which a coding changes."""
    return name, b"W/" + value if name.lower() == b"etag" and not value.startswith(b"W/") else value


def _worth_it(head: Message) -> bool:
    if head["status"] in (204, 206, 304):
        return False
    media = b""
    for name, value in head["headers"]:
        name = name.lower()
        if name == b"content-encoding" or (name == b"cache-control" and b"no-transform" in value):
            return False
        if name == b"content-type":
            media = value.lower()
    return media.startswith(TEXTUAL) and not media.startswith(NEVER)
