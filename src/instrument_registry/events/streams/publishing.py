"""What others publish: events of types of their own, told once however often they are sent."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from instrument_registry.database import Transaction
from instrument_registry.errors import Conflict, Forbidden, Invalid
from instrument_registry.events import service
from instrument_registry.events.model import PLACES, Append, EventIdTaken, External, Metadata
from instrument_registry.events.wire import FILTER

FAMILY = "external."
AT_ONCE_MAX = 100
TYPE_CHARACTERS = 100
DATA_BYTES_MAX = 64 * 1024
DATA_DEPTH_MAX = 32


class InternalType(Forbidden):
    """Publish under a type that begins with `external.`."""

    title = "Only external events can be published"


class PublishedOtherwise(Conflict):
    """Send a new Idempotency-Key for other events."""

    title = "The Idempotency-Key stands for other events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One event as somebody publishes it; `data` is the text of a JSON object."""

    event_type: str
    data: str
    subject: str | None
    occurred_at: datetime | None


async def publish(
    tx: Transaction, said: Sequence[Said], *, stream: str, key: str | None, metadata: Metadata, at: datetime
) -> Append:
    """Tell events of others, all or none; with a key the same caller's second request answers what the first one did.

    Raises: InternalType, PublishedOtherwise, Invalid.
    """
    if not 1 <= len(said) <= AT_ONCE_MAX:
        raise Invalid(f"1 to {AT_ONCE_MAX} events can be published at once", field="events")
    for number, one in enumerate(said):
        _check(one, field=f"events[{number}]")
    facts = [
        External(occurred_at=one.occurred_at or at, name=one.event_type, about=one.subject, text=one.data)
        for one in said
    ]
    event_id = None if key is None else id_of(metadata.actor, key)
    try:
        told = await service.append(tx, *facts, stream=f"external-{stream}", metadata=metadata, event_id=event_id)
    except EventIdTaken as error:
        raise PublishedOtherwise("This key came before with other events", key=key) from error
    if key is not None:
        await _compare(tx, told, said, key=key)
    return told


def id_of(actor: str, key: str) -> UUID:
    """The id of the first event of a request: the same for the same caller and key."""
    digest = hashlib.sha256(f"{len(actor)}:{actor}{key}".encode()).hexdigest()
    named = UUID(f"{digest[:12]}8{digest[13:16]}8{digest[17:32]}")  # version 8: made otherwise
    return UUID(int=named.int & ~PLACES)


async def _compare(tx: Transaction, told: Append, said: Sequence[Said], *, key: str) -> None:
    kept = await service.read_stream(tx, told.stream, after_version=told.first_version - 1, limit=told.facts)
    if [(one.type, one.subject, one.data) for one in kept] != [(one.event_type, one.subject, one.data) for one in said]:
        raise PublishedOtherwise("This key came before with other events", key=key)


def _check(one: Said, *, field: str) -> None:
    if not one.event_type.startswith(FAMILY):
        shown = one.event_type[:TYPE_CHARACTERS]
        detail = f"{shown} is a type of ours; publish under a type that begins with {FAMILY}"
        raise InternalType(detail, field=f"{field}.event_type", value=shown)
    if len(one.event_type) > TYPE_CHARACTERS or "*" in one.event_type or not FILTER.fullmatch(one.event_type):
        detail = "A type has up to 100 small letters, digits and underscores, divided by dots: external.desk.opened"
        raise Invalid(detail, field=f"{field}.event_type", value=one.event_type[:TYPE_CHARACTERS])
    if len(one.data.encode()) > DATA_BYTES_MAX:
        detail = f"The data of an event has at most {DATA_BYTES_MAX} bytes; send a link to more"
        raise Invalid(detail, field=f"{field}.data")
    if _depth(msgspec.json.decode(one.data)) > DATA_DEPTH_MAX:
        raise Invalid(f"The data of an event is at most {DATA_DEPTH_MAX} levels deep", field=f"{field}.data")


def _depth(value: object) -> int:
    """How many levels a value has, counted level by level."""
    level, depth = [value], 0
    while level:
        depth += 1
        level = [inner for one in level for inner in _parts(one)]
    return depth


def _parts(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
