"""A span for every request, where a collector was named; elsewhere this is not in the way."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from instrument_registry.http.metrics import METHODS, UNMATCHED
from instrument_registry.http.problems import path_of
from instrument_registry.telemetry import tracing

NAMELESS = "HTTP"
FAILURES_FROM = 500


class Traces:
    """Times every request as a part of its caller's trace, and says in the log which trace that is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else NAMELESS
        status: int | None = None

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with tracing.span(method, kind="server", parent=scope.get("traceparent")) as span:
            scope["traceparent"] = span.traceparent
            bound = bind_contextvars(trace_id=tracing.trace_id_of(span.traceparent))
            try:
                await self.app(scope, receive, answer)
            finally:
                reset_contextvars(**bound)
                route = getattr(scope.get("route"), "path_format", UNMATCHED)
                span.named(f"{method} {route}")
                caller = scope.get("caller")
                span.tell(
                    {
                        "http.request.method": method,
                        "http.route": route,
                        "http.response.status_code": status,
                        "url.path": path_of(scope),
                        "instrument_registry.key_id": caller.id if caller else None,
                        tracing.CORRELATION: scope["correlation_id"],
                    }
                )
                if status is None or status >= FAILURES_FROM:
                    span.failed("" if status is None else str(status))
