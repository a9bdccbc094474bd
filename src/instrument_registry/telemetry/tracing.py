"""Traces: whose request a piece of work belongs to, told in W3C's form, and spans where a collector was named.

Without a collector nothing is made and nothing of OpenTelemetry's SDK is imported: what a caller sent is passed on.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, Token
from typing import Literal, Protocol

Attributes = Mapping[str, str | int | float | bool | None]
Kind = Literal["internal", "server", "client"]

CORRELATION = "instrument_registry.correlation_id"

# version 00: trace, parent, flags; neither id may be all zeros.
FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# A later version may say more behind the flags; what is known of it is read as version 00.
LATER = re.compile(r"(?!ff|00)[0-9a-f]{2}(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?")


class Span(Protocol):
    """A piece of work that is being timed."""

    @property
    def traceparent(self) -> str | None:
        """How this work is named to whoever it is handed to."""

    def tell(self, attributes: Attributes) -> None:
        """Say more about it."""

    def named(self, name: str) -> None:
        """Name it anew, now that it is known what it is."""

    def failed(self, why: str) -> None:
        """Mark it as gone wrong."""


class Spans(Protocol):
    """Whoever makes spans."""

    def span(
        self, name: str, *, kind: Kind, parent: str | None, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """A span that is the present one inside the block; a failure that leaves the block is told."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """A span inside the present one, if there is one, and never the present one itself."""

    def traceparent(self) -> str | None:
        """The present span, as it is named to others."""


class Unrecorded:
    """No span: it hands on what it was given."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def tell(self, attributes: Attributes) -> None:
        """Nobody listens."""

    def named(self, name: str) -> None:
        """Nobody listens."""

    def failed(self, why: str) -> None:
        """Nobody listens."""


NO_ATTRIBUTES: Attributes = {}
_carried: ContextVar[str | None] = ContextVar("traceparent", default=None)
_spans: Spans | None = None
_NOTHING: AbstractContextManager[object] = nullcontext()


def record_with(spans: Spans | None) -> None:
    """Make spans from now on, or no longer."""
    global _spans
    _spans = spans


def recording() -> bool:
    """Whether spans are made."""
    return _spans is not None


def span(
    name: str, *, kind: Kind = "internal", parent: str | None = None, attributes: Attributes = NO_ATTRIBUTES
) -> AbstractContextManager[Span]:
    """A piece of work, begun because of `parent` or, without one, of what is under way."""
    if _spans is None:
        return _carrying(parent) if parent else nullcontext(Unrecorded(_carried.get()))
    return _spans.span(name, kind=kind, parent=parent, attributes=attributes)


def step(name: str) -> AbstractContextManager[object]:
    """A part of the work that is under way; nothing where no work is traced."""
    return _NOTHING if _spans is None else _spans.step(name)


def traceparent() -> str | None:
    """What whoever is asked to do something because of the present work should be told."""
    return _carried.get() if _spans is None else _spans.traceparent()


def carry(parent: str | None) -> "Token[str | None]":
    """Remember what a caller sent, for whatever is done because of it; hand the token to `put_back`."""
    return _carried.set(parent)


def put_back(token: "Token[str | None]") -> None:
    """Forget it again."""
    _carried.reset(token)


def understood(given: str) -> str | None:
    """A caller's `traceparent` as version 00; None for what is none."""
    if FORM.fullmatch(given):
        return given
    later = LATER.fullmatch(given)
    return f"00{later[1]}" if later else None


@contextmanager
def _carrying(parent: str) -> Iterator[Span]:
    token = carry(parent)
    try:
        yield Unrecorded(parent)
    finally:
        put_back(token)


def trace_id_of(parent: str | None) -> str | None:
    """The id of the trace that a `traceparent` names."""
    return None if parent is None else parent[3:35]
