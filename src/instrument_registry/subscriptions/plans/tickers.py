"""What a ticker is told and says: a lease on an account, steps, snapshots, and how far it has come."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from instrument_registry import events
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.capacity import service as capacity
from instrument_registry.subscriptions.capacity.terms import NoSuchAccount
from instrument_registry.subscriptions.frames import Act
from instrument_registry.subscriptions.plans import storage
from instrument_registry.subscriptions.plans.applying import frames_of, items_of, listed
from instrument_registry.subscriptions.plans.carrying import Socket, digest_of, loads_of
from instrument_registry.subscriptions.plans.events import LeaseTaken
from instrument_registry.subscriptions.plans.model import (
    AccountTaken,
    DeltasGone,
    NotThereYet,
    StaleEpoch,
)
from instrument_registry.subscriptions.plans.moments import Memory
from instrument_registry.subscriptions.plans.storage import Ack, DeltaRow, Lease

PAGE = 200
STREAM = "leases"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that one connection is to carry once the steps up to `position` are taken."""

    account: str
    connection: str
    position: int
    plan_id: str | None
    items: list[dict[str, object]]
    frames: list[dict[str, object]]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """What an acknowledgement led to: connections that carry something else and need a snapshot."""

    resync: list[str]
    expected: dict[str, str]
    head: int


async def take_lease(
    tx: Transaction, account: str, *, holder: str, seconds: float, metadata: Metadata, at: datetime
) -> Lease:
    """Follow an account, or go on following it; whoever comes after another holder has the next epoch.

    Raises: NoSuchAccount, AccountTaken while another holder's lease lasts.
    """
    await capacity.find(tx, account)
    known = await storage.lease(tx, account, locked=True)
    if known is not None and known.holder != holder and known.expires_at > at:
        raise AccountTaken(
            f"{account} is followed by {known.holder!r} until {known.expires_at.isoformat()}",
            holder=known.holder, expires_at=known.expires_at, epoch=known.epoch,
        )  # fmt: skip
    other = known is None or known.holder != holder
    epoch = (known.epoch if known else 0) + (1 if other else 0)
    lease = Lease(account, epoch, holder, at + timedelta(seconds=seconds))
    if not await storage.put_lease(tx, lease, at=at):
        raise AccountTaken(f"{account} was taken by another ticker at the same moment")
    if other:
        told = LeaseTaken(account=account, holder=holder, epoch=epoch, occurred_at=at)
        await events.append(tx, told, stream=f"{STREAM}/{account}", metadata=metadata)
    return lease


async def end_lease(tx: Transaction, account: str, *, epoch: int, at: datetime) -> None:
    """Let others follow an account at once; Raises: StaleEpoch."""
    known = await expect_epoch(tx, account, epoch)
    await storage.put_lease(tx, known._replace(expires_at=at), at=at)


async def expect_epoch(tx: Transaction, account: str, epoch: int) -> Lease:
    """See that a ticker is the one that follows an account; Raises: StaleEpoch."""
    known = await storage.lease(tx, account)
    if known is None or known.epoch != epoch:
        now = "nobody's" if known is None else f"{known.epoch}, held by {known.holder!r}"
        raise StaleEpoch(
            f"{account} is at epoch {now}; you said {epoch}", account=account, epoch=known.epoch if known else None
        )
    return known


async def steps(tx: Transaction, account: str, *, after: int, at: datetime) -> list[DeltaRow]:
    """The steps of an account after a position; Raises: NoSuchAccount, DeltasGone, NotThereYet."""
    head = (await storage.heads(tx)).get(account)
    if head is None:
        await capacity.find(tx, account)
        head = 0
    if after > head:
        raise NotThereYet(f"{account} has {head} steps, not {after}", field="from", head=head)
    if after == head:
        return []
    oldest = await storage.oldest(tx, account)
    if oldest is None or after < oldest - 1:
        raise DeltasGone(f"The first step of {account} that is kept is {oldest}", oldest=oldest, head=head)
    return await storage.deltas(tx, account, after=after, limit=PAGE)


async def snapshots(tx: Transaction, memory: Memory, account: str, *, at: datetime) -> list[Snapshot]:
    """All that the connections of an account are to carry now; Raises: NoSuchAccount."""
    standing = await capacity.standing(tx, at=at)
    known = next((one for one in standing.accounts if one.account.id == account), None)
    live, content = await memory.live(tx)
    position = (await storage.heads(tx)).get(account, 0)
    loads = {} if content is None else {one: load for one, load in loads_of(content).items() if one.account == account}
    if known is None and not loads and not position:
        raise NoSuchAccount(f"There is no account {account[:60]!r}", account=account[:60])
    connections = {one.connection for one in loads}
    connections |= {one.id for one in known.account.connections} if known else set()
    names = {} if content is None else content.called
    told = []
    for connection in sorted(connections):
        load = loads.get(Socket(account, connection), {})
        items = items_of(load)
        told.append(
            Snapshot(
                account=account, connection=connection, position=position, plan_id=live.plan_id,
                items=listed(items, names), frames=frames_of(items, Act.ADD, known), digest=digest_of(load),
            )
        )  # fmt: skip
    return told


async def acknowledge(
    tx: Transaction,
    memory: Memory,
    account: str,
    *,
    epoch: int,
    position: int,
    carries: Mapping[str, str],
    at: datetime,
) -> Acknowledged:
    """Keep how far a ticker has come, and say where it carries something else than it should.

    Raises: StaleEpoch, NotThereYet.
    """
    await expect_epoch(tx, account, epoch)
    head = (await storage.heads(tx)).get(account, 0)
    if position > head:
        raise NotThereYet(f"{account} has {head} steps, not {position}", field="position", head=head)
    expected = await storage.digests(tx, account, until=position)
    if any(one not in expected for one in carries):  # its steps are forgotten: then nothing has changed there since
        expected = await _digests(tx, memory, account) | expected
    wrong = sorted(one for one, digest in carries.items() if expected.get(one, digest_of({})) != digest)
    rows = [Ack(account, one, epoch, position, digest, at) for one, digest in sorted(carries.items())]
    await storage.put_acks(tx, rows)
    return Acknowledged(
        resync=wrong, expected={one: expected.get(one, digest_of({})) for one in sorted(carries)}, head=head
    )


async def converged(tx: Transaction, memory: Memory) -> dict[str, dict[str, object]]:
    """Of each account: whether its ticker carries what is live, how far it has come, and where it differs."""
    _, content = await memory.live(tx)
    if content is None:
        return {}
    heads = await storage.heads(tx)
    said = {(one.account, one.connection): one for one in await storage.acks(tx)}
    told: dict[str, dict[str, object]] = {}
    for socket, load in sorted(loads_of(content).items()):
        mine = told.setdefault(
            socket.account, {"head": heads.get(socket.account, 0), "position": None, "differs": [], "converged": True}
        )
        ack = said.get((socket.account, socket.connection))
        same = ack is not None and ack.digest == digest_of(load)
        if ack is not None:
            position = mine["position"]
            mine["position"] = ack.position if not isinstance(position, int) else min(ack.position, position)
        if not same and (load or ack is not None):
            mine["converged"] = False
            differs = mine["differs"]
            assert isinstance(differs, list)
            differs.append(socket.connection)
    return told


async def _digests(tx: Transaction, memory: Memory, account: str) -> dict[str, str]:
    _, content = await memory.live(tx)
    if content is None:
        return {}
    return {one.connection: digest_of(load) for one, load in loads_of(content).items() if one.account == account}
