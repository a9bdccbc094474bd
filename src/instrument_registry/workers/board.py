"""The board of one worker process: what its workers do, written where every process reads it; what is asked of them.

Written when something happens that somebody would want to see at once, at most every second, else every quarter of a
minute: an idle process writes four rows a minute.
"""

import asyncio
import functools
import inspect
import os
import socket

import structlog

from instrument_registry.clock import Clock
from instrument_registry.database import Transaction
from instrument_registry.operations import work
from instrument_registry.operations.work import WorkState
from instrument_registry.wiring import Registry
from instrument_registry.workers.kind import Worker
from instrument_registry.workers.turns import Work

SEEN_EVERY_SECONDS = 15.0
AT_MOST_EVERY_SECONDS = 1.0

log = structlog.get_logger("worker")


class Board:
    """What the workers of this process say of themselves."""

    def __init__(self, clock: Clock, *, process: str | None = None) -> None:
        self.process = process or f"{socket.gethostname()}:{os.getpid()}"
        self._clock, self._started_at = clock, clock()
        self._work: dict[str, Work] = {}
        self._stir = asyncio.Event()
        self._wanted: list[str] = []

    def add(self, name: str, worker: Worker) -> Work:
        """A place for one more worker."""
        seen = Work(WorkState(name=name, does=_purpose(worker)), clock=self._clock, changed=self._stir.set)
        self._work[name] = seen
        return seen

    async def hear(self, tx: Transaction) -> None:
        """Read what is wanted now of what is done here."""
        self._wanted = await work.waiting_for(tx, self._periodic())
        if self._wanted:
            self._stir.set()

    async def keep(self, registry: Registry) -> None:
        """Say what is being done here and take what is asked, for ever."""
        while True:
            self._stir.clear()
            at = self._clock()
            async with registry.database.transaction() as tx:
                taken = await work.take(tx, self._wanted, process=self.process, at=at) if self._wanted else []
                states = [one.state for one in self._work.values()]
                await work.say(tx, self.process, states, started_at=self._started_at, at=at)
            for name in taken:
                log.info("work.asked", work=name)
                self._work[name].ring()
            await asyncio.sleep(AT_MOST_EVERY_SECONDS)
            try:
                async with asyncio.timeout(SEEN_EVERY_SECONDS - AT_MOST_EVERY_SECONDS):
                    await self._stir.wait()
            except TimeoutError:
                pass

    async def leave(self, registry: Registry) -> None:
        """Take the board down: this process ends as it should."""
        async with registry.database.transaction() as tx:
            await work.leave(tx, self.process)

    def _periodic(self) -> list[str]:
        return [name for name, one in self._work.items() if one.state.periodic]


def _purpose(worker: Worker) -> str:
    """The first sentence of what a worker says it does."""
    while isinstance(worker, functools.partial):  # turned off and on by somebody else
        worker = worker.keywords["work"]
    return " ".join((inspect.getdoc(worker) or "").split("\n\n")[0].split())
