"""What a request says: an event in the form an endpoint wants, or a link to it when it is large."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote
from uuid import UUID

from instrument_registry.events import wire
from instrument_registry.events.model import Event
from instrument_registry.events.webhooks.model import PING, THIN_ABOVE_BYTES, Format

SOURCE = "/instrument-registry"
EVENTS_PATH = "/api/v1/internal/instrument-registry/events"
TRACEPARENT = "traceparent"
# Of a CloudEvents header; all else, spaces too, is written in the per cent form of UTF-8.
AS_IT_IS = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


@dataclass(frozen=True, slots=True)
class Message:
    """The body of a request, and the headers that say how to read it."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """What is told: an event under the name it travels by, or a ping."""

    id: UUID
    type: str
    at: datetime
    data: str
    subject: str | None = None
    position: int | None = None
    traceparent: str | None = None

    @classmethod
    def of(cls, event: Event, name: str) -> "Told":
        """An event under a name."""
        data = wire.data_as(event, name)
        traceparent = event.metadata.traceparent
        return cls(event.event_id, name, event.occurred_at, data, event.subject, event.position, traceparent)

    @classmethod
    def ping(cls, event_id: UUID, at: datetime) -> "Told":
        """Something to try an endpoint with."""
        return cls(event_id, PING, at, '{"message":"It works."}')


def message(told: Told, form: Format, *, thin_above_bytes: int = THIN_ABOVE_BYTES) -> Message:
    """A told event as a request: above the bound without its data, but with the path where it can be read."""
    made = FORMS[form](told, None)
    if len(made.body) > thin_above_bytes:
        made = FORMS[form](told, f"{EVENTS_PATH}/{told.id}")
    if told.traceparent is None:
        return made
    return Message(made.body, {**made.headers, TRACEPARENT: told.traceparent})


def _standard(told: Told, link: str | None) -> Message:
    envelope: dict[str, object] = {"type": told.type, "timestamp": _instant(told.at), "id": str(told.id)}
    if told.position is not None:
        envelope["position"] = told.position
    if told.subject is not None:
        envelope["subject"] = told.subject
    if link is not None:
        envelope["link"] = link
    return Message(_with_data(envelope, told, link), {"content-type": "application/json"})


def _structured(told: Told, link: str | None) -> Message:
    envelope = {"specversion": "1.0", **_attributes(told, link)}
    if link is None:
        envelope["datacontenttype"] = "application/json"
    return Message(_with_data(envelope, told, link), {"content-type": "application/cloudevents+json; charset=utf-8"})


def _binary(told: Told, link: str | None) -> Message:
    attributes = {"specversion": "1.0", **_attributes(told, link)}
    headers = {f"ce-{name}": quote(str(value), safe=AS_IT_IS) for name, value in attributes.items()}
    return Message(b"" if link else told.data.encode(), headers | {"content-type": "application/json"})


def _attributes(told: Told, link: str | None) -> dict[str, object]:
    found: dict[str, object] = {"id": str(told.id), "source": SOURCE, "type": told.type, "time": _instant(told.at)}
    if told.subject:
        found["subject"] = told.subject
    if told.position is not None:
        found["sequence"] = str(told.position)
    if link is not None:
        found["dataref"] = link
    if told.traceparent is not None:  # CloudEvents' extension for traces: whence the event comes, not how it is sent
        found["traceparent"] = told.traceparent
    return found


def _with_data(envelope: Mapping[str, object], told: Told, link: str | None) -> bytes:
    head = json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))
    return (head if link else f'{head[:-1]},"data":{told.data}}}').encode()


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


FORMS = {Format.STANDARD: _standard, Format.CLOUDEVENTS: _structured, Format.CLOUDEVENTS_BINARY: _binary}
