"""What the log promises: facts are written once, in the caller's transaction, and read in one order by everybody."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from uuid import UUID

import psycopg
import structlog
from psycopg.rows import TupleRow

from instrument_registry.database import Database, DatabaseUnavailable, Transaction
from instrument_registry.errors import Invalid
from instrument_registry.events import model, schemas, storage
from instrument_registry.events.archives import storage as archives
from instrument_registry.events.audit import recording
from instrument_registry.events.model import (
    Append,
    Archived,
    Event,
    EventIdTaken,
    EventNotFound,
    Fact,
    FactRefused,
    Metadata,
    Page,
    Part,
    WrongVersion,
)

# Channels of a database. Sent in transactions of their own: a notification takes a lock of the whole server at commit.
APPENDED = "events_appended"
SEQUENCED = "events_sequenced"

MONTHS_AHEAD = 3

log = structlog.get_logger("events")


async def append(
    tx: Transaction,
    *facts: Fact,
    stream: str,
    metadata: Metadata,
    expected_version: int | None = None,
    event_id: UUID | None = None,
) -> Append:
    """Write facts to a stream in the caller's transaction, and with them the audit's record.

    With `event_id` a second call answers what the first one did and writes nothing; facts after the first have the
    ids that follow it, so for several its last five hexadecimal digits must be 0.
    Raises: WrongVersion (its facts say `actual_version`), EventIdTaken, FactRefused.
    """
    rows = [(fact.subject, fact.type, fact.version, schemas.encode(fact), fact.occurred_at) for fact in facts]
    _countable(len(rows), event_id)
    told = [(fact, row[3]) for fact, row in zip(facts, rows, strict=True)]
    record = recording.draft(told, stream=stream, metadata=metadata)

    async def write() -> Append | None:
        return await storage.append(
            tx,
            rows,
            stream=stream,
            metadata=metadata,
            expected_version=expected_version,
            event_id=event_id,
            record=record,
        )

    return await _once(tx, write, facts=len(rows), stream=stream, expected_version=expected_version, event_id=event_id)


async def create_draft(tx: Transaction, table: str) -> None:
    """Make a temporary table for `append_from`: subject, type, schema_version (1), data, occurred_at (now)."""
    await storage.create_draft(tx, table)


async def append_from(
    tx: Transaction,
    table: str,
    *,
    kinds: Iterable[type[Fact]],
    stream: str,
    metadata: Metadata,
    expected_version: int | None = None,
    event_id: UUID | None = None,
) -> Append | None:
    """Write the facts of a draft table to a stream, in the order of its rows; None when it holds none.

    For what is too much for `append`, up to 1,048,576 facts. They belong to the stream of the run that tells them;
    what each is about says its subject. One fact of each type is checked against its schema.
    Raises: WrongVersion, EventIdTaken, FactRefused.
    """
    known = {(kind.type, kind.version): kind for kind in kinds}
    facts = 0
    for type_, version, count, data in await storage.samples(tx, table):
        if (type_, version) not in known:
            raise FactRefused(f"{type_} version {version} is not a fact that this run may tell", type=type_)
        schemas.check(known[type_, version], data)
        facts += count
    if facts == 0:
        return None
    _countable(facts, event_id)

    async def write() -> Append | None:
        return await storage.append_drafted(
            tx,
            table,
            facts=facts,
            stream=stream,
            metadata=metadata,
            expected_version=expected_version,
            event_id=event_id,
        )

    return await _once(tx, write, facts=facts, stream=stream, expected_version=expected_version, event_id=event_id)


async def wake(database: Database) -> None:
    """Tell the sequencer, after a commit, that there is something to do: sooner than its next poll."""
    with contextlib.suppress(DatabaseUnavailable):  # what was committed stays so, and the poll finds it
        async with database.transaction() as tx:
            await storage.notify(tx, APPENDED)


async def head_position(tx: Transaction) -> int:
    """The position of the newest event; 0 in an empty log."""
    return await storage.head_position(tx)


def head_position_seen(connection: "psycopg.Connection[TupleRow]") -> int:
    """The position of the newest event in the snapshot of a thread's own connection."""
    row = connection.execute(storage.HEAD_POSITION).fetchone()
    return 0 if row is None else int(row[0])


async def waiting(tx: Transaction) -> tuple[int, float]:
    """How many appends the sequencer has not placed yet, and for how many seconds the oldest has waited."""
    return await storage.waiting(tx)


async def head_version(tx: Transaction, stream: str) -> int:
    """The version of a stream; 0 before its first fact."""
    return await storage.head_version(tx, stream)


async def read(
    tx: Transaction, *, after: int, limit: int = 1000, types: Sequence[str] | None = None, bulk: bool = True
) -> Page:
    """The events at the `limit` positions after a position: all of them, those of some types, or without bulk runs.

    The page's position is where to go on, even when nothing asked for was among them. Raises: Archived.
    """
    _bounded(limit)
    first, last = after + 1, after + limit
    there = await storage.sequenced(tx, first=first, last=last)
    if not there:
        return Page([], after)
    placed = [(item, item.position) for item in there if item.position is not None]
    parts = [_within(item, start, first=first, last=last) for item, start in placed if bulk or not item.bulk]
    newest, start = placed[-1]
    end = start + newest.facts - 1
    # A bulk run that is passed over is passed over whole, however many pages it would fill.
    return Page(await _events(tx, parts, types=types), end if newest.bulk and not bulk else min(end, last))


async def told(tx: Transaction, *, after: int, until: int) -> tuple[list[str], list[str]]:
    """The types of the events at the positions after one up to another, and whom they are about. Raises: Archived."""
    first, last = after + 1, until
    there = await storage.sequenced(tx, first=first, last=last)
    parts = [_within(item, item.position, first=first, last=last) for item in there if item.position is not None]
    facts, types, subjects = await storage.told(tx, model.intervals(parts))
    if facts < sum(part.facts for part in parts):
        await _see_none_is_gone(tx, parts)
    return types, subjects


async def read_stream(tx: Transaction, stream: str, *, after_version: int = 0, limit: int = 1000) -> list[Event]:
    """The events of a stream after a version, in the order of versions, whether they have a position yet or not."""
    _bounded(limit)
    last = after_version + limit
    there = await storage.of_stream(tx, stream, after=after_version, last=last)
    parts = [_within(item, item.first_version, first=after_version + 1, last=last) for item in there]
    return await _events(tx, parts, types=None)


async def read_about(tx: Transaction, subject: str, *, after_number: int = 0, limit: int = 1000) -> list[Event]:
    """The events about a subject in the order in which they were written, whichever streams they belong to."""
    _bounded(limit)
    return await storage.about(tx, subject, after_number=after_number, limit=limit)


async def read_at(tx: Transaction, positions: Sequence[int]) -> list[Event]:
    """The events at some positions, wherever they lie; what has been archived is not among them."""
    there = await storage.placed(tx, positions)
    appends = {append.number >> model.PLACE_BITS: append for append, _ in there}
    parts = [Part(append, position - append.position, 1) for append, position in there if append.position is not None]
    return [
        Event(appends[number >> model.PLACE_BITS], number & model.PLACES, subject, kind, version, data, occurred_at)
        for number, subject, kind, version, data, occurred_at in await storage.events(
            tx, model.intervals(parts), types=None
        )
    ]


async def find(tx: Transaction, event_id: UUID) -> Event:
    """The event with an id; Raises: EventNotFound, Archived."""
    known = await storage.find(tx, event_id)
    if known is not None:
        for event in await _events(tx, [Part(*known, 1)], types=None):
            return event
    raise EventNotFound("No event has this id", event_id=str(event_id))


async def follow(
    database: Database,
    *,
    after: int,
    limit: int = 1000,
    types: Sequence[str] | None = None,
    bulk: bool = True,
    poll_seconds: float = 1.0,
    nothing_more: Callable[[], None] = lambda: None,
) -> AsyncGenerator[Page, None]:
    """Pages of events as they come, one whenever the position moves, for ever: a restarted database is waited for.

    `nothing_more` is called each time the log was looked at and had no event behind the last page.
    """
    while True:
        try:
            async with database.session("follower") as session:
                await storage.listen(session, SEQUENCED)
                while True:
                    heed_cancellation()
                    async with database.transaction(read_only=True) as tx:
                        page = await read(tx, after=after, limit=limit, types=types, bulk=bulk)
                    if page.position == after:
                        nothing_more()
                        await storage.heard(session, timeout_seconds=poll_seconds)
                        continue
                    after = page.position
                    yield page
        except DatabaseUnavailable as error:
            heed_cancellation()
            log.warning("events.follower_waits", reason=str(error), position=after)
            await asyncio.sleep(poll_seconds)


async def ensure_months(tx: Transaction, *, months_ahead: int = MONTHS_AHEAD) -> int:
    """Create the log's partitions for the months ahead where they are missing; how many were."""
    return await storage.ensure_months(tx, months_ahead=months_ahead)


async def months_ahead(tx: Transaction) -> int:
    """For how many months after this one the log has room; below one, somebody must look."""
    return await storage.months_ahead(tx)


async def _once(
    tx: Transaction,
    write: Callable[[], Awaitable[Append | None]],
    *,
    facts: int,
    stream: str,
    expected_version: int | None,
    event_id: UUID | None,
) -> Append:
    if event_id is None:
        done = await write()
    else:
        done = await _known(tx, event_id, facts=facts, stream=stream)
        if done is None:
            try:
                async with tx.transaction():
                    done = await write()
            except psycopg.errors.UniqueViolation:  # somebody told the same at the same time, and has committed
                done = await _known(tx, event_id, facts=facts, stream=stream)
                if done is None:
                    raise
        done = done or await _known(tx, event_id, facts=facts, stream=stream)
    if done is not None:
        return done
    actual = await storage.head_version(tx, stream)
    raise WrongVersion(
        f"The stream {stream} is at version {actual}, not {expected_version}",
        stream=stream,
        expected_version=expected_version,
        actual_version=actual,
    )


async def _known(tx: Transaction, event_id: UUID, *, facts: int, stream: str) -> Append | None:
    known = await storage.find(tx, event_id)
    if known is None:
        return None
    before, place = known
    if (before.stream, before.facts, place) != (stream, facts, 0):
        raise EventIdTaken(f"The event id {event_id} stands for something else", event_id=str(event_id))
    return before


def _countable(facts: int, event_id: UUID | None) -> None:
    if not 1 <= facts <= model.FACTS_MAX:
        raise Invalid(f"An append brings 1 to {model.FACTS_MAX} facts, not {facts}", facts=facts)
    if facts > 1 and event_id is not None and event_id != model.append_id(event_id):
        raise Invalid("The event id of several facts must end in 00000", event_id=str(event_id))


def _bounded(limit: int) -> None:
    if not 1 <= limit <= model.PAGE_MAX:
        raise Invalid(f"A page holds 1 to {model.PAGE_MAX} events, not {limit}", limit=limit)


def heed_cancellation() -> None:
    """Let a cancellation that was lost take effect; Raises: CancelledError."""
    # Python 3.11's asyncio.wait_for, which the pool waits with, loses a cancellation that meets a result or a failure.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _within(whole: Append, start: int, *, first: int, last: int) -> Part:
    """What of an append lies between `first` and `last`, positions or versions, when its first fact is at `start`."""
    skip = max(0, first - start)
    return Part(whole, skip, min(whole.facts, last - start + 1) - skip)


async def _events(tx: Transaction, parts: Sequence[Part], *, types: Sequence[str] | None) -> list[Event]:
    if not parts:
        return []
    by_append: dict[int, list[storage.Told]] = {}
    rows = await storage.events(tx, model.intervals(parts), types=types)
    if len(rows) < sum(part.facts for part in parts):
        await _see_none_is_gone(tx, parts)
    for row in rows:
        by_append.setdefault(row[0] >> model.PLACE_BITS, []).append(row)
    return [
        Event(part.append, number & model.PLACES, subject, kind, schema_version, data, occurred_at)
        for part in parts
        for number, subject, kind, schema_version, data, occurred_at in by_append.get(
            part.append.number >> model.PLACE_BITS, ()
        )
    ]


async def _see_none_is_gone(tx: Transaction, parts: Sequence[Part]) -> None:
    """Fewer events than there were: unless others were asked for, a month has gone into its archive."""
    gone = await archives.gone_with(tx, [part.append.recorded_at for part in parts])
    if gone is not None:
        oldest = await archives.oldest_readable(tx)
        raise Archived(
            f"Events up to position {oldest - 1} have been archived, these in {gone.name}; the oldest here is {oldest}",
            archive=gone.name,
            oldest_position=oldest,
        )
