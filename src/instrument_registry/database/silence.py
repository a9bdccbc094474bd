"""A server that hangs: its connections stay open and nobody answers on them, so that no error ever comes.

Whoever waits for such a server cannot be cancelled well either: the driver first asks the server to cancel. So the
line is cut below the driver, which then tells whoever waits that the connection is lost.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import psycopg
import structlog
from psycopg.rows import TupleRow

ANSWER_SECONDS = 1.5  # for what takes a healthy server microseconds
OPINION_SECONDS = 1.0
SLOW_SHARE = 2 / 3  # of the time for an answer: from then on it is a slow one
GRACE_SECONDS = 0.1  # the answer may be there, unread: it is looked at before the line is cut
BUSY_SECONDS = 0.1  # a timer that is so late tells of a loop too busy to judge others

Connection = psycopg.AsyncConnection[TupleRow]
log = structlog.get_logger("database")


class Answering:
    """Expects an answer on a connection within a time, and cuts its line when none comes.

    A loop that is busy runs its timers late, and reads answers late: then the time begins anew.
    """

    __slots__ = ("_connection", "_due", "_due_at", "_loop", "_seconds", "silent", "slow")

    def __init__(self, connection: Connection, *, seconds: float) -> None:
        self.slow = self.silent = False
        self._connection, self._loop, self._seconds = connection, asyncio.get_running_loop(), seconds
        self._wait(self._begin_to_doubt, seconds * SLOW_SHARE)

    def answered(self) -> None:
        """Expect nothing more."""
        self._due.cancel()

    def _wait(self, then: Callable[[], None], seconds: float) -> None:
        self._due_at = self._loop.time() + seconds
        self._due = self._loop.call_at(self._due_at, then)

    def _begin_to_doubt(self) -> None:
        if self._loop.time() - self._due_at > BUSY_SECONDS:
            self._wait(self._begin_to_doubt, self._seconds * SLOW_SHARE)
            return
        self.slow = True
        self._wait(self._look_once_more, self._seconds * (1 - SLOW_SHARE))

    def _look_once_more(self) -> None:
        if self._loop.time() - self._due_at > BUSY_SECONDS:
            self.slow = False
            self._wait(self._begin_to_doubt, self._seconds * SLOW_SHARE)
            return
        self._wait(self._cut, GRACE_SECONDS)

    def _cut(self) -> None:
        self.silent = True
        cut(self._connection)


class InUse:
    """The connections at work, which are all cut when the server turns out to hang."""

    def __init__(self, conninfo: str, *, when_silent: Callable[[str], None]) -> None:
        self._conninfo, self._when_silent = conninfo, when_silent
        self._connections: set[Connection] = set()
        self._asking: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def noted(self, connection: Connection) -> Iterator[None]:
        """Somebody works on a connection."""
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)

    def suspect(self) -> None:
        """Ask for a second opinion: one connection that is slow or lost proves nothing of the others."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(frozenset(self._connections)))

    def suspect_if_any(self) -> None:
        """The same, where somebody works on a connection."""
        if self._connections:
            self.suspect()

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _ask(self, suspected: frozenset[Connection]) -> None:
        due_at = asyncio.get_running_loop().time() + OPINION_SECONDS
        try:
            async with asyncio.timeout_at(due_at):
                connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except TimeoutError:
            if asyncio.get_running_loop().time() - due_at > BUSY_SECONDS:
                return  # could not tell
            waiting = suspected & self._connections
            log.error("database.silent", connections_cut=len(waiting))
            for one in waiting:
                cut(one)
            self._when_silent("it takes connections and does not answer")
        except psycopg.OperationalError:  # whoever works on a connection is told by the driver
            self._when_silent("it takes no connections")
        else:
            await connection.close()


def cut(connection: Connection) -> None:
    """End a connection's line without asking the server: whoever waits on it is told that it is lost."""
    with (
        contextlib.suppress(OSError, psycopg.OperationalError),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)
