"""Looks which carried instruments are silent, and tells of those that were not, and of those that are no longer."""

from datetime import UTC, datetime

import numpy as np

from instrument_registry import events
from instrument_registry.catalog import lookup, wire
from instrument_registry.catalog.calendars import market_today
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.capacity import reporting
from instrument_registry.subscriptions.capacity.standing import Health
from instrument_registry.subscriptions.planner.model import NOWHERE
from instrument_registry.subscriptions.plans.content import Content
from instrument_registry.subscriptions.plans.moments import Memory
from instrument_registry.subscriptions.silence import storage
from instrument_registry.subscriptions.silence.events import NAMED_MAX, FeedHeard, FeedSilent
from instrument_registry.subscriptions.silence.model import (
    Awaited,
    Ints,
    Judged,
    Market,
    arrayed,
    carried_on,
    judged,
    openings,
)

HEARD = frozenset({Health.CONNECTED, Health.DEGRADED})


class Watch:
    """What one process remembers between two looks: since when each instrument could have been heard."""

    def __init__(self) -> None:
        self._awaited: dict[str, Awaited] = {}
        self._markets: dict[int, Market] = {}

    async def look(
        self, tx: Transaction, memory: Memory, *, after_seconds: float, metadata: Metadata, at: datetime
    ) -> tuple[dict[str, Judged], int]:
        """Tell of instruments that fell silent, or tick again: how each account that is followed stands, facts told.

        Only connections of which a ticker says that they are open count: what others carry goes elsewhere.
        """
        _, content = await memory.live(tx)
        states = await reporting.all_connections(tx)
        heard = {(account, one.id) for account, some in states.items() for one in some if one.health in HEARD}
        carried = {} if content is None else _carried(content, heard)
        now = at.timestamp()
        self._awaited = {one: carried_on(self._awaited.get(one), ids, at=now) for one, ids in carried.items()}
        await self._learn_markets(tx, at=at)
        told = await storage.silent(tx)
        found, facts = {}, 0
        for account, who in sorted(self._awaited.items()):
            opened = openings(self._markets, who.ids, at)
            ticks = arrayed(await reporting.last_ticks(tx, account))
            found[account] = one = judged(who, ticks, opened, after=after_seconds, at=now)
            heard_since = who.ids[np.isin(who.ids, ticks[0][ticks[1] > now - after_seconds])]
            before = told.pop(account, np.array([], dtype=np.int64))
            facts += await _tell(tx, account, before, one, heard_since, after_seconds, metadata=metadata, at=at)
        for account, ids in told.items():  # nobody follows it any more
            await storage.remove(tx, account, ids.tolist())
        return found, facts

    async def _learn_markets(self, tx: Transaction, *, at: datetime) -> None:
        ids = {number for one in self._awaited.values() for number in one.ids.tolist()}
        self._markets = {number: market for number, market in self._markets.items() if number in ids}
        if missing := ids - self._markets.keys():
            self._markets |= await wire.markets(tx, missing, day=market_today(at))


async def silent_since(tx: Transaction, account: str) -> dict[int, datetime]:
    """Since when instruments of an account do not tick although they should, by the catalogue's number."""
    return await storage.since(tx, account)


def _carried(content: Content, heard: set[tuple[str, str]]) -> dict[str, Ints]:
    """The numbers of what each account carries, ascending; what only lingers is awaited by nobody."""
    listens = np.array([one in heard for one in content.sockets], dtype=np.bool_)
    accounts = np.array([account for account, _ in content.sockets])
    found: dict[str, list[Ints]] = {}
    for places in (content.at, content.second):
        there = np.flatnonzero((places != NOWHERE) & ~content.lingers)
        there = there[listens[places[there]]] if len(there) else there
        for account in np.unique(accounts[places[there]]).tolist() if len(there) else ():
            mine = there[accounts[places[there]] == account]
            found.setdefault(account, []).append(content.problem.ids[mine])
    return {account: np.unique(np.concatenate(ids)) for account, ids in found.items()}


async def _tell(
    tx: Transaction,
    account: str,
    before: Ints,
    now: Judged,
    heard: Ints,
    after_seconds: float,
    *,
    metadata: Metadata,
    at: datetime,
) -> int:
    fresh = ~np.isin(now.silent, before)
    newly, over = now.silent[fresh], before[~np.isin(before, now.silent)]
    again = over[np.isin(over, heard)]
    if len(newly):
        since = [datetime.fromtimestamp(one, UTC) for one in now.heard[fresh].tolist()]
        await storage.put(tx, account, newly.tolist(), since)
    if len(over):
        await storage.remove(tx, account, over.tolist())
    facts: list[FeedSilent | FeedHeard] = []
    if len(newly):
        facts.append(
            FeedSilent(
                account=account, count=len(newly), instruments=await _named(tx, newly), after_seconds=after_seconds,
                occurred_at=at,
            )
        )  # fmt: skip
    if len(again):
        told = await _named(tx, again)
        facts.append(FeedHeard(account=account, count=len(again), instruments=told, occurred_at=at))
    if facts:
        await events.append(tx, *facts, stream=f"feeds/{account}", metadata=metadata)
    return len(facts)


async def _named(tx: Transaction, ids: Ints) -> list[str]:
    names = await lookup.ids_of(tx, ids.tolist()[:NAMED_MAX])
    return sorted(names.values())
