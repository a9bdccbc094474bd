"""The positions of projections."""

from psycopg.rows import class_row

from instrument_registry.database import Transaction
from instrument_registry.events.projections.model import State

COLUMNS = "name, generation, position, active, moved_at"

STATES = f"select {COLUMNS} from projections order by name, generation"

ACTIVE = f"select {COLUMNS} from projections where name = %(name)s and active"

MOVE = """
insert into projections as p (name, generation, position, active)
select %(name)s, %(generation)s, %(position)s, %(active)s
    on conflict (name, generation) do update set position = excluded.position, moved_at = now()
 where p.position < excluded.position and p.position = coalesce(%(before)s, p.position)
returning p.position
"""

NEXT_GENERATION = "select coalesce(max(generation), 0) + 1 from projections where name = %(name)s"

ACTIVATE = """
with gone as (delete from projections where name = %(name)s and generation <> %(generation)s returning generation)
select generation from gone
"""


async def states(tx: Transaction) -> list[State]:
    """Every generation there is."""
    async with tx.cursor(row_factory=class_row(State)) as cursor:
        await cursor.execute(STATES)
        return await cursor.fetchall()


async def active(tx: Transaction, name: str, *, locked: bool = False) -> State | None:
    """The generation that readers see."""
    async with tx.cursor(row_factory=class_row(State)) as cursor:
        await cursor.execute(ACTIVE + (" for update" if locked else ""), {"name": name})
        return await cursor.fetchone()


async def move(
    tx: Transaction, name: str, *, generation: int, position: int, before: int | None, active: bool = True
) -> bool:
    """Move a position forward, from `before` if that is said; whether it could be."""
    values = {
        "name": name, "generation": generation, "position": position, "before": before, "active": active,
    }  # fmt: skip
    return await (await tx.execute(MOVE, values)).fetchone() is not None


async def next_generation(tx: Transaction, name: str) -> int:
    """The number of a generation that is about to be built."""
    row = await (await tx.execute(NEXT_GENERATION, {"name": name})).fetchone()
    assert row is not None
    return int(row[0])


async def others_gone(tx: Transaction, name: str, *, generation: int) -> list[int]:
    """Take away every generation but one; their numbers."""
    cursor = await tx.execute(ACTIVATE, {"name": name, "generation": generation})
    return [int(row[0]) for row in await cursor.fetchall()]


async def activate(tx: Transaction, name: str, *, generation: int) -> None:
    """Let readers see a generation."""
    await tx.execute(
        "update projections set active = true where name = %(name)s and generation = %(generation)s",
        {"name": name, "generation": generation},
    )
