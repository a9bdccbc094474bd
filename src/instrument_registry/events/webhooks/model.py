"""Endpoints, what is due to them, and when to try again; no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self
from uuid import UUID

from instrument_registry.errors import ChangedSince, Conflict, Invalid, NotFound
from instrument_registry.events import wire

DESCRIPTION_CHARACTERS = 500
OWNER_CHARACTERS = 100
TYPES_MAX = 50
INSTRUMENTS_MAX = 1_000
CONCURRENCY, CONCURRENCY_MAX = 8, 32
OVERLAP_SECONDS, OVERLAP_SECONDS_MAX = 24 * 3600, 30 * 24 * 3600
SECRETS_MAX = 5  # that sign at once
THIN_ABOVE_BYTES = 20_000
TIMEOUT_SECONDS = 15.0

GONE = 410
PING = "webhook.ping"


class NoSuchEndpoint(NotFound):
    """List the endpoints to see their ids."""

    title = "There is no such webhook endpoint"


class NoSuchDelivery(NotFound):
    """List the endpoint's deliveries to see their ids; they are kept for a while after they ended."""

    title = "There is no such delivery"


class NoSuchReplay(NotFound):
    """Take the id from the answer that began the replay."""

    title = "There is no such replay"


class EndpointChanged(ChangedSince):
    """Read the endpoint again, then decide; send its ETag in If-Match."""

    title = "The endpoint has been changed by somebody else"


class EndpointRefused(Invalid):
    """Correct the field."""

    title = "The webhook endpoint cannot be like this"


class DeliveryWaits(Conflict):
    """Nothing is to be done: it will be tried when it is due."""

    title = "The delivery is still to be tried"


class ReplayEnded(Conflict):
    """Nothing is left to cancel."""

    title = "The replay has ended"


class Format(StrEnum):
    """How an event is written into a request."""

    STANDARD = "standard"
    CLOUDEVENTS = "cloudevents"
    CLOUDEVENTS_BINARY = "cloudevents_binary"


class Signature(StrEnum):
    """How a request is signed (Standard Webhooks): with a shared secret, or with a key pair."""

    HMAC = "v1"
    ED25519 = "v1a"


class EndpointState(StrEnum):
    """Whether an endpoint is sent to: paused by somebody, or disabled because it does not answer any more."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class DeliveryStatus(StrEnum):
    """Where a delivery stands; a failed one has used up its schedule."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ReplayStatus(StrEnum):
    """Where a replay stands."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an endpoint is to be like, as its owner says it."""

    url: str
    description: str = ""
    owner: str = ""
    event_types: tuple[str, ...] = (wire.EVERYTHING,)
    instruments: tuple[str, ...] = ()
    format: Format = Format.STANDARD
    signature: Signature = Signature.HMAC
    ordered: bool = False
    bulk: bool = False
    concurrency: int = CONCURRENCY

    def check(self) -> None:
        """See that this can be; the address is judged apart. Raises: EndpointRefused, BadFilter."""
        if not 1 <= len(self.event_types) <= TYPES_MAX:
            raise EndpointRefused(f"Name 1 to {TYPES_MAX} event types, or * for all", field="event_types")
        wire.check_filters(self.event_types, field="event_types")
        if len(self.instruments) > INSTRUMENTS_MAX:
            raise EndpointRefused(f"At most {INSTRUMENTS_MAX} instruments are listed", field="instruments")
        if not 1 <= self.concurrency <= CONCURRENCY_MAX:
            problem = f"1 to {CONCURRENCY_MAX} requests go out at once, not {self.concurrency}"
            raise EndpointRefused(problem, field="concurrency", value=self.concurrency)
        for field, text, longest in (
            ("description", self.description, DESCRIPTION_CHARACTERS),
            ("owner", self.owner, OWNER_CHARACTERS),
        ):
            if len(text) > longest or not text.isprintable():
                raise EndpointRefused(f"The {field} has up to {longest} printable characters", field=field)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address that is sent events; it changes by replacement, and its version counts the changes."""

    id: int
    wanted: Wanted
    state: EndpointState
    state_reason: str | None
    starts_after: int
    version: int
    actor: str
    created_at: datetime
    changed_at: datetime

    def changed(self, *, at: datetime, wanted: Wanted | None = None) -> Self:
        """The endpoint as somebody wants it from now on."""
        return replace(self, wanted=wanted or self.wanted, version=self.version + 1, changed_at=at)

    def turned(self, state: EndpointState, *, reason: str | None, at: datetime) -> Self:
        """The endpoint in another state."""
        return replace(self, state=state, state_reason=reason, version=self.version + 1, changed_at=at)

    def sends(self, type_: str) -> str | None:
        """The name under which facts of a type go here, if they do."""
        return wire.sent_as(type_, self.wanted.event_types)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How an endpoint has been doing."""

    last_success_at: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    warned_percent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """One of the secrets that sign for an endpoint."""

    endpoint_id: int
    version: int  # of the endpoint from which on it signs
    sealed: bytes
    public_key: str | None
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint."""

    id: int
    endpoint_id: int
    event_id: UUID
    position: int | None
    type: str
    subject: str | None
    status: DeliveryStatus
    step: int
    attempts: int
    due_at: datetime
    created_at: datetime
    finished_at: datetime | None
    answer: int | None
    problem: str | None
    replay_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request as it went out, and what came back."""

    number: int
    at: datetime
    url: str
    body_bytes: int
    answer: int | None
    problem: str | None
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Events that are sent to an endpoint once more."""

    id: int
    endpoint_id: int
    first_position: int
    last_position: int
    event_types: tuple[str, ...]
    instruments: tuple[str, ...]
    status: ReplayStatus
    position: int
    made: int
    reason: str
    actor: str
    correlation_id: str
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When to try, how often, and when to give an endpoint up; tests shorten times by `scale`."""

    waits_seconds: Sequence[float] = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    jitter: float = 0.1  # of a wait, to either side
    retry_after_seconds_max: float = 86_400
    timeout_seconds: float = TIMEOUT_SECONDS  # of a request, not scaled
    broken_after: int = 5  # failures without a success between them
    probe_seconds: float = 1.0  # doubles up to the longest
    probe_seconds_max: float = 60.0
    failing_hours: float = 120.0
    failing_attempts: int = 20
    warned_at_percent: Sequence[int] = (50, 70, 90)
    scale: float = 1.0

    def wait_after(self, step: int, *, chance: float) -> timedelta | None:
        """How long to wait after the attempt of a step (from 0) has failed; None when it was the last.

        `chance` is a random number from 0 to 1.
        """
        if step + 1 >= len(self.waits_seconds):
            return None
        wait = self.waits_seconds[step + 1] * (1 + self.jitter * (2 * chance - 1))
        return timedelta(seconds=wait * self.scale)

    def asked_to_wait(self, seconds: float) -> timedelta:
        """What of a Retry-After is heeded."""
        return timedelta(seconds=min(max(seconds, 0.0), self.retry_after_seconds_max * self.scale))

    def pause_seconds(self, failures: int) -> float:
        """How long an endpoint that failed so often in a row is left alone."""
        if failures < self.broken_after:
            return 0.0
        doublings = min(failures - self.broken_after, 30)
        return min(self.probe_seconds * 2.0**doublings, self.probe_seconds_max) * self.scale

    def given_up_percent(self, health: Health, *, at: datetime) -> int:
        """How near an endpoint is to being disabled: at 100 it has failed long enough and often enough."""
        if health.failing_since is None:
            return 0
        long_enough = (at - health.failing_since).total_seconds() / (self.failing_hours * 3600 * self.scale)
        often_enough = health.failures / self.failing_attempts
        return int(100 * min(long_enough, often_enough, 1.0))


def is_success(status: int) -> bool:
    """Whether an answer means that the event has been taken."""
    return 200 <= status < 300
