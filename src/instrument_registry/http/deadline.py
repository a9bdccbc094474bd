"""No request is worked on without end: what has not begun to answer in time is told so."""

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from instrument_registry.errors import Unavailable
from instrument_registry.http.problems import problem

DEADLINE_SECONDS = 30.0


class TookTooLong(Unavailable):
    """Ask for less, or try again later."""

    title = "The request took too long"


class Deadline:
    """Stops requests that have not begun to answer after a while; streams may take as long as they flow.

    Some paths (by their ending) may take longer.
    """

    def __init__(
        self, app: ASGIApp, *, seconds: float = DEADLINE_SECONDS, longer: Mapping[str, float] | None = None
    ) -> None:
        self.app = app
        self.seconds = seconds
        self.longer = dict(longer or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answered = False
        seconds = next((more for ending, more in self.longer.items() if scope["path"].endswith(ending)), self.seconds)

        async def answer(message: Message) -> None:
            nonlocal answered
            if not answered:
                answered = True
                limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(seconds) as limit:
                await self.app(scope, receive, answer)
        except TimeoutError:
            if answered or not limit.expired():
                raise
            late = TookTooLong(f"No answer within {seconds:g} s")
            await problem(scope, late)(scope, receive, send)
