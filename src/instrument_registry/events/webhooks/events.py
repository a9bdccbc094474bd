"""What is told about webhook endpoints; never a secret, and of an address not its query."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events.model import Fact

Values = dict[str, str | int | bool | list[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFact(Fact):
    """Something happened to an endpoint."""

    type: ClassVar[str] = "webhook_endpoint.changed"

    endpoint: int
    url: str

    @property
    def subject(self) -> str:
        """The endpoint's id."""
        return f"webhook_endpoint:{self.endpoint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpointCreated(EndpointFact):
    """An address will be sent events."""

    type: ClassVar[str] = "webhook_endpoint.created"

    new: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpointUpdated(EndpointFact):
    """An endpoint is another one from now on: only what has changed is named."""

    type: ClassVar[str] = "webhook_endpoint.updated"

    old: Values
    new: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpointPaused(EndpointFact):
    """Somebody holds deliveries back; they wait."""

    type: ClassVar[str] = "webhook_endpoint.paused"

    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpointResumed(EndpointFact):
    """Deliveries go on."""

    type: ClassVar[str] = "webhook_endpoint.resumed"

    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpointDeleted(EndpointFact):
    """An address is sent nothing any more."""

    type: ClassVar[str] = "webhook_endpoint.deleted"

    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpointRotated(EndpointFact):
    """Another secret signs; the former ones do so too for as long as was said."""

    type: ClassVar[str] = "webhook_endpoint.secret_rotated"

    overlap_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpointWarned(EndpointFact):
    """An endpoint has failed for so long that it is on its way to being disabled."""

    type: ClassVar[str] = "webhook_endpoint.warned"

    percent: int
    failing_since: str
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpointDisabled(EndpointFact):
    """An endpoint is tried no longer until somebody resumes it: it said it is gone, or failed for too long."""

    type: ClassVar[str] = "webhook_endpoint.disabled"

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPinged(EndpointFact):
    """Somebody had an endpoint tried."""

    type: ClassVar[str] = "webhook_endpoint.pinged"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDeliveryRerun(EndpointFact):
    """Somebody had one event sent to an endpoint once more."""

    type: ClassVar[str] = "webhook_delivery.rerun"

    delivery: int
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookReplayStarted(EndpointFact):
    """Somebody has many events sent to an endpoint once more."""

    type: ClassVar[str] = "webhook_replay.started"

    replay: int
    first_position: int
    last_position: int
    event_types: list[str]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookReplayCancelled(EndpointFact):
    """Somebody stopped a replay; what of it still waited is not sent."""

    type: ClassVar[str] = "webhook_replay.cancelled"

    replay: int
    reason: str | None


def stream_of(endpoint: int) -> str:
    """Where the facts about an endpoint are told."""
    return f"webhook_endpoint:{endpoint}"
