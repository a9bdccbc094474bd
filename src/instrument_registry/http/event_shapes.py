"""Events as they leave: one shape for lists, streams and dead letters."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from instrument_registry.events import wire
from instrument_registry.events.model import Event
from instrument_registry.events.streams.positions import Start
from instrument_registry.http.encoding import json_bytes
from instrument_registry.http.problems import FieldProblem, refused, shown

EventType = Annotated[
    str, msgspec.Meta(min_length=1, max_length=100, description="A type, a family such as instrument.*, or *.")
]
EventTypes = Annotated[list[EventType], msgspec.Meta(max_length=100)]
ConsumerId = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$")]
Position = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
LARGEST = 2**63 - 1
From = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=40, description="earliest, latest, a position, or an instant (YYYY-MM-DDThh:mm:ssZ)."
    ),
]


class RunRange(msgspec.Struct, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """Where the single facts of a run are."""

    first: int
    last: int


class EventShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event; `data` is what its schema in schemas/events promises, `run` where the facts of an ingestion are."""

    event_type: str
    data: dict[str, Any]
    event_id: UUID
    stream: str
    stream_version: int
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    correlation_id: str
    position: int | None = None
    subject: str | None = None
    causation_id: UUID | None = None
    source: str | None = None
    traceparent: str | None = None
    attempt: int | None = None
    run: RunRange | None = None


class _EventSent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The same on its way out: the data are the text that is stored."""

    event_type: str
    data: msgspec.Raw
    event_id: UUID
    stream: str
    stream_version: int
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    correlation_id: str
    position: int | None = None
    subject: str | None = None
    causation_id: UUID | None = None
    source: str | None = None
    traceparent: str | None = None
    attempt: int | None = None
    run: RunRange | None = None


def event_json(
    event: Event, *, name: str | None = None, attempt: int | None = None, run: tuple[int, int] | None = None
) -> msgspec.Raw:
    """An event as JSON, under its own type or another name it travels by."""
    metadata = event.metadata
    sent = _EventSent(
        event_type=name or event.type,
        data=msgspec.Raw(wire.data_as(event, name or event.type)),
        event_id=event.event_id,
        stream=event.stream,
        stream_version=event.stream_version,
        schema_version=event.schema_version,
        occurred_at=event.occurred_at,
        recorded_at=event.recorded_at,
        actor=metadata.actor,
        correlation_id=metadata.correlation_id,
        position=event.position,
        subject=event.subject,
        causation_id=metadata.causation_id,
        source=metadata.source,
        traceparent=metadata.traceparent,
        attempt=attempt,
        run=None if run is None else RunRange(first=run[0], last=run[1]),
    )
    return msgspec.Raw(json_bytes(sent))


def start_of(text: str, *, field: str) -> Start:
    """Where somebody wants to begin; Raises: InvalidRequest."""
    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= LARGEST:
        return int(text)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        remedy = "Send earliest, latest, a position from 1, or an instant with its offset (YYYY-MM-DDThh:mm:ssZ)"
        raise refused([FieldProblem(field=field, problem="is no place to begin", remedy=remedy, value=shown(text))])
    return instant
