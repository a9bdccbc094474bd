"""No request is worked on without end: what has not begun to answer in time is told so."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from instrument_registry.errors import Unavailable
from instrument_registry.http.problems import problem

DEADLINE_SECONDS = 30.0


class TookTooLong(Unavailable):
    """Ask for less, or try again later."""

    title = "The request took too long"


class Deadline:
    """Stops requests that have not begun to answer after a while; streams may take as long as they flow."""

    def __init__(self, app: ASGIApp, *, seconds: float = DEADLINE_SECONDS) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answered = False

        async def answer(message: Message) -> None:
            nonlocal answered
            if not answered:
                answered = True
                limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(self.seconds) as limit:
                await self.app(scope, receive, answer)
        except TimeoutError:
            if answered or not limit.expired():
                raise
            late = TookTooLong(f"No answer within {self.seconds:g} s")
            await problem(scope, late)(scope, receive, send)
