"""What consumers and the registry say to each other, without any input or output."""

import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from instrument_registry.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    RegistryError,
    TooLarge,
    Unauthorized,
    Unavailable,
)

PREFIX = "/api/v1/internal/instrument-registry"
STREAM = f"{PREFIX}/events/stream"
# The registry says something every ten seconds.
SILENCE_SECONDS = 35.0
CONNECT_SECONDS = 10.0
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
LINE_BYTES_MAX = 1024 * 1024
AT_ONCE_MAX = 1_000
REASON_CHARACTERS, DETAIL_CHARACTERS = 200, 1_000

KINDS: dict[int, type[RegistryError]] = {
    401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone, 413: TooLarge, 415: Invalid,
    422: Invalid,
}  # fmt: skip
FINAL: dict[str, type[RegistryError]] = {
    "removed": NotFound, "elsewhere": Conflict, "refused": Unauthorized, "archived": Gone,
}  # fmt: skip
CAUGHT_UP = "caught_up"


class Run(msgspec.Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """Positions of the single facts of an ingestion."""

    first: int
    last: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event; `attempt` counts how often it was handed out, this time included."""

    event_type: str
    data: dict[str, Any]
    position: int
    event_id: UUID
    stream: str
    stream_version: int
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    correlation_id: str
    subject: str | None = None
    traceparent: str | None = None  # W3C's name of the work that caused it: go on from it where you trace
    attempt: int = 1
    run: Run | None = None


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life, or the end of a stream."""

    ends: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Which events a consumer asks for, and how; what is None is left to the registry."""

    consumer_id: str
    event_types: Sequence[str] | None = None
    start: Literal["earliest", "latest"] | int | datetime | None = None  # when the consumer is made
    batch_size: int | None = None
    bulk: bool | None = None
    shared: bool | None = None
    acknowledge_within_seconds: int = 300
    follow: bool = True
    process: str = field(default_factory=lambda: secrets.token_hex(8))

    def body(self) -> bytes:
        """The request for a stream."""
        start = self.start.isoformat() if isinstance(self.start, datetime) else self.start
        asked: dict[str, object] = {
            "consumer_id": self.consumer_id, "event_types": self.event_types and list(self.event_types),
            "from": start, "batch_size": self.batch_size, "bulk": self.bulk, "shared": self.shared,
            "acknowledge_within_seconds": self.acknowledge_within_seconds, "follow": self.follow,
            "process": self.process,
        }  # fmt: skip
        return msgspec.json.encode({name: value for name, value in asked.items() if value is not None})

    @property
    def acknowledging(self) -> str:
        """Where to acknowledge."""
        return f"{PREFIX}/consumers/{self.consumer_id}/acknowledge"

    def leaving(self, begun: int | None) -> bytes:
        """We leave: what we have not begun was not looked at."""
        return msgspec.json.encode({"leaving": True, "process": self.process, "begun": [begun] if begun else []})


class Settled:
    """What is done and what failed, collected until somebody tells the registry: many at once cost as much as one."""

    def __init__(self) -> None:
        self._done: list[int] = []
        self._failed: list[dict[str, object]] = []

    def __bool__(self) -> bool:
        return bool(self._done or self._failed)

    def done(self, position: int) -> None:
        """One event is done."""
        self._done.append(position)

    def failed(self, position: int, error: Exception) -> None:
        """One event could not be digested: the kind of failure groups, its words tell."""
        detail = str(error)[:DETAIL_CHARACTERS].replace("\0", "")
        self._failed.append(
            {"position": position, "reason": type(error).__name__[:REASON_CHARACTERS], "detail": detail}
        )

    def take(self) -> bytes:
        """The acknowledgement of what has been collected; the rest of too much waits for the next."""
        done, self._done = self._done[:AT_ONCE_MAX], self._done[AT_ONCE_MAX:]
        failed, self._failed = self._failed[:AT_ONCE_MAX], self._failed[AT_ONCE_MAX:]
        return msgspec.json.encode({"positions": done, "failed": failed})


class _Kind(msgspec.Struct):
    event_type: str


class _Problem(msgspec.Struct):
    title: str = "The registry refused"
    detail: str = ""


class Lost(Exception):
    """The connection, or the stream on it, is over: come again."""


class CaughtUp(Exception):
    """Everything there is has been sent, as was asked."""


class Attempt:
    """Runs what others wrote: its failure is theirs, told to the registry, and never ours."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if isinstance(error, Exception):
            self.error = error
        return self.error is not None


def parsed(line: bytes) -> Event | None:
    """The event on a line; None for a sign of life.

    Raises: CaughtUp, Lost, or what the registry said at the end.
    """
    try:
        if msgspec.json.decode(line, type=_Kind).event_type != "heartbeat":
            return msgspec.json.decode(line, type=Event)
        beat = msgspec.json.decode(line, type=Heartbeat)
    except msgspec.DecodeError as error:
        raise Lost("a line was cut short") from error
    if beat.ends == CAUGHT_UP:
        raise CaughtUp
    if beat.ends in FINAL:
        raise _titled(FINAL[beat.ends], "The stream has ended")(beat.detail)
    if beat.ends is not None:
        raise Lost(beat.detail)
    return None


def refusal(status: int, content: bytes) -> RegistryError:
    """A problem document as an error; Unavailable is worth another try."""
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(detail=f"it answered {status} without saying why")
    return _titled(KINDS.get(status, Unavailable), problem.title)(problem.detail)


def headers(key: str, *, accept: str) -> Mapping[str, str]:
    """What every request carries."""
    return {"X-Internal-API-Key": key, "Content-Type": "application/json", "Accept": accept}


class Backoff:
    """How long to wait before coming again: longer each time, with chance, until something went well."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._failures = 0
        self._chance = chance or random.Random()  # noqa: S311

    def succeeded(self) -> None:
        """Begin with short waits again."""
        self._failures = 0

    def next_seconds(self) -> float:
        """How long to wait now."""
        seconds = BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS) - 1)]
        self._failures += 1
        return seconds * self._chance.uniform(0.5, 1.0)


def _titled(kind: type[RegistryError], title: str) -> type[RegistryError]:
    return type(kind.__name__, (kind,), {"title": title})
