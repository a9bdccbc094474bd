"""How often a caller may ask: looked at when it is known who calls, told in the headers of every limited answer."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, TypeVar

from starlette.types import Scope

from instrument_registry.access.limits.limiter import Limiter
from instrument_registry.access.limits.live import LiveLimits
from instrument_registry.access.limits.model import (
    BURST_SECONDS,
    MINUTE_SECONDS,
    KeyLimits,
    RouteClass,
    TooManyRequests,
    Verdict,
    Window,
    Windows,
)
from instrument_registry.configuration.limit_parameters import (
    RATE_LIMIT_EXPENSIVE_PER_MINUTE,
    RATE_LIMIT_EXPENSIVE_PER_SECOND,
    RATE_LIMIT_READ_PER_MINUTE,
    RATE_LIMIT_READ_PER_SECOND,
    RATE_LIMIT_STRANGER_PER_MINUTE,
    RATE_LIMIT_STRANGER_PER_SECOND,
    RATE_LIMIT_WRITE_PER_MINUTE,
    RATE_LIMIT_WRITE_PER_SECOND,
)
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Parameter
from instrument_registry.database import Database
from instrument_registry.http.secured import LIMITED
from instrument_registry.settings import Settings

PARAMETERS: Mapping[RouteClass, tuple[Parameter[int], Parameter[int]]] = {
    RouteClass.EXPENSIVE: (RATE_LIMIT_EXPENSIVE_PER_MINUTE, RATE_LIMIT_EXPENSIVE_PER_SECOND),
    RouteClass.WRITE: (RATE_LIMIT_WRITE_PER_MINUTE, RATE_LIMIT_WRITE_PER_SECOND),
    RouteClass.READ: (RATE_LIMIT_READ_PER_MINUTE, RATE_LIMIT_READ_PER_SECOND),
    RouteClass.STRANGER: (RATE_LIMIT_STRANGER_PER_MINUTE, RATE_LIMIT_STRANGER_PER_SECOND),
}
# Of one admission Redis knows a moment earlier than this instance does: a wait is a little longer than it must be.
MARGIN_US = 50_000
ACTUATORS = "/actuator/"
HEADERS = {
    "Retry-After": "After so many seconds the next request is let pass.",
    "RateLimit": "For each window: r, how many requests are left; t, after how many seconds all of them are back.",
    "RateLimit-Policy": "For each window: q requests in any w seconds.",
}

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def costs(kind: RouteClass) -> Callable[[Endpoint], Endpoint]:
    """Of which class an endpoint is; without this mark it follows from its path and method."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.route_class = kind  # type: ignore[attr-defined]
        return endpoint

    return mark


def class_of(endpoint: Callable[..., Any], path: str, method: str) -> RouteClass:
    """The class of a route: actuators are expensive, what asks is a read, everything else a write."""
    marked: RouteClass | None = getattr(endpoint, "route_class", None)
    if marked is not None:
        return marked
    if ACTUATORS in path:
        return RouteClass.EXPENSIVE
    return RouteClass.READ if method in ("GET", "HEAD") else RouteClass.WRITE


class Limiting:
    """What a worker needs to limit its callers: the rings, and how often who may ask."""

    def __init__(self, limiter: Limiter, live: LiveLimits, configuration: LiveConfiguration) -> None:
        self.limiter, self.live, self._configuration = limiter, live, configuration
        self._made: dict[tuple[RouteClass, str | None], Windows] = {}
        self._made_of: tuple[object, object] = (None, None)

    async def admit(self, scope: Scope, kind: RouteClass, *, key_id: str | None) -> None:
        """Count a request of a key, or of an address that showed none; Raises: TooManyRequests."""
        party = key_id if key_id is not None else address_of(scope)
        verdict = await self.limiter.take(party, kind.value, self.windows(kind, key_id))
        scope[LIMITED] = headers(verdict)
        if not verdict.admitted:
            raise _too_many(verdict, kind)

    def windows(self, kind: RouteClass, key_id: str | None = None) -> Windows:
        """How often a key may ask in a class, as it is in force now."""
        now = (self._configuration.now, self.live.now)
        if now[0] is not self._made_of[0] or now[1] is not self._made_of[1]:
            self._made, self._made_of = {}, now
        own = key_id if key_id in self.live.now else None
        made = self._made.get((kind, own))
        if made is None:
            made = self._made[kind, own] = self._windows(kind, self.live.now[own] if own else None)
        return made

    def _windows(self, kind: RouteClass, own: KeyLimits | None) -> Windows:
        per_minute, per_second = PARAMETERS[kind]
        minute = Window(kind.value, self._configuration.now[per_minute], MINUTE_SECONDS)
        burst = Window(f"{kind.value}-burst", self._configuration.now[per_second], BURST_SECONDS)
        limits = own.limits.get(kind) if own is not None else None
        if limits is not None:
            minute = replace(minute, limit=limits.per_minute or minute.limit)
            burst = replace(burst, limit=limits.per_second or burst.limit)
        return minute, burst


def limiting_of(settings: Settings, database: Database, configuration: LiveConfiguration) -> Limiting:
    """What a worker with these settings limits its callers by."""
    url = settings.limits_redis_url
    limiter = Limiter(
        settings.data_dir / "limits" / "rings",
        redis_url=url.get_secret_value() if url else None,
        instances=settings.limits_instances,
        workers=settings.workers,
    )
    return Limiting(limiter, LiveLimits(database), configuration)


def address_of(scope: Scope) -> str:
    """Who calls without a key: an address, or a network of IPv6, of which one caller has as many as they like."""
    client: tuple[str, int] | None = scope.get("client")
    if client is None:
        return "-"
    try:
        address = ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0][:100]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{int(address) >> 64:x}/64"
    return str(address)


def headers(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """How a caller stands in every window: as the IETF's draft has it, and as many programs read it.

    Whoever sends no more than what is left and waits for the seconds told is never refused: after them every request
    of the window is back. X-RateLimit tells of the window that has the least left, in seconds from now.
    """
    standings = []
    tightest = (0, 0, 0)
    least = -1
    for window, inside in zip(verdict.windows, verdict.inside, strict=True):
        left = max(0, window.limit - inside)
        back = _seconds(window.span_us - verdict.newest_us) if inside else 0
        standings.append(f'"{window.name}";r={left};t={back}')
        if least < 0 or left < least:
            least, tightest = left, (window.limit, left, back)
    limit, left, back = tightest
    told = [
        (b"ratelimit-policy", _policy(verdict.windows)),
        (b"ratelimit", ", ".join(standings).encode("ascii")),
        (b"x-ratelimit-limit", b"%d" % limit),
        (b"x-ratelimit-remaining", b"%d" % left),
        (b"x-ratelimit-reset", b"%d" % back),
    ]
    if not verdict.admitted:
        told.append((b"retry-after", b"%d" % _seconds(verdict.wait_us + MARGIN_US)))
    return told


@lru_cache(maxsize=1_000)
def _policy(windows: Windows) -> bytes:
    return ", ".join(f'"{one.name}";q={one.limit};w={one.seconds}' for one in windows).encode("ascii")


def _seconds(microseconds: int) -> int:
    return max(1, math.ceil(microseconds / 1_000_000))


def _too_many(verdict: Verdict, kind: RouteClass) -> TooManyRequests:
    standings = list(zip(verdict.windows, verdict.inside, strict=True))
    window = next((window for window, inside in standings if inside >= window.limit), verdict.windows[0])
    seconds = _seconds(verdict.wait_us + MARGIN_US)
    who = "An address without a valid key" if kind is RouteClass.STRANGER else "A key"
    span = "any second" if window.seconds == 1 else f"any {window.seconds} s"
    remedy = f"Wait {seconds} s, then ask again; RateLimit and X-RateLimit-Remaining say how many requests are left"
    return TooManyRequests(
        f"{who} may send {window.limit} requests of the class {kind} in {span}",
        route_class=kind, limit=window.limit, window_seconds=window.seconds, retry_after_seconds=seconds, remedy=remedy,
    )  # fmt: skip
