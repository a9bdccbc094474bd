"""Looking through the log: from a position on, along one stream, or about one subject."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from instrument_registry.database import Transaction
from instrument_registry.events import service, wire
from instrument_registry.events.model import Event
from instrument_registry.events.streams import positions

PAGE = 2_000
PAGES_MAX = 10  # looked through for one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which events somebody looks for; a stream goes before a subject, and instants are those of recording."""

    filters: tuple[str, ...] = (wire.EVERYTHING,)
    stream: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    bulk: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """Events under the names asked for, the place where to go on, and whether there may be more behind it.

    A place is a position, or the version in a stream, or the number of an event about a subject.
    """

    events: list[tuple[Event, str]]
    place: int
    more: bool


async def browse(tx: Transaction, question: Question, *, after: int, limit: int) -> Found:
    """The first so many events after a place, or fewer when many had to be passed over; Raises: Archived."""
    found: list[tuple[Event, str]] = []
    place = after
    pages = 0
    async for events, reached, more in _pages(tx, question, after=after):
        for event in events:
            name = wire.sent_as(event.type, question.filters)
            if name is None or not _recorded_within(event, question):
                continue
            if len(found) == limit:
                return Found(found, _place_of(found[-1][0], question), True)
            found.append((event, name))
        place, pages = reached, pages + 1
        if not more or pages == PAGES_MAX:
            return Found(found, place, more)
    return Found(found, place, False)


async def _pages(tx: Transaction, question: Question, *, after: int) -> AsyncIterator[tuple[list[Event], int, bool]]:
    """What there is, page by page: the events, the place reached, and whether there is more."""
    if question.stream is not None:
        head = await service.head_version(tx, question.stream)
        while True:
            events = await service.read_stream(tx, question.stream, after_version=after, limit=PAGE)
            after = min(after + PAGE, head)
            yield events, after, after < head
    if question.subject is not None:
        while True:
            events = await service.read_about(tx, question.subject, after_number=after, limit=PAGE)
            after = _place_of(events[-1], question) if events else after
            yield events, after, len(events) == PAGE
    last = None
    if question.since is not None:
        first = await positions.first_at(tx, question.since)
        after = max(after, await service.head_position(tx) if first is None else first - 1)
    if question.until is not None:
        last = await positions.last_at(tx, question.until)
    await positions.ensure_readable(tx, after + 1)
    while True:
        page = await service.read(tx, after=after, limit=PAGE, bulk=question.bulk)
        more = page.position - after >= PAGE and (last is None or page.position < last)
        after = page.position
        yield page.events, after, more


def _recorded_within(event: Event, question: Question) -> bool:
    return (question.since is None or event.recorded_at >= question.since) and (
        question.until is None or event.recorded_at <= question.until
    )


def _place_of(event: Event, question: Question) -> int:
    if question.stream is not None:
        return event.stream_version
    if question.subject is not None:
        return event.append.number + event.place
    return event.position or 0
