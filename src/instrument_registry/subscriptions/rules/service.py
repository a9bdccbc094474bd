"""Rules resolved over the catalogue into wants, and kept up with prices, expiries and listings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from instrument_registry import events
from instrument_registry.catalog import chains_in_tables
from instrument_registry.catalog.chains_in_tables import Contract
from instrument_registry.database import Database, Transaction
from instrument_registry.events import Metadata
from instrument_registry.events.model import Fact
from instrument_registry.subscriptions.demand import events as demand_events
from instrument_registry.subscriptions.demand import storage as demand_storage
from instrument_registry.subscriptions.demand.events import SubscriptionReleased
from instrument_registry.subscriptions.demand.wants import DemandSource
from instrument_registry.subscriptions.ladders import Frozen
from instrument_registry.subscriptions.rules import standing, storage
from instrument_registry.subscriptions.rules.events import STREAM_OF_WORKER, ChainRebalanced
from instrument_registry.subscriptions.rules.measures import REBALANCES
from instrument_registry.subscriptions.rules.model import FilterRule, LadderRule, Rule, Underlying
from instrument_registry.subscriptions.rules.prices import Known
from instrument_registry.subscriptions.rules.standing import Chain, Kept, Owner, Settled, Standing

SETTLED_AT_ONCE = 200  # rules of one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalanced:
    """What settling a rule has changed among its owner's wants."""

    settled: Settled
    added: int
    changed: int
    removed: int


@dataclass(slots=True)
class _Seen:
    """The catalogue as one turn of settling has read it: each chain and each price once."""

    chains: dict[Underlying, Chain] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)
    expiries: dict[Underlying, int] = field(default_factory=dict)  # how many of each chain are asked for at most


async def replace(
    tx: Transaction, owner: Owner, rules: Sequence[Rule], *, metadata: Metadata, at: datetime
) -> list[Rebalanced]:
    """Let these be all the rules of an owner, resolved at once; a ladder begins where ladders that move alike stand.

    Call it in the transaction that writes the owner: what the owner names itself is `demand.service.replace`'s.
    """
    await demand_storage.lock(tx, owner.source, owner.owner)
    before = await storage.of_owner(tx, owner.source, owner.owner)
    for number, rule in enumerate(rules, 1):
        stands = await storage.equal(tx, owner, rule) if isinstance(rule, LadderRule) else Standing()
        await storage.keep(tx, owner, number, rule, standing=stands)
    if len(before) > len(rules):
        await _cut(tx, before[0].owner, rules=len(rules), metadata=metadata, at=at)
    kept = await storage.of_owner(tx, owner.source, owner.owner)
    return await _settle(tx, kept, stream=demand_events.stream_of(owner.source, owner.owner), metadata=metadata, at=at)


async def release(tx: Transaction, source: DemandSource, owner: str, *, metadata: Metadata, at: datetime) -> int:
    """Let an owner have no rules any more, and release what they brought; how many instruments that was."""
    await demand_storage.lock(tx, source, owner)
    before = await storage.of_owner(tx, source, owner)
    return await _cut(tx, before[0].owner, rules=0, metadata=metadata, at=at) if before else 0


async def settle(tx: Transaction, *, metadata: Metadata, at: datetime) -> tuple[int, list[Rebalanced]]:
    """Settle up to SETTLED_AT_ONCE rules that are due: how many were, and those that bring others now.

    Who settles beside takes others. Only what differs is written, and told as `chain.rebalance`.
    """
    kept = await storage.due(tx, at=at, limit=SETTLED_AT_ONCE)
    return len(kept), await _settle(tx, kept, stream=STREAM_OF_WORKER, metadata=metadata, at=at)


async def end(tx: Transaction, *, at: datetime) -> int:
    """Forget the rules whose owners have ended, once they are settled; how many there were."""
    return await storage.ended(tx, at=at)


async def next_due(tx: Transaction) -> datetime | None:
    """When the next rule is to be settled, if nothing comes before."""
    return await storage.next_due(tx)


async def all_due(tx: Transaction, *, at: datetime) -> int:
    """Have every rule settled anew, as the catalogue may have other contracts now; how many rules there are."""
    return await storage.all_due(tx, at=at)


async def listed(
    tx: Transaction,
    *,
    at: datetime,
    limit: int,
    after: tuple[str, str, int] | None = None,
    underlying: Underlying | None = None,
    user_id: str | None = None,
    source: DemandSource | None = None,
    owner: str | None = None,
    kind: str | None = None,
) -> list[tuple[Kept, Frozen | None]]:
    """Rules by source, owner and number: where each stands, and what keeps it from following."""
    where = {
        "underlying": None if underlying is None else str(underlying), "user_id": user_id, "source": source,
        "owner": owner, "kind": kind,
    }  # fmt: skip
    found = await storage.listed(tx, limit=limit, after=after, where=where)
    known = await _known(tx, found)
    return [(one, standing.frozen(one, known.get(str(one.rule.underlying)), now=at)) for one in found]


async def wake(database: Database) -> None:
    """Let whoever settles rules look now, after a commit."""
    async with database.transaction() as tx:
        await storage.wake(tx)


async def listen(session: Transaction) -> None:
    """Hear on a session of one's own when there are rules to settle."""
    await storage.listen(session)


async def _cut(tx: Transaction, owner: Owner, *, rules: int, metadata: Metadata, at: datetime) -> int:
    released = await storage.cut(tx, owner.source, owner.owner, rules=rules)
    if released:
        fact = SubscriptionReleased(
            occurred_at=at, source=owner.source, owner=owner.owner, user_id=owner.user_id, released=released,
            instruments=[], expired=False,
        )  # fmt: skip
        await events.append(tx, fact, stream=demand_events.stream_of(owner.source, owner.owner), metadata=metadata)
    return released


async def _settle(
    tx: Transaction, kept: Sequence[Kept], *, stream: str, metadata: Metadata, at: datetime
) -> list[Rebalanced]:
    if not kept:
        return []
    seen = _Seen(known=await _known(tx, kept), expiries=_expiries(kept))
    settled = [await _resolved(tx, one, seen, at=at) for one in kept]
    others = [one for one in settled if one.brings_others]
    counts = await storage.bring(tx, others) if others else []
    await storage.stand(tx, settled)
    found = [
        Rebalanced(settled=one, added=added, changed=changed, removed=removed)
        for one, (added, changed, removed) in zip(others, counts, strict=True)
    ]
    facts: list[Fact] = [_fact(one, at=at) for one in found if one.added or one.removed]
    if facts:
        await events.append(tx, *facts, stream=stream, metadata=metadata)
        for one in found:
            REBALANCES.labels(why=one.settled.why).inc()
    return found


async def _resolved(tx: Transaction, kept: Kept, seen: _Seen, *, at: datetime) -> Settled:
    rule = kept.rule
    if isinstance(rule, LadderRule):
        name = rule.underlying
        if name not in seen.chains:
            found = await chains_in_tables.options(
                tx, exchange=name.exchange, root=name.name, expiries=seen.expiries[name], at=at
            )
            seen.chains[name] = standing.chain_of(found)
        return standing.climbed(kept, seen.chains[name], seen.known.get(str(name)), now=at)
    return standing.filtered(kept, await _matching(tx, rule, at=at), most=rule.most, now=at)


def _expiries(kept: Sequence[Kept]) -> dict[Underlying, int]:
    found: dict[Underlying, int] = {}
    for rule in (one.rule for one in kept):
        if isinstance(rule, LadderRule):
            found[rule.underlying] = max(rule.expiries, found.get(rule.underlying, 0))
    return found


async def _matching(tx: Transaction, rule: FilterRule, *, at: datetime) -> list[Contract]:
    name = rule.underlying
    return await chains_in_tables.matching(
        tx, at=at, limit=rule.most + 1, kind=rule.kind, venue=rule.venue, expiry=rule.expiry, expiries=rule.expiries,
        exchange=name.exchange if name else None, root=name.name if name else None, side=rule.side,
        strike_from=rule.strike_from, strike_to=rule.strike_to,
    )  # fmt: skip


async def _known(tx: Transaction, kept: Sequence[Kept]) -> dict[str, Known]:
    names = {str(one.rule.underlying) for one in kept if isinstance(one.rule, LadderRule)}
    return {row.underlying: row.known for row in await storage.prices(tx, sorted(names))} if names else {}


def _fact(one: Rebalanced, *, at: datetime) -> ChainRebalanced:
    kept, now = one.settled.kept, one.settled.standing
    before, owner = kept.standing.centre, kept.owner
    return ChainRebalanced(
        occurred_at=at, source=owner.source, owner=owner.owner, user_id=owner.user_id, rule=kept.number,
        underlying=None if kept.rule.underlying is None else str(kept.rule.underlying), why=one.settled.why,
        added=one.added, removed=one.removed, instruments=now.instruments,
        centre_before=None if before is None else format(before, "f"),
        centre=None if now.centre is None else format(now.centre, "f"),
        price=None if now.price is None else format(now.price, "f"), truncated=now.truncated,
    )  # fmt: skip
