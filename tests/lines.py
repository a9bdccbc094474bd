"""A line to a server that can go dead: connections stay open, new ones are taken, and nothing comes through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PIECE_BYTES = 64 * 1024


class Line:
    """Passes on what is said, as long as it is up."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._up = asyncio.Event()
        self._up.set()
        self._talks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0

    def down(self) -> None:
        """From now on nothing comes through."""
        self._up.clear()

    def up(self) -> None:
        """What was held back comes through, and all that follows."""
        self._up.set()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            await self._up.wait()
            there, back = await asyncio.open_connection(self._host, self._port)
            await asyncio.wait(
                {asyncio.create_task(self._pass(reader, back)), asyncio.create_task(self._pass(there, writer))}
            )
        finally:
            self._talks.discard(task)
            writer.close()

    async def hang_up(self) -> None:
        """End every talk."""
        for task in list(self._talks):
            task.cancel()
        if self._talks:
            await asyncio.wait(self._talks)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(PIECE_BYTES):
                await self._up.wait()
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def line_to(host: str, port: int) -> AsyncIterator[Line]:
    """A line to a server as long as the block lasts."""
    line = Line(host, port)
    server = await asyncio.start_server(line.take, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        line.up()
        server.close()
        await line.hang_up()
