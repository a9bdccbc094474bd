"""Where rules stand: what each brings, since when, by which price, and what keeps it from following; no I/O."""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from instrument_registry.catalog.chains_in_tables import Contract
from instrument_registry.subscriptions import ladders
from instrument_registry.subscriptions.demand.wants import DemandSource, Want
from instrument_registry.subscriptions.ladders import Frozen
from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.rules.model import LadderRule, Rule
from instrument_registry.subscriptions.rules.prices import Known


class Why(StrEnum):
    """What made a rule bring other instruments."""

    RULE = "rule"  # it is new, or another one
    PRICE = "price"
    EXPIRY = "expiry"  # contracts ended, the next ones took their place
    LISTING = "listing"  # the catalogue has others


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose rules they are, and what every want that they bring says."""

    source: DemandSource
    owner: str
    user_id: str
    mode: Mode = Mode.LTP
    priority: int = 50
    copies: int = 1
    pinned: bool = False
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a rule stands; `stays_from` to `stays_to` is where a price may go without moving it."""

    centre: Decimal | None = None
    since: datetime | None = None
    price: Decimal | None = None
    stays_from: Decimal | None = None
    stays_to: Decimal | None = None
    instruments: int = 0
    digest: int | None = None
    truncated: bool = False
    edge_at: datetime | None = None
    due_at: datetime | None = None
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One rule of one owner as it is kept; `number` counts from 1."""

    owner: Owner
    number: int
    rule: Rule
    standing: Standing

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from all others."""
        return self.owner.source, self.owner.owner, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A rule at an instant: where it stands now, and all that it wants."""

    kept: Kept  # as it was
    standing: Standing
    wants: tuple[Want, ...]
    why: Why

    @property
    def brings_others(self) -> bool:
        """Whether what it wants differs from what it wanted."""
        return self.standing.digest != self.kept.standing.digest


@dataclass(frozen=True, slots=True)
class Chain:
    """The live options of an underlying, as many ladders look at them: strikes by expiry, and each by what it is."""

    strikes: Mapping[date, Sequence[Decimal]]
    contracts: Mapping[ladders.Leg, Contract]

    @property
    def nearest(self) -> Sequence[Decimal]:
        """The strikes of the nearest expiry: by them a ladder follows its price."""
        return self.strikes[min(self.strikes)] if self.strikes else ()


def chain_of(contracts: Sequence[Contract]) -> Chain:
    """The chain that options make."""
    strikes: dict[date, set[Decimal]] = {}
    found: dict[ladders.Leg, Contract] = {}
    for one in contracts:
        if one.expiry is not None and one.strike is not None and one.side is not None:
            strikes.setdefault(one.expiry, set()).add(one.strike)
            found.setdefault(ladders.Leg(one.expiry, one.strike, one.side), one)
    return Chain({expiry: sorted(each) for expiry, each in strikes.items()}, found)


def climbed(kept: Kept, chain: Chain, known: Known | None, *, now: datetime) -> Settled:
    """A ladder settled over the live options of its underlying, at the last price that is known of it."""
    rule, before = kept.rule, kept.standing
    assert isinstance(rule, LadderRule)
    stood = ladders.Standing(centre=before.centre, since=before.since, price=before.price)
    followed = stood
    if known is not None and known.price is not None and known.refused_as is None:
        # Whether the price is believed was judged when it came.
        believed = replace(stood, price=None)
        followed = ladders.followed(rule.ladder, believed, known.price, chain.nearest, now=now)
        followed = replace(followed, price=followed.price or before.price)
    chosen: list[Contract] = []
    truncated = False
    if followed.centre is not None:
        found = ladders.legs(rule.ladder, followed.centre, chain.strikes)
        wanted = [leg for leg in found.legs if leg.side in rule.sides]
        chosen = [chain.contracts[leg] for leg in wanted if leg in chain.contracts]
        truncated = found.truncated or len(chosen) < len(wanted)
    low, high = (None, None) if followed.centre is None else ladders.band(rule.ladder, followed.centre, chain.nearest)
    standing = replace(
        before, centre=followed.centre, since=followed.since, price=followed.price, stays_from=low, stays_to=high
    )
    return _settled(kept, standing, chosen, truncated=truncated, now=now)


def filtered(kept: Kept, found: Sequence[Contract], *, most: int, now: datetime) -> Settled:
    """A filter settled over what matches it, one more than its bound where there are more."""
    return _settled(kept, kept.standing, found[:most], truncated=len(found) > most, now=now)


def frozen(kept: Kept, known: Known | None, *, now: datetime) -> Frozen | None:
    """What keeps a ladder from following its price now; a filter follows none."""
    if not isinstance(kept.rule, LadderRule):
        return None
    reason = (known or Known()).frozen(now=now)
    stands_nowhere = kept.standing.settled_at is not None and kept.standing.centre is None
    return Frozen.NO_STRIKES if reason is None and stands_nowhere else reason


def _settled(kept: Kept, standing: Standing, chosen: Sequence[Contract], *, truncated: bool, now: datetime) -> Settled:
    before, owner = kept.standing, kept.owner
    over = owner.expires_at is not None and owner.expires_at <= now
    wants = () if over else tuple(_want(owner, one) for one in chosen)
    edge = min((one.ends_at for one in chosen if one.ends_at is not None), default=None)
    standing = replace(
        standing, instruments=len(wants), digest=_digest(owner, wants), truncated=truncated, settled_at=now,
        edge_at=edge, due_at=_due(kept, standing, edge, over=over),
    )  # fmt: skip
    return Settled(kept=kept, standing=standing, wants=wants, why=_why(before, standing, now=now))


def _due(kept: Kept, standing: Standing, edge: datetime | None, *, over: bool) -> datetime | None:
    """When to settle it again if nothing comes: at its edge, at its owner's end, or when it may move again."""
    if over:
        return None
    times = [one for one in (edge, kept.owner.expires_at) if one is not None]
    price, low, high = standing.price, standing.stays_from, standing.stays_to
    away = price is not None and ((low is not None and price < low) or (high is not None and price > high))
    if away and standing.since is not None and isinstance(kept.rule, LadderRule):
        times.append(standing.since + kept.rule.ladder.interval)
    return min(times, default=None)


def _why(before: Standing, after: Standing, *, now: datetime) -> Why:
    if before.settled_at is None:
        return Why.RULE
    if before.centre != after.centre:
        return Why.PRICE
    return Why.EXPIRY if before.edge_at is not None and before.edge_at <= now else Why.LISTING


def _want(owner: Owner, one: Contract) -> Want:
    ends = [end for end in (one.ends_at, owner.expires_at) if end is not None]
    return Want(
        instrument_id=one.id, mode=owner.mode, priority=owner.priority, copies=owner.copies, pinned=owner.pinned,
        expires_at=min(ends, default=None),
    )  # fmt: skip


def _digest(owner: Owner, wants: Sequence[Want]) -> int:
    """A number that tells what is wanted from anything else that could be, as a signed one of eight bytes."""
    digest = hashlib.blake2b(repr(owner).encode(), digest_size=8)
    for want in wants:
        ends = 0 if want.expires_at is None else int(want.expires_at.timestamp())
        digest.update(struct.pack("<qq", want.instrument_id, ends))
    return int.from_bytes(digest.digest(), "big", signed=True)
