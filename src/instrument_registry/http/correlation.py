"""One id for everything that happens because of one request: taken from the caller, or made here."""

import re
import secrets
from collections.abc import Callable
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from instrument_registry.http.secured import LIMITED, secured
from instrument_registry.telemetry import tracing

HEADER = b"x-correlation-id"
TRACEPARENT = b"traceparent"
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
    """Gives every request an id, every log line of it the same one, and every answer a header saying so.

    The headers of every answer are added here, those of limits and of safety too: a layer for each would cost as much.
    A caller's `traceparent` is remembered beside it, for whatever is told or sent because of the request.
    """

    def __init__(self, app: ASGIApp, *, make: Callable[[], str] = new_id) -> None:
        self.app = app
        self.make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = parent = b""
        for name, value in scope["headers"]:
            if name == HEADER:
                given = given or value
            elif name == TRACEPARENT:
                parent = parent or value
        correlation_id = given.decode("ascii") if ACCEPTED.fullmatch(given) else self.make()
        scope["correlation_id"] = correlation_id
        ours, scheme = (HEADER, correlation_id.encode("ascii")), scope.get("scheme", "http")

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = (ours, *scope.get(LIMITED, ()))
                message["headers"] = secured(message.get("headers", ()), told, scheme=scheme)
            await send(message)

        bound = bind_contextvars(correlation_id=correlation_id)
        carried = tracing.carry(_remembered(scope, parent)) if parent else None
        try:
            await self.app(scope, receive, answer)
        finally:
            reset_contextvars(**bound)
            if carried is not None:
                tracing.put_back(carried)


def _remembered(scope: Scope, given: bytes) -> str | None:
    parent = tracing.understood(given.decode("latin-1"))
    scope["traceparent"] = parent
    return parent
