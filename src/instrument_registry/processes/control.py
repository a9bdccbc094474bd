"""The line between the supervisor and each child: an inherited socket pair, so its end is the other's end.

From a child: `ready`, `metrics` (an answer), `gather` (a question). From the supervisor: `go` (the database is there),
`metrics` (a question), `gathered` (an answer), `replaced` (another has your place). A message is one line with its
kind and length, then that many bytes.
"""

import asyncio
import contextlib
import os
import socket
from typing import Self

import structlog

from instrument_registry import telemetry

BESIDE = b"beside others"
BODY_LIMIT_BYTES = 16 * 1024 * 1024
ANSWER_TIMEOUT_SECONDS = 2.0
log = structlog.get_logger("supervisor")


class LineClosed(Exception):
    """The other side is gone."""


class Line:
    """One end of the pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, connection: socket.socket) -> Self:
        """Take over one end."""
        connection.setblocking(False)
        return cls(*await asyncio.open_connection(sock=connection))

    async def send(self, kind: str, body: bytes = b"") -> None:
        """Say something; Raises: LineClosed."""
        try:
            self._writer.write(f"{kind} {len(body)}\n".encode() + body)
            await self._writer.drain()
        except OSError as error:
            raise LineClosed from error

    async def receive(self) -> tuple[str, bytes]:
        """Hear what comes next; Raises: LineClosed."""
        try:
            kind, length = (await self._reader.readuntil(b"\n")).decode("ascii").split()
            if int(length) > BODY_LIMIT_BYTES:
                raise LineClosed
            return kind, await self._reader.readexactly(int(length))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError) as error:
            raise LineClosed from error

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class Supervised:
    """What a child knows of its supervisor."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._asking = asyncio.Lock()
        self.replaced = False  # another process has this one's place already
        self.beside = False  # others answer already, or will before this one: nobody waits for it at the door
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def by(cls, fd: int) -> Self:
        """Take up the line this process was started with."""
        os.set_inheritable(fd, False)
        return cls(await Line.over(socket.socket(fileno=fd)))

    async def told_to_go(self) -> bool:
        """Wait until the database can be used; false when the supervisor ends before that."""
        kind = ""
        try:
            while kind != "go":
                kind, body = await self._line.receive()
                self.beside = body == BESIDE
                if kind == "metrics":
                    await self._line.send("metrics", telemetry.own_metrics())
        except LineClosed:
            return False
        return True

    async def ready(self) -> None:
        """Tell the supervisor that work is being done now."""
        with contextlib.suppress(LineClosed):
            await self._line.send("ready")

    async def gather(self) -> bytes:
        """The metrics of all processes; this process's alone where the supervisor does not answer in time."""
        async with self._asking:
            self._answer = asyncio.get_running_loop().create_future()
            try:
                await self._line.send("gather")
                return await asyncio.wait_for(self._answer, ANSWER_TIMEOUT_SECONDS)
            except (LineClosed, TimeoutError):
                log.warning("metrics.supervisor_silent")
                return telemetry.own_metrics()
            finally:
                self._answer = None

    async def serve_until_closed(self) -> None:
        """Answer the supervisor's questions until it is gone."""
        with contextlib.suppress(LineClosed):
            while True:
                kind, body = await self._line.receive()
                if kind == "metrics":
                    await self._line.send("metrics", telemetry.own_metrics())
                elif kind == "replaced":
                    self.replaced = True
                elif kind == "gathered" and self._answer is not None and not self._answer.done():
                    self._answer.set_result(body)
