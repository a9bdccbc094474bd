"""Where the single facts of a run are, for whoever is told of the run alone."""

from collections.abc import Iterable

import msgspec

from instrument_registry.database import Transaction
from instrument_registry.events import service
from instrument_registry.events.model import Event

APPLIED = "ingestion.applied"


class _Versions(msgspec.Struct):
    first_version: int
    last_version: int


async def ranges(tx: Transaction, told: Iterable[Event]) -> dict[int, tuple[int, int]]:
    """First and last position of the facts that each `ingestion.applied` sums up, by its own position."""
    found: dict[int, tuple[int, int]] = {}
    for event in told:
        if event.type != APPLIED or event.position is None:
            continue
        versions = msgspec.json.decode(event.data, type=_Versions)
        first = await service.read_stream(tx, event.stream, after_version=versions.first_version - 1, limit=1)
        last = await service.read_stream(tx, event.stream, after_version=versions.last_version - 1, limit=1)
        if (
            first
            and last
            and first[0].position
            and last[0].position
            and versions.first_version <= versions.last_version
        ):
            found[event.position] = (first[0].position, last[0].position)
    return found
