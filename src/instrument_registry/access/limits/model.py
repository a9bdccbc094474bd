"""Route classes, windows, and the verdict on one request."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from instrument_registry.errors import Invalid, NotFound, TooMany

MINUTE_SECONDS, BURST_SECONDS = 60, 1
MOST_PER_MINUTE = 1_000_000


class RouteClass(StrEnum):
    """What a request costs; each class has limits of its own."""

    EXPENSIVE = "expensive"
    WRITE = "write"
    READ = "read"
    STRANGER = "stranger"  # whoever showed no valid key, by address


KEYED = (RouteClass.EXPENSIVE, RouteClass.WRITE, RouteClass.READ)


class TooManyRequests(TooMany):
    """Wait as many seconds as Retry-After says; RateLimit tells in every answer how many requests are left."""

    title = "Too many requests"


class BadLimits(Invalid):
    """Name classes and how often a key may ask in each."""

    title = "The limits are not valid"


class NoLimitsOfItsOwn(NotFound):
    """List the limits to see which keys have some of their own."""

    title = "This key has no limits of its own"


@dataclass(frozen=True, slots=True)
class Window:
    """At most so many requests in any so many seconds."""

    name: str
    limit: int
    seconds: int

    @property
    def span_us(self) -> int:
        """Its length in microseconds."""
        return self.seconds * 1_000_000

    def share(self, parts: int) -> "Window":
        """What one of some parties that cannot see each other may let pass: never nothing."""
        return self if parts == 1 else Window(self.name, max(1, self.limit // parts), self.seconds)


Windows = tuple[Window, ...]  # the longest first


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one request is let pass, and how each window stands after it."""

    windows: Windows
    inside: tuple[int, ...]  # requests let pass within each window, this one included
    newest_us: int  # how long ago the last of them was
    wait_us: int  # 0: this one was let pass

    @property
    def admitted(self) -> bool:
        """Whether it was let pass."""
        return self.wait_us == 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How often a key may ask; None: as every other key."""

    per_minute: int | None = None
    per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """The limits of one key in the classes where it has its own."""

    key_id: str
    limits: Mapping[RouteClass, Limits]
    reason: str
    set_by: str
    set_at: datetime
