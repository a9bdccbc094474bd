"""Expensive work is bounded in each worker: so much at once, so many waiting, and whoever comes then comes later."""

import asyncio
from collections import deque

from prometheus_client import Counter, Gauge
from starlette.types import Scope

from instrument_registry.configuration.limit_parameters import EXPENSIVE_AT_ONCE, EXPENSIVE_WAIT_MS, EXPENSIVE_WAITING
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.errors import Unavailable

HELD = "expensive"  # in the scope: the place this request has

AT_WORK = Gauge("instrument_registry_expensive_requests_at_work", "Ingestions and exports being worked on")
WAITING = Gauge("instrument_registry_expensive_requests_waiting", "Ingestions and exports that wait for that")
SHED = Counter("instrument_registry_expensive_requests_shed_total", "Ingestions and exports that were sent away")


class TooBusy(Unavailable):
    """Others are being worked on; try again in a moment."""

    title = "Too much expensive work is being done"


class Gate:
    """The places for expensive work in one worker."""

    def __init__(self, configuration: LiveConfiguration) -> None:
        self._configuration = configuration
        self._working = 0
        self._line: deque[asyncio.Future[None]] = deque()

    async def enter(self, scope: Scope) -> None:
        """Take a place until `leave`; Raises: TooBusy."""
        now = self._configuration.now
        if self._working < now[EXPENSIVE_AT_ONCE] and not self._line:
            self._working += 1
        else:
            await self._wait(waiting=now[EXPENSIVE_WAITING], seconds=now[EXPENSIVE_WAIT_MS] / 1000)
        AT_WORK.inc()
        scope[HELD] = self

    def leave(self, scope: Scope) -> None:
        """Give the place of a request back, to whoever has waited longest."""
        del scope[HELD]
        AT_WORK.dec()
        self._working -= 1
        self._next()

    def _next(self) -> None:
        """Let those at work who may be, as the parameter has it now."""
        while self._line and self._working < self._configuration.now[EXPENSIVE_AT_ONCE]:
            turn = self._line.popleft()
            if not turn.done():
                self._working += 1
                turn.set_result(None)

    async def _wait(self, *, waiting: int, seconds: float) -> None:
        at_once = self._configuration.now[EXPENSIVE_AT_ONCE]
        if len(self._line) >= waiting:
            SHED.inc()
            raise TooBusy(f"{at_once} are worked on and {len(self._line)} wait", at_once=at_once, waiting=waiting)
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        WAITING.inc()
        try:
            async with asyncio.timeout(seconds):
                await turn
        except TimeoutError as error:
            self._forgo(turn)
            SHED.inc()
            raise TooBusy(
                f"{at_once} are worked on, and none ended within {seconds:g} s", at_once=at_once, waiting=waiting
            ) from error
        except asyncio.CancelledError:
            self._forgo(turn)
            raise
        finally:
            WAITING.dec()

    def _forgo(self, turn: "asyncio.Future[None]") -> None:
        """Somebody does not want their turn any more; one that came at the same moment goes to the next."""
        if turn in self._line:
            self._line.remove(turn)
        elif turn.done() and not turn.cancelled():
            self._working -= 1
        self._next()
