"""Answers without an end: sent as events come, ended at once when the caller leaves or the worker stops."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from instrument_registry.errors import Unavailable

FLOWS_MAX = 500  # of one worker
# A caller who takes nothing for so long is gone, whatever the network says.
STUCK_SECONDS = 120.0
# Proxies must neither compress nor collect.
HEADERS = ((b"cache-control", b"no-store, no-transform"), (b"x-accel-buffering", b"no"))

log = structlog.get_logger("http")


class TooManyFlows(Unavailable):
    """End some, or ask another worker."""

    title = "Too many streams are open"


class Flows:
    """The open streams of one worker, which end together."""

    def __init__(self) -> None:
        self._open: set[asyncio.Event] = set()
        self._ended = False

    def begin(self) -> asyncio.Event:
        """A place for one more; what comes back is set when it has to end; Raises: TooManyFlows."""
        if self._ended or len(self._open) >= FLOWS_MAX:
            raise TooManyFlows(f"This worker serves {len(self._open)} streams")
        stop = asyncio.Event()
        self._open.add(stop)
        return stop

    def leave(self, stop: asyncio.Event) -> None:
        """Give a place back."""
        self._open.discard(stop)

    def end(self) -> None:
        """End them all, because the worker stops."""
        self._ended = True
        for stop in self._open:
            stop.set()


class Flowing(Response):
    """Sends pieces as they are made and closes their maker, however it ends."""

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        flows: Flows,
        media_type: bytes,
        farewell: bytes,
        headers: Mapping[bytes, bytes],
    ) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = [(b"content-type", media_type), *HEADERS, *headers.items()]
        self._pieces, self._flows, self._farewell = pieces, flows, farewell
        self._stop = flows.begin()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tasks: set[asyncio.Task[object]] = set()
        done: set[asyncio.Task[object]] = set()
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if not scope.get("head"):
                works = (self._write(send), _left(receive), self._stop.wait())
                tasks = {asyncio.create_task(work) for work in works}
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._flows.leave(self._stop)
            await self._pieces.aclose()
        if self._stop.is_set():
            await send({"type": "http.response.body", "body": self._farewell, "more_body": True})
        for task in done:
            task.result()  # Raises: whatever the maker of pieces raised
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send) -> None:
        async for piece in self._pieces:
            async with asyncio.timeout(STUCK_SECONDS):
                await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _left(receive: Receive) -> None:
    """Comes back when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
