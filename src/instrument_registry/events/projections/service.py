"""Keep projections up with the facts, build them anew beside themselves, compare the two."""

from collections.abc import Callable

import structlog

from instrument_registry.database import Database, Transaction
from instrument_registry.events import service as events
from instrument_registry.events.model import Page
from instrument_registry.events.projections import storage
from instrument_registry.events.projections.model import AlreadyProjected, Projection, Rebuilt, State

PAGE = 20_000

log = structlog.get_logger("events")


async def states(tx: Transaction) -> list[State]:
    """How far every projection is."""
    return await storage.states(tx)


async def position(tx: Transaction, name: str) -> int | None:
    """Up to which event a projection holds everything; None for one that has not begun."""
    known = await storage.active(tx, name)
    return None if known is None else known.position


async def move(tx: Transaction, name: str, *, to: int) -> None:
    """Record, in the transaction that changes a projection, that it now holds everything up to a position.

    Raises: AlreadyProjected when it is there or further already, so that nothing is applied twice.
    """
    known = await storage.active(tx, name)
    generation = 1 if known is None else known.generation
    if not await storage.move(tx, name, generation=generation, position=to, before=None):
        raise AlreadyProjected(f"{name} is at position {to} or beyond", projection=name, position=to)


async def keep_up(database: Database, projection: Projection) -> None:
    """Apply events to the active generation as they come, for ever; of several processes each event is applied once."""
    while True:
        after = await _began(database, projection)
        try:
            async for page in events.follow(
                database, after=after, limit=PAGE, types=projection.types, bulk=projection.bulk
            ):
                async with database.transaction(statement_timeout_seconds=120) as tx:
                    known = await storage.active(tx, projection.name, locked=True)
                    if known is None or known.position != after:
                        raise AlreadyProjected("Somebody else applies the same events", projection=projection.name)
                    await _apply(tx, projection, known.generation, page, before=after)
                after = page.position
        except AlreadyProjected:
            log.info("projection.moved_by_another", projection=projection.name, position=after)


async def rebuild(
    database: Database, projection: Projection, *, told: Callable[[int], object] | None = None
) -> Rebuilt:
    """Build a new generation from the first event, compare it with the active one and let readers see it.

    Readers and the one who keeps up are undisturbed until the last page. `told` hears each position.
    """
    await _began(database, projection)
    async with database.transaction() as tx:
        generation = await storage.next_generation(tx, projection.name)
        await storage.move(tx, projection.name, generation=generation, position=0, before=None, active=False)
    after = applied = 0
    while True:
        async with database.transaction(statement_timeout_seconds=120) as tx:
            page = await _page(tx, projection, after)
            if page.position == after:
                break
            await _apply(tx, projection, generation, page, before=after)
        after, applied = page.position, applied + len(page.events)
        if told is not None:
            told(after)
    async with database.transaction(statement_timeout_seconds=120) as tx:
        known = await storage.active(tx, projection.name, locked=True)
        assert known is not None
        while after < known.position:  # what came while the last pages were applied
            page = await _page(tx, projection, after, limit=known.position - after)
            await _apply(tx, projection, generation, page, before=after)
            after, applied = page.position, applied + len(page.events)
        if known.position < after:  # the one who keeps up is a little behind: bring it level to compare
            page = await _page(tx, projection, known.position, limit=after - known.position)
            await _apply(tx, projection, known.generation, page, before=known.position)
        before = await projection.digest(tx, known.generation)
        digest = await projection.digest(tx, generation)
        for gone in await storage.others_gone(tx, projection.name, generation=generation):
            await projection.clear(tx, gone)
        await storage.activate(tx, projection.name, generation=generation)
    return Rebuilt(
        name=projection.name, generation=generation, position=after, events=applied, before=before, after=digest
    )


async def _began(database: Database, projection: Projection) -> int:
    async with database.transaction() as tx:
        known = await storage.active(tx, projection.name)
        if known is None:
            await storage.move(tx, projection.name, generation=1, position=0, before=None)
            return 0
    return known.position


async def _page(tx: Transaction, projection: Projection, after: int, *, limit: int = PAGE) -> Page:
    return await events.read(tx, after=after, limit=min(limit, PAGE), types=projection.types, bulk=projection.bulk)


async def _apply(tx: Transaction, projection: Projection, generation: int, page: Page, *, before: int) -> None:
    if page.events:
        await projection.apply(tx, generation, page.events)
    if not await storage.move(tx, projection.name, generation=generation, position=page.position, before=before):
        raise AlreadyProjected(f"{projection.name} has left position {before}", projection=projection.name)
