"""Demand of every source: who wants what is written here, and added up here."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace as changed
from datetime import UTC, datetime

from instrument_registry import events
from instrument_registry.catalog import chains_in_tables
from instrument_registry.catalog.calendars import market_today
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata
from instrument_registry.events.model import Fact
from instrument_registry.subscriptions.demand import storage
from instrument_registry.subscriptions.demand.events import (
    LISTED_MAX,
    SubscriptionReleased,
    SubscriptionWanted,
    stream_of,
)
from instrument_registry.subscriptions.demand.model import Demand
from instrument_registry.subscriptions.demand.storage import Differences
from instrument_registry.subscriptions.demand.summing import summed
from instrument_registry.subscriptions.demand.wants import (
    WANTS_MAX,
    DemandRefused,
    DemandSource,
    NoSuchDemand,
    Reference,
    Want,
    Wanted,
    wanted_by,
)


async def demanded(tx: Transaction, *, at: datetime) -> Demand:
    """What is wanted on the wire at an instant; what is historical or has ended is not."""
    counting = await storage.counting(tx, at=at)
    edge = None if counting.next_edge is None else datetime.fromtimestamp(counting.next_edge, UTC)
    return summed(counting.wants, counting.users, next_edge=edge)


async def wanted(tx: Transaction, instrument_id: int, *, at: datetime) -> Wanted:
    """Who wants one instrument, given by the catalogue's number, in which mode, and by how many references."""
    return wanted_by(instrument_id, await storage.of_instrument(tx, instrument_id), at=at)


async def replace(
    tx: Transaction,
    source: DemandSource,
    owner: str,
    *,
    user_id: str,
    wants: Sequence[Want],
    metadata: Metadata,
    at: datetime,
) -> Differences:
    """Let these be all that an owner itself names; what it wants by rules stays.

    A want of a contract ends with the contract. Only what differs is written and told. Raises: DemandRefused.
    """
    if len(wants) > WANTS_MAX:
        raise DemandRefused(
            f"At most {WANTS_MAX} instruments are wanted by one owner, not {len(wants)}",
            field="instruments", value=len(wants), remedy="Share them among several owners",
        )  # fmt: skip
    await storage.lock(tx, source, owner)
    ends = await chains_in_tables.ends(tx, [want.instrument_id for want in wants]) if wants else {}
    ending = [_until(want, ends.get(want.instrument_id)) for want in wants]
    differences, former = await storage.replace(tx, source, owner, rule=0, user_id=user_id, wants=ending)
    facts: list[Fact] = []
    if differences.added or differences.changed:
        ids = (*differences.added, *differences.changed)[:LISTED_MAX]
        facts.append(
            SubscriptionWanted(
                occurred_at=at, source=source, owner=owner, user_id=user_id, added=len(differences.added),
                changed=len(differences.changed), instruments=await _called(tx, ids, at=at),
            )
        )  # fmt: skip
    if differences.released:
        facts.append(await _released(tx, source, owner, former or user_id, differences.released, at=at))
    if facts:
        await events.append(tx, *facts, stream=stream_of(source, owner), metadata=metadata)
    return differences


async def release(tx: Transaction, source: DemandSource, owner: str, *, metadata: Metadata, at: datetime) -> int:
    """Let an owner want nothing any more of what it named itself; how much that was. Raises: NoSuchDemand."""
    differences = await replace(tx, source, owner, user_id="", wants=(), metadata=metadata, at=at)
    if not differences.released:
        raise NoSuchDemand(f"No {source.value} called {owner} wants anything", source=source.value, owner=owner)
    return len(differences.released)


async def users_of(tx: Transaction, source: DemandSource, owner: str) -> list[str]:
    """For whom an owner wants what it wants."""
    return await storage.users_of(tx, source, owner)


async def any_ended(tx: Transaction, *, at: datetime) -> bool:
    """Whether there are wants that have ended."""
    return await storage.any_ended(tx, at=at)


async def expire(tx: Transaction, *, metadata: Metadata, at: datetime) -> int:
    """Let go of the wants that have ended; how many there were. They reached the wire no more in any case."""
    ended: dict[tuple[DemandSource, str, str], list[int]] = defaultdict(list)
    for source, owner, user_id, instrument in await storage.expired(tx, at=at):
        ended[source, owner, user_id].append(instrument)
    for (source, owner, user_id), instruments in sorted(ended.items()):
        fact = await _released(tx, source, owner, user_id, sorted(set(instruments)), at=at, expired=True)
        await events.append(tx, fact, stream=stream_of(source, owner), metadata=metadata)
    return sum(map(len, ended.values()))


async def listed(
    tx: Transaction,
    *,
    limit: int,
    after: tuple[str, str, int, int] | None = None,
    instrument: int | None = None,
    user_id: str | None = None,
    source: DemandSource | None = None,
    owner: str | None = None,
) -> list[Reference]:
    """References by source, owner, rule and instrument, those that have ended among them."""
    return await storage.listed(
        tx, limit=limit, after=after, instrument=instrument, user_id=user_id, source=source, owner=owner
    )


def _until(want: Want, end: datetime | None) -> Want:
    if end is None or (want.expires_at is not None and want.expires_at <= end):
        return want
    return changed(want, expires_at=end)


async def _released(
    tx: Transaction,
    source: DemandSource,
    owner: str,
    user_id: str,
    ids: Sequence[int],
    *,
    at: datetime,
    expired: bool = False,
) -> SubscriptionReleased:
    return SubscriptionReleased(
        occurred_at=at, source=source, owner=owner, user_id=user_id, released=len(ids), expired=expired,
        instruments=await _called(tx, ids[:LISTED_MAX], at=at),
    )  # fmt: skip


async def _called(tx: Transaction, ids: Sequence[int], *, at: datetime) -> list[str]:
    names = await chains_in_tables.names(tx, ids, day=market_today(at))
    return [names[id_].id for id_ in ids if id_ in names]
