"""The planner's process as the service sees it: ask, and have an answer when the time is up at the latest."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from instrument_registry.errors import TimedOut
from instrument_registry.subscriptions.planner.checker import Fault, faults
from instrument_registry.subscriptions.planner.model import Ended, Level, Plan, Problem
from instrument_registry.subscriptions.planner.sticky import sticky
from instrument_registry.subscriptions.solver import wire
from instrument_registry.subscriptions.solver.wire import Answer, Question

MEMORY_MB = 1536
IDLE_SECONDS = 600.0
STARTS_MAX = 2  # of one question: the first may find a child that has just ended for having had nothing to do


class PlannerTimedOut(TimedOut):
    """Ask again with more time, or for less."""

    title = "The planner found no plan in time"


class SolverDied(Exception):
    """The child ended in the middle of a question."""


class SolverFailed(Exception):
    """The child says why it has no answer."""


class Solver:
    """Plans in a warm child process, one question after the other.

    Two things at once, a live plan and somebody's what-if, want two of these. The child starts with the first
    question, again after it was killed or died, and ends when nobody asked for `idle_seconds` or the service ended.
    """

    def __init__(self, *, memory_mb: int = MEMORY_MB, idle_seconds: float = IDLE_SECONDS) -> None:
        self._memory_mb, self._idle_seconds = memory_mb, idle_seconds
        self._turn = asyncio.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._ending: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int | None:
        """The child's process, while there is one."""
        return self._child.pid if self._child is not None else None

    async def plan(self, problem: Problem, *, level: Level = Level.MODERATE, timeout_seconds: float = 30.0) -> Plan:
        """The best plan that was found in time.

        Its `ended` says whether the level's method came to its end; where nothing came, the plan is one that leaves
        as much as it can as it is (`quality` heuristic), made here. Raises: PlannerTimedOut when not even that is
        allowed.
        """
        best: Plan | None = None
        ended = Ended.FINISHED
        try:
            async with asyncio.timeout(timeout_seconds):
                async for found in self._asked("plan", problem, level):
                    best = found
        except TimeoutError:
            ended = Ended.TIMED_OUT
        except SolverDied:
            ended = Ended.DIED
        except SolverFailed as failure:
            ended = Ended.OUT_OF_MEMORY if "memory" in str(failure) else Ended.FAILED
        if best is not None:
            return best if ended is Ended.FINISHED else replace(best, ended=ended)
        return await asyncio.to_thread(_without_solver, problem, level, ended, timeout_seconds)

    async def faults(
        self, problem: Problem, plan: Plan, *, in_order: bool = True, timeout_seconds: float = 30.0
    ) -> list[Fault]:
        """What the checker has against a plan; Raises: PlannerTimedOut."""
        found: list[Fault] = await self._answered("faults", problem, plan, in_order, timeout_seconds=timeout_seconds)
        return found

    async def certificate(self, problem: Problem, plan: Plan, *, timeout_seconds: float = 30.0) -> dict[str, Any]:
        """What lets outsiders check a plan, as JSON; Raises: PlannerTimedOut."""
        found: dict[str, Any] = await self._answered("certificate", problem, plan, timeout_seconds=timeout_seconds)
        return found

    async def _answered(self, name: str, *arguments: object, timeout_seconds: float) -> Any:  # noqa: ANN401 - as asked
        """The one answer to a question."""
        try:
            async with asyncio.timeout(timeout_seconds):
                (found,) = [one async for one in self._asked(name, *arguments)]
        except (TimeoutError, SolverDied, SolverFailed) as error:
            raise PlannerTimedOut(
                f"The plan could not be checked in {timeout_seconds:g} s", timeout_seconds=timeout_seconds
            ) from error
        return found

    async def start(self) -> None:
        """Have the child ready before anybody asks."""
        async with self._turn:
            self._running()

    async def close(self) -> None:
        """End the child."""
        self._end()
        while self._ending:
            await asyncio.to_thread(self._ending.pop().wait)

    async def _asked(self, name: str, *arguments: object) -> AsyncIterator[Any]:
        """Every answer to a question; a child that is not done when its asker leaves is ended, and another started."""
        async with self._turn:
            for start in range(STARTS_MAX):
                channel, some, done = self._running(), False, False
                try:
                    await asyncio.to_thread(wire.send, channel, Question(name, arguments))
                    while not done:
                        answer: Answer = await _next(channel)
                        done = answer.last
                        if answer.failed:
                            raise SolverFailed(answer.failed)
                        if not done:
                            some = True
                            yield answer.found
                    return
                except OSError as error:
                    if some or start == STARTS_MAX - 1:
                        raise SolverDied(str(error)) from error
                finally:
                    if not done:
                        self._end()

    def _running(self) -> socket.socket:
        """The channel to a child that runs."""
        if self._child is not None and self._channel is not None and self._child.poll() is None:
            return self._channel
        self._end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._child = subprocess.Popen(
                [
                    sys.executable, "-m", "instrument_registry.subscriptions.solver.child",
                    "--channel", str(theirs.fileno()), "--parent", str(os.getpid()),
                    "--memory-mb", str(self._memory_mb), "--idle-seconds", str(self._idle_seconds),
                ],
                stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), process_group=0,
            )  # fmt: skip
        ours.setblocking(False)
        self._channel = ours
        return ours

    def _end(self) -> None:
        """Kill the child: it may be stopped, so it is not asked; what it found has been sent already."""
        self._ending = [one for one in self._ending if one.poll() is None]
        if self._child is not None:
            self._child.kill()
            self._ending.append(self._child)
            self._child = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None


async def _next(channel: socket.socket) -> Answer:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(channel, _tell, ready)
    try:
        await ready
    finally:
        loop.remove_reader(channel)
    answer: Answer = wire.receive(channel)
    return answer


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _without_solver(problem: Problem, level: Level, ended: Ended, timeout_seconds: float) -> Plan:
    found = replace(sticky(problem, level=level), ended=ended)
    wrong = faults(problem, found, limits_only=True)
    if wrong:
        raise PlannerTimedOut(
            f"No plan was found in {timeout_seconds:g} s, and what lives now breaks a limit: {wrong[0].detail}",
            timeout_seconds=timeout_seconds, remedy="ask again with more time, or for less",
        )  # fmt: skip
    return found
