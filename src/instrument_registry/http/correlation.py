"""One id for everything that happens because of one request: taken from the caller, or made here."""

import re
import secrets
from collections.abc import Callable
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

HEADER = b"x-correlation-id"
# What may be written into logs, headers and facts without quoting; anything else is replaced, not refused.
ACCEPTED = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:@/+=-]{0,127}")


_PROCESS, _numbers = secrets.token_hex(8), count(secrets.randbits(48))


def new_id() -> str:
    """A fresh correlation id: the process, then a number, for it is no secret and random bits cost a system call."""
    return f"{_PROCESS}{next(_numbers):016x}"


def correlation_of(scope: Scope) -> str | None:
    """The correlation id of the request in hand."""
    found: str | None = scope.get("correlation_id")
    return found


class CorrelationId:
    """Gives every request an id, every log line of it the same one, and every answer a header saying so."""

    def __init__(self, app: ASGIApp, *, make: Callable[[], str] = new_id) -> None:
        self.app = app
        self.make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        correlation_id = given.decode("ascii") if ACCEPTED.fullmatch(given) else self.make()
        scope["correlation_id"] = correlation_id
        headers = ((HEADER, correlation_id.encode("ascii")), (b"x-content-type-options", b"nosniff"))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        bound = bind_contextvars(correlation_id=correlation_id)
        try:
            await self.app(scope, receive, answer)
        finally:
            reset_contextvars(**bound)
