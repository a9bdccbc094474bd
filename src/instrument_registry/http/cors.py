"""Pages of other origins, if an operator lists them: they may call with a key in a header, and without cookies.

What a browser asks beforehand is answered here, with the methods that the path really has; everything else passes and
gets the headers that let the page read the answer. Where no origin is listed this layer does not exist.
"""

from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REMEMBERED_SECONDS = 7200  # as long as Chromium remembers at most
MAY_SEND = ", ".join(
    (
        "Accept", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID",
        "Traceparent", "X-Correlation-ID", "X-Internal-API-Key",
    )
).encode()  # fmt: skip
MAY_READ = ", ".join(
    (
        "Content-Disposition", "ETag", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Correlation-ID",
        "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
    )
).encode()  # fmt: skip
VARY = (b"vary", b"Origin")

Methods = Callable[[Scope], Collection[str]]


class Cors:
    """Lets pages of some origins call; `methods` says what a request's path can do."""

    def __init__(self, app: ASGIApp, *, origins: Collection[str], methods: Methods) -> None:
        self.app = app
        self._origins = frozenset(origin.encode("ascii") for origin in origins)
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        origin = asked = None
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value
            elif name == b"access-control-request-method":
                asked = value
        if origin not in self._origins:
            await self.app(scope, receive, self._telling(send, VARY))
            return
        allowed = (b"access-control-allow-origin", origin)
        if scope["method"] == "OPTIONS" and asked is not None and (methods := self._methods(scope)):
            headers = [
                allowed, VARY,
                (b"access-control-allow-methods", ", ".join(methods).encode()),
                (b"access-control-allow-headers", MAY_SEND),
                (b"access-control-max-age", b"%d" % REMEMBERED_SECONDS),
            ]  # fmt: skip
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        told = self._telling(send, VARY, allowed, (b"access-control-expose-headers", MAY_READ))
        await self.app(scope, receive, told)

    def _telling(self, send: Send, *headers: tuple[bytes, bytes]) -> Send:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        return answer
