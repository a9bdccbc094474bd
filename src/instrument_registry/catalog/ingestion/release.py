"""Dumps that were kept out: let through by an operator who looked at them, or given up."""

import gzip
from dataclasses import dataclass
from datetime import date, datetime

from instrument_registry import events
from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.catalog.events import IngestionDiscarded
from instrument_registry.catalog.ingestion import storage
from instrument_registry.catalog.ingestion.intake import sessions_between
from instrument_registry.catalog.ingestion.model import USUAL, Bounds, NotHeld, Order, Outcome, RunStatus
from instrument_registry.catalog.ingestion.reports import NoSuchRun
from instrument_registry.catalog.ingestion.service import Progress, ingest
from instrument_registry.clock import Clock
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Conflict, Invalid

LONGEST_REASON = 1000
HELD = (RunStatus.QUARANTINED, RunStatus.REFUSED)
# Not even an operator can say which of two contracts a token means: the broker has to mend the dump.
NEVER_RELEASED = "conflicting_duplicates"


class CannotBeReleased(Conflict):
    """Ask the broker for a dump without the fault, and ingest that."""

    title = "The dump cannot be released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A run whose dump was kept out."""

    id: int
    broker: str
    market_date: date
    status: RunStatus
    gates: list[str]
    kept: bool


async def check(tx: Transaction, run: int, *, reason: str) -> Held:
    """The run, if it may be released for a reason.

    Raises: NoSuchRun, NotHeld, CannotBeReleased, Invalid.
    """
    _check_reason(reason)
    held = await _held(tx, run)
    if NEVER_RELEASED in held.gates:
        raise CannotBeReleased(
            "Tokens of it name more than one contract each, and nobody can say which is meant", ingestion=run
        )
    if not held.kept:
        raise CannotBeReleased("Its files were not kept", ingestion=run)
    return held


async def release(
    database: Database,
    run: int,
    *,
    reason: str,
    metadata: events.Metadata,
    clock: Clock,
    bounds: Bounds = USUAL,
    progress: Progress = lambda step, share: None,
) -> Outcome:
    """Ingest a kept dump again with its gates open: what they say becomes warnings of the new run.

    Raises: NoSuchRun, NotHeld, CannotBeReleased, Invalid, and what `ingest` raises.
    """
    async with database.transaction(read_only=True) as tx:
        held = await check(tx, run, reason=reason)
        dumps = [Dump(name=name, content=content) for name, content in await kept_files(tx, run)]
    order = Order(
        broker=held.broker, market_date=held.market_date, date_known_by="released", actor=metadata.actor,
        correlation_id=metadata.correlation_id, released_from=run, release_reason=reason, bounds=bounds,
    )  # fmt: skip
    outcome = await ingest(database, order, dumps, clock=clock, sessions_between=sessions_between, progress=progress)
    if outcome.status in HELD:
        detail = "; ".join(found.detail for found in outcome.reasons)
        raise CannotBeReleased(
            f"It was tried in run {outcome.id}, and not even open gates let it through: {detail}", ingestion=run
        )
    return outcome


async def kept_files(tx: Transaction, run: int) -> list[tuple[str, bytes]]:
    """The files of a dump that was kept out, by name, as they were read; none once it was given up."""
    return [(name, gzip.decompress(content)) for name, content in await storage.kept_files(tx, run)]


async def discard(tx: Transaction, run: int, *, reason: str, metadata: events.Metadata, at: datetime) -> None:
    """Give a kept dump up: its files go, its record and the reasons stay.

    Raises: NoSuchRun, NotHeld, Invalid.
    """
    _check_reason(reason)
    held = await _held(tx, run)
    await storage.mark_discarded(tx, run, by=metadata.actor, reason=reason)
    fact = IngestionDiscarded(
        occurred_at=at, ingestion=run, broker=held.broker, market_date=held.market_date.isoformat(), reason=reason
    )
    await events.append(tx, fact, stream=f"ingestion-{run}", metadata=metadata)


async def _held(tx: Transaction, run: int) -> Held:
    found = await storage.held(tx, run)
    if found is None:
        raise NoSuchRun(f"No ingestion has the id {run}")
    broker, day, status, gates, kept = found
    held = Held(id=run, broker=broker, market_date=day, status=RunStatus(status), gates=gates, kept=kept)
    if held.status not in HELD:
        raise NotHeld(
            f"Run {run} is {held.status}; only what was quarantined or refused is decided about", status=held.status
        )
    return held


def _check_reason(reason: str) -> None:
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise Invalid(f"A reason has 1 to {LONGEST_REASON} characters", field="reason")
