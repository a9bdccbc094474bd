"""Plans as they become necessary: whatever changes demand, capacity, health or the catalogue is planned for at once."""

import asyncio
from datetime import datetime

import structlog

from instrument_registry import events
from instrument_registry.configuration.parameters import PLANNER_AUTO_APPLY
from instrument_registry.errors import Conflict
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.plans import applying, measures, storage, terms
from instrument_registry.subscriptions.plans.events import PlanApplied
from instrument_registry.subscriptions.plans.model import NoAccounts, Status
from instrument_registry.wiring import Registry
from instrument_registry.workers.pausing import outside_maintenance
from instrument_registry.workers.turns import current

TOGETHER_SECONDS = 0.25  # changes that come within it are planned for together
POLL_SECONDS = 1.0
CLEANED_EVERY_SECONDS = 600.0
# What may lead to another plan; everything else that is told does not wake the planner.
MATTERS = (
    "instrument.", "ingestion.applied", "subscription.", "profile.", "capacity.", "connection.", "chain.",
    "configuration.changed",
)  # fmt: skip

log = structlog.get_logger("planner")


async def plan_for_changes(registry: Registry) -> None:
    """Plan now, after every change that matters and at every edge of the clock, for ever."""
    async with registry.database.transaction(read_only=True) as tx:
        after = await events.head_position(tx)
    changed = asyncio.Event()
    changed.set()
    following = asyncio.create_task(_follow(registry, after, changed))
    cleaning = asyncio.create_task(_clean(registry))
    try:
        edge: datetime | None = None
        while True:
            await _until(changed, _wait_seconds(registry, edge), following)
            changed.clear()
            await outside_maintenance(registry)
            work = current()
            work.begin()
            edge = await plan_once(registry)
            work.end()
    finally:
        for task in (following, cleaning):
            task.cancel()
        await asyncio.gather(following, cleaning, return_exceptions=True)


async def plan_once(registry: Registry) -> datetime | None:
    """Plan what there is, and apply it where that may be done by itself; when to look again without a change."""
    now, metadata = registry.configuration.now, Metadata(actor="planner", correlation_id="planner")
    try:
        made = await registry.planning.make(terms.of(now), metadata=metadata, only_changes=True)
    except NoAccounts:
        return None
    row = made.plan
    if row.status is not Status.VALIDATED:
        if row.status is Status.FAILED:
            log.error("plan.failed", plan_id=row.id, faults=row.faults[:5])
        await events.wake(registry.database)
        return made.edge
    measures.HELD.set(row.held_because is not None)
    if row.held_because is not None:
        log.warning("plan.held", plan_id=row.id, because=row.held_because)
    elif now[PLANNER_AUTO_APPLY]:
        await _apply(registry, row.id, expected=row.live_plan, metadata=metadata)
    await events.wake(registry.database)
    return made.edge


async def _apply(registry: Registry, plan_id: str, *, expected: str | None, metadata: Metadata) -> None:
    try:
        async with registry.database.transaction() as tx:
            live = await storage.live(tx, locked=True)
            if live.held_because is not None:
                measures.HELD.set(1)
                log.warning("plan.held", plan_id=plan_id, because=live.held_because)
                return
            await applying.apply(
                tx, registry.planning.memory, plan_id, expected_live=expected, metadata=metadata, at=registry.clock(),
                reason="something changed",
            )  # fmt: skip
    except Conflict as error:  # somebody was quicker: what they did is a change, too
        log.info("plan.not_applied", plan_id=plan_id, reason=str(error))


async def _follow(registry: Registry, after: int, changed: asyncio.Event) -> None:
    """Say when something has been told that matters."""
    pages = events.follow(registry.database, after=after, limit=10_000, bulk=False, poll_seconds=POLL_SECONDS)
    async for page in pages:
        if any(event.type == PlanApplied.type for event in page.events):
            measures.HELD.set(0)  # whoever applied it has decided
        if any(event.type.startswith(MATTERS) for event in page.events):
            changed.set()


async def _clean(registry: Registry) -> None:
    while True:
        async with registry.database.transaction() as tx:
            metadata = Metadata(actor="planner", correlation_id="planner")
            await applying.clean_up(tx, metadata=metadata, at=registry.clock())
        await asyncio.sleep(CLEANED_EVERY_SECONDS)


async def _until(changed: asyncio.Event, seconds: float | None, following: "asyncio.Task[None]") -> None:
    """Wait for a change and a moment more, or for the edge."""
    waiting = asyncio.create_task(changed.wait())
    try:
        done, _ = await asyncio.wait({waiting, following}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if following in done:
            following.result()
        if waiting in done:
            await asyncio.sleep(TOGETHER_SECONDS)
    finally:
        waiting.cancel()


def _wait_seconds(registry: Registry, edge: datetime | None) -> float | None:
    return None if edge is None else max(0.0, (edge - registry.clock()).total_seconds()) + 0.01
