"""The fact log behind the recorder interfaces of the package `eventsourcing`, so that its own tests judge ours.

Its notification ids are the sequencer's positions: whoever writes lets the sequencer come by before it answers. Its
versions begin at 0 or 1 as its writer likes, ours at 1: each fact keeps the number its writer gave it.
"""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, TypeVar
from uuid import UUID

import msgspec
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)

from facts import AT, METADATA
from instrument_registry import events
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Conflict
from instrument_registry.events import Event, Fact, sequencer
from instrument_registry.events.projections import service as projections

Result = TypeVar("Result")
PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Fact):
    """Something that another package wants to keep."""

    type: ClassVar[str] = "test.stored"

    topic: str
    state: str
    version_given: int


class Loop:
    """An event loop in a thread of its own, with a database: for callers that know no coroutines."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.database = self.call(lambda: Database(url, pool_size=14).open())
        self._sequencing = threading.Lock()

    def call(self, work: Callable[[], Awaitable[Result]]) -> Result:
        async def done() -> Result:
            return await work()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(60)

    def sequence(self) -> None:
        """What the sequencer does when it is woken; there is only ever one."""

        async def one_pass() -> None:
            async with self.database.session("recorder") as session:
                await sequencer.catch_up(session)

        with self._sequencing:
            self.call(one_pass)

    def close(self) -> None:
        self.call(self.database.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Aggregates(AggregateRecorder):
    """Streams of stored events."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: object) -> Sequence[int] | None:
        self._insert(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        async def read() -> list[StoredEvent]:
            async with self.loop.database.transaction(read_only=True) as tx:
                return [_stored(event) async for event in _whole(tx, str(originator_id))]

        found = [
            one
            for one in self.loop.call(read)
            if (gt is None or one.originator_version > gt) and (lte is None or one.originator_version <= lte)
        ]
        return (found[::-1] if desc else found)[:limit]

    def _insert(self, stored_events: Sequence[StoredEvent], tracking: Tracking | None = None) -> list[UUID]:
        async def write() -> list[UUID]:
            async with self.loop.database.transaction() as tx:
                if tracking is not None:
                    await projections.move(tx, tracking.application_name, to=tracking.notification_id)
                ids = []
                for stream, group in groupby(stored_events, key=lambda one: str(one.originator_id)):
                    ids += await _append(tx, stream, list(group))
                return ids

        try:
            return self.loop.call(write)
        except Conflict as error:
            raise IntegrityError(str(error)) from error


class Applications(Aggregates, ApplicationRecorder):
    """All stored events in one order."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: object) -> Sequence[int] | None:
        tracking = kwargs.get("tracking")
        assert tracking is None or isinstance(tracking, Tracking)
        ids = self._insert(stored_events, tracking)
        self.loop.sequence()

        async def positions() -> list[int]:
            found = []
            async with self.loop.database.transaction(read_only=True) as tx:
                for first, count in ids:
                    position = (await events.find(tx, first)).position
                    assert position is not None
                    found += range(position, position + count)
            return found

        return self.loop.call(positions)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        after = 0 if start is None else start - inclusive_of_start

        async def read() -> list[Notification]:
            found: list[Notification] = []
            position = after
            async with self.loop.database.transaction(read_only=True) as tx:
                while len(found) < limit:
                    page = await events.read(tx, after=position, limit=PAGE)
                    if page.position == position:
                        break
                    position = page.position
                    found += [
                        one
                        for one in map(_notification, page.events)
                        if (not topics or one.topic in topics) and (stop is None or one.id <= stop)
                    ]
            return found[:limit]

        return self.loop.call(read)

    def max_notification_id(self) -> int | None:
        async def head() -> int:
            async with self.loop.database.transaction(read_only=True) as tx:
                return await events.head_position(tx)

        return self.loop.call(head) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "Following":
        return Following(self, gt, topics)


class Following(Subscription[Applications]):
    """Notifications as they come."""

    def __init__(self, recorder: Applications, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder, gt, topics)
        self._pages = events.follow(recorder.loop.database, after=gt or 0)
        self._read: list[Notification] = []

    def stop(self) -> None:
        super().stop()
        self._recorder.loop.call(self._pages.aclose)

    def __next__(self) -> Notification:
        while not self._has_been_stopped:
            if self._read:
                return self._read.pop(0)
            page = self._recorder.loop.call(self._pages.__anext__)
            self._read = [
                one for one in map(_notification, page.events) if not self._topics or one.topic in self._topics
            ]
        raise StopIteration


class Trackings(TrackingRecorder):
    """Positions of projections."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def insert_tracking(self, tracking: Tracking) -> None:
        async def move() -> None:
            async with self.loop.database.transaction() as tx:
                await projections.move(tx, tracking.application_name, to=tracking.notification_id)

        try:
            self.loop.call(move)
        except Conflict as error:
            raise IntegrityError(str(error)) from error

    def max_tracking_id(self, application_name: str) -> int | None:
        async def position() -> int | None:
            async with self.loop.database.transaction(read_only=True) as tx:
                return await projections.position(tx, application_name)

        return self.loop.call(position)


class Processes(Applications, Trackings, ProcessRecorder):
    """Stored events and the position they answer, in one transaction."""


async def _append(tx: Transaction, stream: str, stored: list[StoredEvent]) -> list[tuple[UUID, int]]:
    first = stored[0].originator_version
    beginning = await events.read_stream(tx, stream, limit=1)
    # A stream that begins at 0 is one behind our count of it.
    expected = 0 if not beginning else first - _given(beginning[0])
    if [one.originator_version for one in stored] != list(range(first, first + len(stored))) or (
        expected == 0 and first not in (0, 1)
    ):
        raise Conflict("Versions of a stream follow each other", stream=stream)
    facts = [
        Stored(
            occurred_at=AT, topic=one.topic, state=base64.b64encode(one.state).decode(),
            version_given=one.originator_version,
        )
        for one in stored
    ]  # fmt: skip
    done = await events.append(tx, *facts, stream=stream, metadata=METADATA, expected_version=expected)
    return [(done.event_id, len(facts))]


async def _whole(tx: Transaction, stream: str) -> AsyncIterator[Event]:
    after = 0
    while page := await events.read_stream(tx, stream, after_version=after, limit=PAGE):
        for event in page:
            yield event
        after = page[-1].stream_version


def _given(event: Event) -> int:
    return msgspec.json.decode(event.data, type=dict[str, object])["version_given"]


def _stored(event: Event) -> StoredEvent:
    return StoredEvent(*_told(event))


def _notification(event: Event) -> Notification:
    assert event.position is not None
    return Notification(*_told(event), id=event.position)


def _told(event: Event) -> tuple[UUID, int, str, bytes]:
    data = msgspec.json.decode(event.data)
    return UUID(event.stream), data["version_given"], data["topic"], base64.b64decode(data["state"])
