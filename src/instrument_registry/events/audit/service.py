"""What the audit promises: records are found, and proved to be in a tree whose roots are signed."""

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING

from psycopg.rows import TupleRow

from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Invalid, Unavailable
from instrument_registry.events import storage as events_storage
from instrument_registry.events.audit import merkle, storage
from instrument_registry.events.audit.checkpoints import Verifier, read_note
from instrument_registry.events.audit.merkle import Path
from instrument_registry.events.audit.model import (
    PAGE_MAX,
    Consistency,
    Inclusion,
    Kept,
    Lag,
    NotUnderCheckpoint,
    Record,
    RecordNotFound,
    SizeUnknown,
    Wanted,
)

if TYPE_CHECKING:
    import psycopg

CHECKPOINT_ASKED = "audit_checkpoint_asked"  # a channel of the database, which the sealer listens to
CHECKPOINT_WAIT_SECONDS = 15.0
POLL_SECONDS = 0.1


class CheckpointLate(Unavailable):
    """Look at /health and the worker's log: the sealer does not run, or found the audit changed."""

    title = "No checkpoint was signed in time"


async def search(tx: Transaction, wanted: Wanted, *, before: int | None = None, limit: int = 100) -> list[Record]:
    """The records wanted, the newest first; `before` is the number of the last one of the page before."""
    if not 1 <= limit <= PAGE_MAX:
        raise Invalid(f"A page holds 1 to {PAGE_MAX} records, not {limit}", field="limit", value=limit)
    return await storage.search(tx, wanted, before=before, limit=limit)


def read_through(connection: "psycopg.Connection[TupleRow]", wanted: Wanted) -> Generator[Record, None, None]:
    """Every record wanted, from the oldest on, on a thread's own connection."""
    return storage.read_through(connection, wanted)


async def get(tx: Transaction, position: int) -> Record:
    """The record at a position; Raises: RecordNotFound."""
    found = await storage.at_position(tx, position)
    if found is None:
        raise RecordNotFound(f"No audit record is kept at position {position}", position=position)
    return found


async def checkpoints(tx: Transaction, *, before: int | None = None, limit: int = 100) -> list[Kept]:
    """Signed checkpoints, the newest first; `before` is a size."""
    return await storage.checkpoints(tx, before=before, limit=limit)


async def checkpoint_now(database: Database, *, timeout_seconds: float = CHECKPOINT_WAIT_SECONDS) -> Kept:
    """A checkpoint over everything that has been recorded, signed by the sealer if there is none yet.

    Raises: NotUnderCheckpoint when nothing has been recorded, CheckpointLate.
    """
    async with database.transaction(read_only=True) as tx:
        newest = await storage.newest_number(tx)
    if newest is None:
        raise NotUnderCheckpoint("Nothing has been recorded yet")
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                async with database.transaction(read_only=True) as tx:
                    found = await storage.covering(tx, newest)
                if found is not None:
                    return found
                async with database.transaction() as tx:  # a notification takes a lock of the whole server
                    await events_storage.notify(tx, CHECKPOINT_ASKED)
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise CheckpointLate(f"The sealer signed none within {timeout_seconds:g} s") from error


async def prove(tx: Transaction, position: int, *, size: int | None = None) -> Inclusion:
    """That the leaf at a position is in the tree of a checkpoint, the newest one unless a size is given.

    It works for records that have been archived, too. Raises: RecordNotFound, NotUnderCheckpoint, SizeUnknown.
    """
    leaf = await storage.leaf(tx, position)
    if leaf is None:
        raise RecordNotFound(f"The audit has no position {position}", position=position)
    known = await _checkpoint(tx, size)
    if position > known.size:
        raise NotUnderCheckpoint(
            f"The checkpoint covers {known.size} records, not position {position}", position=position, size=known.size
        )
    path = await path_hashes(tx, merkle.inclusion(position - 1, known.size))
    return Inclusion(position=position, leaf=leaf, path=path, checkpoint=known)


async def compare(tx: Transaction, first: int, second: int) -> Consistency:
    """That the tree of one size is the beginning of that of another, up to the newest checkpoint's.

    Raises: SizeUnknown, NotUnderCheckpoint.
    """
    newest = await _checkpoint(tx, None)
    if not 0 < first <= second <= newest.size:
        problem = f"From {first} to {second}: sizes are between 1 and {newest.size}, the first not above the second"
        raise SizeUnknown(problem, field="from", value=first)
    path = await path_hashes(tx, merkle.consistency(first, second))
    roots = await root(tx, first), await root(tx, second)
    return Consistency(first=first, second=second, roots=roots, path=path)


async def registered_keys(tx: Transaction) -> list[Verifier]:
    """The public keys that the database names: good against accidents, not against whoever may change it."""
    return await storage.keys(tx)


async def lag(tx: Transaction) -> Lag:
    """How far the sealer and its checkpoints are behind."""
    waiting, waiting_seconds = await storage.waiting(tx)
    uncovered, uncovered_seconds = await storage.uncovered(tx)
    newest = await storage.checkpoints(tx, before=None, limit=1)
    last = read_note(newest[0].note).checkpoint if newest else None
    return Lag(
        records_waiting=waiting, waiting_seconds=waiting_seconds, uncovered=uncovered,
        uncovered_seconds=uncovered_seconds, last=last, months_ahead=await storage.months_ahead(tx),
    )  # fmt: skip


async def months_ahead(tx: Transaction) -> int:
    """For how many months after this one the audit has room."""
    return await storage.months_ahead(tx)


async def root(tx: Transaction, size: int) -> bytes:
    """The root of the tree when it had a size, from its tiles; Raises: ValueError when some of it is missing."""
    (whole,) = await path_hashes(tx, [merkle.perfect(0, size)])
    return whole


async def path_hashes(tx: Transaction, path: Path) -> list[bytes]:
    """The hashes of a proof, read at once."""
    beneath = await storage.beneath(tx, [node for nodes in path for node in nodes])
    whole = {node: merkle.folded(hashes) for node, hashes in beneath.items()}
    return [merkle.joined([whole[node] for node in nodes]) for nodes in path]


async def _checkpoint(tx: Transaction, size: int | None) -> Kept:
    if size is not None:
        known = await storage.checkpoint(tx, size)
        if known is None:
            raise SizeUnknown(f"No checkpoint was made when the tree had {size} leaves", field="size", value=size)
        return known
    newest = await storage.checkpoints(tx, before=None, limit=1)
    if not newest:
        raise NotUnderCheckpoint("No checkpoint has been made yet")
    return newest[0]
