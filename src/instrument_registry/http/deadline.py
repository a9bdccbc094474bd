"""No request is worked on without end: what has not begun to answer in time is told so."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from instrument_registry.errors import Unavailable
from instrument_registry.http.problems import problem

DEADLINE_SECONDS = 30.0


class TookTooLong(Unavailable):
    """Ask for less, or try again later."""

    title = "The request took too long"


@dataclass(slots=True, eq=False)
class _Open:
    """A request that has not begun to answer."""

    task: "asyncio.Task[object]"
    due: float
    cancelling: int
    late: bool = False


class _Line:
    """Requests that have the same time: the first to come is the first to be due, so one timer is enough for all.

    One of its own for each request costs as much as a tenth of the frame.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._open: dict[_Open, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self) -> _Open:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        request = _Open(task, loop.time() + self.seconds, task.cancelling())
        self._open[request] = None
        if self._timer is None:
            self._timer = loop.call_at(request.due, self._look, loop)
        return request

    def leave(self, request: _Open) -> None:
        self._open.pop(request, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for request in list(self._open):
            if request.due > loop.time():
                self._timer = loop.call_at(request.due, self._look, loop)
                return
            self.leave(request)
            request.late = True
            request.task.cancel()


class Deadline:
    """Stops requests that have not begun to answer after a while; streams may take as long as they flow.

    Some paths (by their ending) may take longer.
    """

    def __init__(
        self, app: ASGIApp, *, seconds: float = DEADLINE_SECONDS, longer: Mapping[str, float] | None = None
    ) -> None:
        self.app = app
        self._usual = _Line(seconds)
        self._longer = {ending: _Line(more) for ending, more in (longer or {}).items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        line = next((line for ending, line in self._longer.items() if scope["path"].endswith(ending)), self._usual)
        request = line.enter()
        answered = False

        async def answer(message: Message) -> None:
            nonlocal answered
            if not answered:
                answered = True
                line.leave(request)
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except asyncio.CancelledError:
            if not request.late or request.task.uncancel() > request.cancelling or answered:
                raise
            late = TookTooLong(f"No answer within {line.seconds:g} s")
            await problem(scope, late)(scope, receive, send)
        finally:
            line.leave(request)
