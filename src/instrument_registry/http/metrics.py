"""Counts, times and logs every request; answers the scrape."""

import time
from collections.abc import Callable
from functools import cache

import structlog
from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from instrument_registry.http.problems import path_of

REQUESTS = Counter("instrument_registry_http_requests_total", "Requests answered", ["method", "route", "status"])
SECONDS = Histogram(
    "instrument_registry_http_request_duration_seconds",
    "From the request's arrival to the last byte of its answer",
    ["method", "route"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
IN_FLIGHT = Gauge("instrument_registry_http_requests_in_flight", "Requests that have arrived and are not answered yet")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED = "unmatched"
# Probes and scrapes come every few seconds, and "not ready" is an answer like another.
QUIET = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
NOT_READY = 503
# With the names, and with the id of a trace, an example has at most 128.
EXAMPLE_CHARACTERS = 70

log = structlog.get_logger("http")


class Requests:
    """One number, one duration and one log line for every request, whatever becomes of it."""

    def __init__(self, app: ASGIApp, *, elapsed: Callable[[], float] = time.perf_counter) -> None:
        self.app = app
        self.elapsed = elapsed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = scope["started"] = self.elapsed()
        status = 0  # stays so when the caller left before an answer
        sent_bytes = 0

        async def answer(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent_bytes += len(message.get("body", b""))
            await send(message)

        IN_FLIGHT.inc()
        try:
            await self.app(scope, receive, answer)
        finally:
            IN_FLIGHT.dec()
            seconds = self.elapsed() - started
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = getattr(scope.get("route"), "path_format", UNMATCHED)
            _counter(method, route, status).inc()
            _histogram(method, route).observe(seconds, _example(scope))
            told = log.debug if route in QUIET and (status < 500 or status == NOT_READY) else log.info
            _log(told, scope, method, route, status=status, seconds=seconds, sent_bytes=sent_bytes)


@cache  # as many as there are series, and finding one takes longer than counting
def _counter(method: str, route: str, status: int) -> Counter:
    return REQUESTS.labels(method, route, str(status))


@cache
def _histogram(method: str, route: str) -> Histogram:
    return SECONDS.labels(method, route)


def _example(scope: Scope) -> dict[str, str] | None:
    """By what the request can be found in logs and traces, within OpenMetrics' bound."""
    correlation_id: str = scope.get("correlation_id", "")
    if len(correlation_id) > EXAMPLE_CHARACTERS:
        return None
    traceparent: str | None = scope.get("traceparent")
    if traceparent is None:
        return {"correlation_id": correlation_id}
    return {"correlation_id": correlation_id, "trace_id": traceparent[3:35]}


def _log(
    told: Callable[..., object], scope: Scope, method: str, route: str, *, status: int, seconds: float, sent_bytes: int
) -> None:
    caller = scope.get("caller")
    client = scope.get("client")
    traceparent: str | None = scope.get("traceparent")
    traced = {} if traceparent is None else {"trace_id": traceparent[3:35]}
    told(
        "http.request",
        method=method,
        path=path_of(scope),
        route=route,
        status=status,
        duration_ms=round(seconds * 1000, 2),
        sent_bytes=sent_bytes,
        key_id=caller.id if caller else None,
        client=client[0] if client else None,
        **traced,
    )
