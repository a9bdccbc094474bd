"""How the log lies on Redis: which stream an event goes to, under which id, with which fields."""

import zlib
from dataclasses import dataclass
from enum import StrEnum

from instrument_registry.events import wire
from instrument_registry.events.model import Event

PREFIX = "instrument-registry"
MARKER = f"{PREFIX}:relay"
ONE_STREAM = f"{PREFIX}:events"
PARTITIONS = 16
STREAMS = tuple(f"{PREFIX}:events:{number}" for number in range(PARTITIONS))


class Ordering(StrEnum):
    """What the order of a stream promises."""

    NONE = "none"  # spread evenly
    PARTITION = "partition"  # all events about one subject, in order
    GLOBAL = "global"  # all events, in order


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it stands on Redis: its stream's place among the streams, its position, its fields."""

    stream: int
    position: int
    fields: tuple[str, ...]  # name, value, name, value, …


def streams(ordering: Ordering) -> tuple[str, ...]:
    """The keys of the streams."""
    return (ONE_STREAM,) if ordering is Ordering.GLOBAL else STREAMS


def stream_of(event: Event, ordering: Ordering) -> int:
    """The place of an event's stream among the streams."""
    match ordering:
        case Ordering.GLOBAL:
            return 0
        case Ordering.PARTITION:
            return zlib.crc32((event.subject or event.stream).encode()) % PARTITIONS
        case Ordering.NONE:
            return (event.position or 0) % PARTITIONS


def entry(event: Event, ordering: Ordering) -> Entry:
    """An event that has a position, as it stands on Redis."""
    assert event.position is not None
    own, *others = wire.wire_types(event.type)
    fields = {
        "event_type": own,
        "also": " ".join(others),
        "data": event.data,
        "position": str(event.position),
        "event_id": str(event.event_id),
        "stream": event.stream,
        "stream_version": str(event.stream_version),
        "subject": event.subject or "",
        "schema_version": str(event.schema_version),
        "occurred_at": event.occurred_at.isoformat(),
        "recorded_at": event.recorded_at.isoformat(),
        "actor": event.metadata.actor,
        "correlation_id": event.metadata.correlation_id,
    }
    if event.metadata.traceparent is not None:
        fields["traceparent"] = event.metadata.traceparent
    return Entry(stream_of(event, ordering), event.position, tuple(text for pair in fields.items() for text in pair))


def id_of(position: int) -> str:
    """The id of the entry for a position."""
    return f"{position}-0"


def position_of(entry_id: str) -> int:
    """The position an entry's id stands for."""
    return int(entry_id.partition("-")[0])
