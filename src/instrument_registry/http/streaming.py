"""Long answers: pieces that a thread reads from the database, sent as they come, a few answers at a time."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from weakref import WeakKeyDictionary

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from instrument_registry.errors import Unavailable

# Each holds a database connection of its own; whoever comes when all are taken waits a while.
STREAMS_MAX = 4
WAIT_SECONDS = 20.0

_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
_closing: set["asyncio.Task[None]"] = set()


class TooManyStreams(Unavailable):
    """Others are being sent; try again in a moment."""

    title = "Too many long answers are being sent"


async def streamed(
    pieces: Iterator[bytes], *, media_type: str, headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """An answer out of pieces; what goes wrong before the first one is there is still told as a problem.

    Raises: TooManyStreams, and whatever reading the first piece raises.
    """
    slots = _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(STREAMS_MAX))
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await slots.acquire()
    except TimeoutError as error:
        raise TooManyStreams(f"{STREAMS_MAX} are being sent, and none ended within {WAIT_SECONDS:g} s") from error
    stream = _Stream(pieces, slots)
    try:
        first = await stream.next()
    except BaseException:
        stream.close()
        raise
    return _Streamed(first, stream, media_type=media_type, headers=headers)


class _Streamed(StreamingResponse):
    """Sends the pieces and, however that ends, gives back what they held."""

    def __init__(
        self, first: bytes | None, stream: "_Stream", *, media_type: str, headers: Mapping[str, str] | None
    ) -> None:
        super().__init__(_following(first, stream), media_type=media_type, headers=headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


async def _following(first: bytes | None, stream: "_Stream") -> AsyncIterator[bytes]:
    piece = first
    while piece is not None:
        yield piece
        piece = await stream.next()


class _Stream:
    """Pieces that are made in threads, one after the other."""

    def __init__(self, pieces: Iterator[bytes], slots: asyncio.Semaphore) -> None:
        self._pieces, self._slots = pieces, slots
        self._reading: asyncio.Future[bytes | None] | None = None

    async def next(self) -> bytes | None:
        """The next piece, None after the last; a thread that reads one cannot be stopped, so it is left to end."""
        self._reading = asyncio.ensure_future(asyncio.to_thread(next, self._pieces, None))
        return await asyncio.shield(self._reading)

    def close(self) -> None:
        """Give the connection and the place back, whoever was not waited for any more."""
        task = asyncio.get_running_loop().create_task(self._close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    async def _close(self) -> None:
        try:
            if self._reading is not None:
                await asyncio.wait([self._reading])
            if (close := getattr(self._pieces, "close", None)) is not None:
                await asyncio.to_thread(close)
        finally:
            self._slots.release()
