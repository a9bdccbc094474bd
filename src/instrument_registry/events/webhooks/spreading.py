"""Events made due to the endpoints that want them, as the position moves: nothing twice, nothing left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Unavailable
from instrument_registry.events import service as log
from instrument_registry.events import wire
from instrument_registry.events.model import Archived, Event, Page
from instrument_registry.events.webhooks import queue, storage
from instrument_registry.events.webhooks.model import Endpoint, EndpointState, Replay, ReplayStatus

PAGE = 1_000
ROWS_AT_ONCE = 20_000  # events times endpoints
REPLAY_AHEAD = 2_000  # made due and not sent yet: a replay never buries what is new


class Overtaken(Unavailable):
    """Another process delivers by now: what this one was about to write is undone."""

    title = "Another process delivers"


@dataclass(frozen=True, slots=True)
class Spread:
    """A step: what was read, and how many each endpoint got."""

    events: Sequence[Event]
    made: dict[int, int]
    moved: bool


class Known:
    """The endpoints that are sent events, read anew when one has come, gone or changed."""

    def __init__(self) -> None:
        self._generation: tuple[int, int] | None = None
        self._endpoints: list[Endpoint] = []

    async def read(self, tx: Transaction) -> list[Endpoint]:
        """They, as they are in this transaction."""
        generation = await storage.generation(tx)
        if generation != self._generation:
            self._endpoints = await storage.in_state(tx, [EndpointState.ACTIVE, EndpointState.PAUSED])
            self._generation = generation
        return self._endpoints


async def spread(database: Database, known: Known, *, at: datetime) -> Spread:
    """Hand the next page of events to endpoints."""
    async with database.transaction() as tx:
        position = await storage.position(tx)
        endpoints = await known.read(tx)
        if not endpoints:
            head = await log.head_position(tx)
            if head > position:
                await _move(tx, position, head)
            return Spread((), {}, moved=False)
        after = max(position, min(one.starts_after for one in endpoints))
        limit = max(1, min(PAGE, ROWS_AT_ONCE // len(endpoints)))
        page = await log.read(tx, after=after, limit=limit, bulk=any(one.wanted.bulk for one in endpoints))
        if page.position == position:
            return Spread((), {}, moved=False)
        made = await queue.spread(tx, page.events, routes(page, endpoints), at=at)
        await _move(tx, position, page.position)
    return Spread(page.events, made, moved=True)


async def spread_replays(database: Database, *, at: datetime) -> Spread:
    """Hand on the next page of every replay that has room."""
    made: dict[int, int] = {}
    moved = False
    async with database.transaction(read_only=True) as tx:
        running = await queue.running_replays(tx)
    for one in running:
        async with database.transaction() as tx:
            current = await queue.find_replay(tx, one.endpoint_id, one.id, locked=True)
            page = await _replay_page(tx, current, at=at) if current.status is ReplayStatus.RUNNING else None
            for endpoint, count in (page or {}).items():
                made[endpoint] = made.get(endpoint, 0) + count
            moved = moved or page is not None
    return Spread((), made, moved)


def routes(page: Page, endpoints: Sequence[Endpoint]) -> list[tuple[str, int, str]]:
    """Which types of a page go to which endpoint, and under which name."""
    types = {event.type for event in page.events}
    sent = ((type_, one.id, one.sends(type_)) for type_ in types for one in endpoints)
    return [(type_, endpoint, name) for type_, endpoint, name in sent if name is not None]


async def _move(tx: Transaction, before: int, to: int) -> None:
    if not await storage.move(tx, before, to):
        raise Overtaken("Somebody else hands events to endpoints")


async def _replay_page(tx: Transaction, replay: Replay, *, at: datetime) -> dict[int, int] | None:
    """The next page of a replay; None when enough of it lies ready."""
    if await queue.waiting_of_replay(tx, replay) > REPLAY_AHEAD - PAGE:
        return None
    endpoint = await storage.find(tx, replay.endpoint_id)
    limit = min(PAGE, replay.last_position - replay.position)
    try:
        page = await log.read(tx, after=replay.position, limit=limit, bulk=endpoint.wanted.bulk)
    except Archived:  # since it was asked for
        await queue.save_replay(tx, replace(replay, status=ReplayStatus.CANCELLED, finished_at=at))
        return {}
    meant = [event for event in page.events if wire.sent_as(event.type, replay.event_types) is not None]
    made = await queue.spread(
        tx, meant, routes(page, [endpoint]), at=at, replay=replay.id, instruments=replay.instruments
    )
    # An end beyond the newest event is where the log ends now.
    over = page.position >= replay.last_position or page.position == replay.position
    await queue.save_replay(
        tx,
        replace(
            replay,
            position=page.position,
            made=replay.made + sum(made.values()),
            status=ReplayStatus.DONE if over else ReplayStatus.RUNNING,
            finished_at=at if over else None,
        ),
    )
    return made
