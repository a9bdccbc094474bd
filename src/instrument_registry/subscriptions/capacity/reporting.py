"""How connections are: what their tickers report, and what becomes of those that nobody hears of any more."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from instrument_registry import events
from instrument_registry.database import Transaction
from instrument_registry.errors import Conflict, Invalid
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.capacity import service, storage
from instrument_registry.subscriptions.capacity.events import ConnectionChanged, stream_of
from instrument_registry.subscriptions.capacity.model import connection_id
from instrument_registry.subscriptions.capacity.standing import Health
from instrument_registry.subscriptions.capacity.storage import ConnectionRow
from instrument_registry.subscriptions.capacity.terms import in_force

SILENT = "silent"  # the reason that stands with a connection whose ticker was not heard


class NoSuchConnection(Invalid):
    """Name connections as the account has them."""

    title = "The account has no such connection"


class EpochOver(Conflict):
    """Take the lease anew before reporting: another ticker has it."""

    title = "A later ticker reports for this account"


class Said(StrEnum):
    """What a ticker says of a connection; one that it closed on purpose may be opened again."""

    CONNECTED = "connected"
    DEGRADED = "degraded"
    DRAINING = "draining"
    LOST = "lost"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a ticker says: connections by their ids, and when instruments ticked last, by the catalogue's number.

    `epoch` is that of the lease it works under; who reports under an older one than was seen is refused.
    """

    connections: Mapping[str, tuple[Said, str | None]]
    ticks: Mapping[int, datetime] = field(default_factory=dict)
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionState:
    """A connection as it is known; no health: nobody has spoken of it, it may be opened."""

    id: str
    number: int
    health: Health | None
    reason: str | None = None
    since: datetime | None = None
    reported_at: datetime | None = None


async def report(
    tx: Transaction, account: str, heard: Report, *, metadata: Metadata, at: datetime
) -> list[ConnectionChanged]:
    """Keep what a ticker says of its connections; what has changed is told, and returned.

    Raises: NoSuchAccount, NoSuchConnection, EpochOver.
    """
    await storage.locked(tx, account)
    found = await service.find(tx, account)
    await _check_epoch(tx, account, heard.epoch)
    count = in_force(found.terms).connection_count
    numbers = {connection_id(account, number): number for number in range(count)}
    unknown = sorted(heard.connections.keys() - numbers.keys())
    if unknown:
        there = ", ".join(numbers)[:200]
        detail = f"{account} has no connection {unknown[0][:60]!r}: there are {there}"
        raise NoSuchConnection(detail, field="connections", value=unknown[0][:60], remedy=f"There are {there}")
    known = {row.number: row for row in await storage.connections(tx, account=account)}
    said = {numbers[name]: what for name, what in heard.connections.items()}
    now = {number: (_health(state), reason) for number, (state, reason) in said.items()}
    changes = [
        (number, health, reason)
        for number, (health, reason) in sorted(now.items())
        if health is not (known[number].health if number in known else None)
    ]
    open_ones = {number: (health, reason) for number, (health, reason) in now.items() if health is not None}
    if open_ones:
        await storage.say(tx, account, open_ones, at=at)
    closed = [number for number, (health, _) in now.items() if health is None and number in known]
    if closed:
        await storage.forget_connections(tx, account, numbers=closed)
    if heard.ticks:
        await storage.add_ticks(tx, account, heard.ticks)
    if not changes:
        return []
    standing = await storage.grown(tx)
    told = [
        ConnectionChanged(
            account=account, broker=found.terms.broker, standing=standing, connection=connection_id(account, number),
            old=known[number].health.value if number in known else None,
            new=None if health is None else health.value, reason=reason, occurred_at=at,
        )
        for number, health, reason in changes
    ]  # fmt: skip
    await events.append(tx, *told, stream=stream_of(account), metadata=metadata)
    return told


async def connections(tx: Transaction, account: str) -> list[ConnectionState]:
    """How the connections of an account are; Raises: NoSuchAccount."""
    found = await service.find(tx, account)
    known = {row.number: row for row in await storage.connections(tx, account=account)}
    return [_state(account, number, known.get(number)) for number in range(in_force(found.terms).connection_count)]


async def all_connections(tx: Transaction) -> dict[str, list[ConnectionState]]:
    """How the connections of all accounts are, by account."""
    known = {(row.account, row.number): row for row in await storage.connections(tx)}
    return {
        one.name: [
            _state(one.name, number, known.get((one.name, number)))
            for number in range(in_force(one.terms).connection_count)
        ]
        for one in await storage.listed(tx, retired=False)
    }


async def ticks(tx: Transaction, account: str) -> dict[int, datetime]:
    """When instruments of an account ticked last, by the catalogue's number; Raises: NoSuchAccount."""
    await service.find(tx, account)
    return await last_ticks(tx, account)


async def last_ticks(tx: Transaction, account: str) -> dict[int, datetime]:
    """The same where it is no matter whether there is such an account."""
    return await storage.ticks(tx, account)


async def forget_ticks(tx: Transaction, *, before: datetime) -> None:
    """Know nothing of instruments that ticked last before an instant: nobody carries them any more."""
    await storage.forget_ticks(tx, before=before)


async def lose_silent(
    tx: Transaction, *, lost_after: timedelta, hearing_since: datetime, metadata: Metadata, at: datetime
) -> list[ConnectionChanged]:
    """Count connections as lost whose tickers were not heard for so long; what has changed is told, and returned.

    `hearing_since` is from when on anybody could have been heard: nobody is silent while nobody listens.
    """
    rows = [row for row in await storage.connections(tx) if _silent(row, lost_after, hearing_since, at)]
    told: list[ConnectionChanged] = []
    for account in sorted({row.account for row in rows}):
        told += await _lose(tx, account, lost_after, hearing_since, metadata=metadata, at=at)
    return told


def next_silence(
    states: Mapping[str, list[ConnectionState]], *, lost_after: timedelta, hearing_since: datetime
) -> datetime | None:
    """When the first of some connections will have been silent for so long; None: none is awaited."""
    heard = [
        max(one.reported_at, hearing_since)
        for some in states.values()
        for one in some
        if one.reported_at is not None and one.health is not Health.LOST
    ]
    return min(heard) + lost_after if heard else None


async def _lose(
    tx: Transaction, account: str, lost_after: timedelta, hearing_since: datetime, *, metadata: Metadata, at: datetime
) -> list[ConnectionChanged]:
    """Those of one account: looked at once more, as its ticker may have been heard meanwhile."""
    await storage.locked(tx, account)
    found = await storage.find(tx, account)
    rows = [
        row for row in await storage.connections(tx, account=account) if _silent(row, lost_after, hearing_since, at)
    ]
    if found is None or not rows:
        return []
    standing = await storage.grown(tx)
    for row in rows:
        await storage.lose(tx, row, reason=SILENT, at=at)
    told = [
        ConnectionChanged(
            account=account, broker=found.terms.broker, standing=standing,
            connection=connection_id(account, row.number), old=row.health.value, new=Health.LOST.value, reason=SILENT,
            occurred_at=at,
        )
        for row in rows
    ]  # fmt: skip
    await events.append(tx, *told, stream=stream_of(account), metadata=metadata)
    return told


async def _check_epoch(tx: Transaction, account: str, epoch: int | None) -> None:
    if epoch is None:
        return
    seen = await storage.epoch_of(tx, account)
    if epoch < seen:
        raise EpochOver(f"Epoch {epoch} is over: {account} is reported for under {seen}", epoch=seen, account=account)
    if epoch > seen:
        await storage.set_epoch(tx, account, epoch)


def _silent(row: ConnectionRow, lost_after: timedelta, hearing_since: datetime, at: datetime) -> bool:
    return row.health is not Health.LOST and at - max(row.reported_at, hearing_since) >= lost_after


def _state(account: str, number: int, row: ConnectionRow | None) -> ConnectionState:
    name = connection_id(account, number)
    if row is None:
        return ConnectionState(id=name, number=number, health=None)
    return ConnectionState(
        id=name, number=number, health=row.health, reason=row.reason, since=row.since, reported_at=row.reported_at
    )


def _health(said: Said) -> Health | None:
    return None if said is Said.CLOSED else Health(said.value)
