"""The tables of rules and of reference prices, and the rows of wants that rules bring."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from instrument_registry.database import Transaction
from instrument_registry.subscriptions.demand.wants import DemandSource, Want
from instrument_registry.subscriptions.ladders import Frozen, Price
from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.rules.model import LadderRule, Rule, parsed, shown
from instrument_registry.subscriptions.rules.prices import Known
from instrument_registry.subscriptions.rules.standing import Kept, Owner, Settled, Standing

WOKEN = "subscription_rules"  # a channel: there are rules to settle

OWNER = "source, owner, user_id, mode, priority, copies, pinned, expires_at"
STANDING = """centre, since, price, stays_from, stays_to, instruments, digest, truncated, edge_at, due_at, settled_at"""
COLUMNS = f"rule, content, {OWNER}, {STANDING}"

OF_OWNER = f"""
select {COLUMNS} from subscription_rules where source = %(source)s and owner = %(owner)s order by rule for update
"""

DUE = f"""
select {COLUMNS} from subscription_rules where due_at <= %(at)s
 order by due_at, source, owner, rule limit %(limit)s for update skip locked
"""

LIST = f"""
select {COLUMNS} from subscription_rules
 where (%(underlying)s::text is null or underlying = %(underlying)s)
   and (%(user_id)s::text is null or user_id = %(user_id)s) and (%(source)s::text is null or source = %(source)s)
   and (%(owner)s::text is null or owner = %(owner)s) and (%(kind)s::text is null or kind = %(kind)s)
   and (%(after_source)s::text is null
        or (source, owner, rule) > (%(after_source)s, %(after_owner)s, %(after_rule)s))
 order by source, owner, rule limit %(limit)s
"""

# Ladders that move alike stand alike: a new one begins where its equals are.
EQUAL = f"""
select {STANDING} from subscription_rules
 where underlying = %(underlying)s and kind = 'ladder' and centre is not null
   and content @> %(alike)s order by (source, owner) = (%(source)s, %(owner)s) desc, since, source, owner, rule limit 1
"""

KEEP = f"""
insert into subscription_rules (source, owner, rule, user_id, mode, priority, copies, pinned, expires_at, kind,
    underlying, content, most, {STANDING})
values (%(source)s, %(owner)s, %(rule)s, %(user_id)s, %(mode)s, %(priority)s, %(copies)s, %(pinned)s, %(expires_at)s,
    %(kind)s, %(underlying)s, %(content)s, %(most)s, %(centre)s, %(since)s, %(price)s, null, null, 0, null, false, null,
    null, null)
    on conflict (source, owner, rule) do update set user_id = excluded.user_id, mode = excluded.mode,
    priority = excluded.priority, copies = excluded.copies, pinned = excluded.pinned, expires_at = excluded.expires_at,
    kind = excluded.kind, underlying = excluded.underlying, content = excluded.content, most = excluded.most,
    centre = excluded.centre, since = excluded.since, price = excluded.price, settled_at = null
"""

CUT = "delete from subscription_rules where source = %(source)s and owner = %(owner)s and rule > %(rules)s"
CUT_WANTS = """
delete from subscription_wants where source = %(source)s and owner = %(owner)s and rule > %(rules)s returning 1
"""

STAND = """
update subscription_rules r set centre = one.centre, since = one.since, price = one.price,
       stays_from = one.stays_from, stays_to = one.stays_to, instruments = one.instruments, digest = one.digest,
       truncated = one.truncated, edge_at = one.edge_at, due_at = one.due_at, settled_at = one.settled_at
  from unnest(%(sources)s::text[], %(owners)s::text[], %(rules)s::smallint[], %(centre)s::numeric[],
              %(since)s::timestamptz[], %(price)s::numeric[], %(stays_from)s::numeric[], %(stays_to)s::numeric[],
              %(instruments)s::int[], %(digest)s::bigint[], %(truncated)s::boolean[], %(edge_at)s::timestamptz[],
              %(due_at)s::timestamptz[], %(settled_at)s::timestamptz[])
       as one (source, owner, rule, centre, since, price, stays_from, stays_to, instruments, digest, truncated, edge_at,
               due_at, settled_at)
 where (r.source, r.owner, r.rule) = (one.source, one.owner, one.rule)
"""

# What each of some rules has brought, and when that ends in whole seconds: one row a rule.
BROUGHT = """
select r.place, array_agg(w.instrument_id), array_agg(coalesce(floor(extract(epoch from w.expires_at)), 0)::bigint)
  from unnest(%(sources)s::text[], %(owners)s::text[], %(rules)s::smallint[])
       with ordinality as r (source, owner, rule, place)
  join subscription_wants w on (w.source, w.owner, w.rule) = (r.source, r.owner, r.rule)
 group by r.place
"""

# By whole keys: a set of thousands compared with another one would be joined each with each.
RELEASE = """
delete from subscription_wants w
 using unnest(%(sources)s::text[], %(owners)s::text[], %(rules)s::smallint[], %(ids)s::bigint[])
       as r (source, owner, rule, instrument_id)
 where (w.source, w.owner, w.rule, w.instrument_id) = (r.source, r.owner, r.rule, r.instrument_id)
"""

BRING = """
with rule as (
    select * from unnest(%(sources)s::text[], %(owners)s::text[], %(rules)s::smallint[], %(users)s::text[],
                         %(modes)s::smallint[], %(priorities)s::smallint[], %(copies)s::smallint[],
                         %(pinned)s::boolean[])
             with ordinality as r (source, owner, rule, user_id, mode, priority, copies, pinned, place)),
brought as (
    insert into subscription_wants as w (source, owner, rule, instrument_id, user_id, mode, priority, copies, pinned,
        expires_at)
    select r.source, r.owner, r.rule, x.instrument_id, r.user_id, r.mode, r.priority, r.copies, r.pinned, x.expires_at
      from unnest(%(places)s::int[], %(ids)s::bigint[], %(ends)s::timestamptz[])
           as x (place, instrument_id, expires_at) join rule r on r.place = x.place
        on conflict (source, owner, rule, instrument_id) do update set
           user_id = excluded.user_id, mode = excluded.mode, priority = excluded.priority, copies = excluded.copies,
           pinned = excluded.pinned, expires_at = excluded.expires_at
     where (w.user_id, w.mode, w.priority, w.copies, w.pinned, w.expires_at) is distinct from
           (excluded.user_id, excluded.mode, excluded.priority, excluded.copies, excluded.pinned, excluded.expires_at)
    returning w.source, w.owner, w.rule, xmax = 0 as added)
select r.place, count(*) filter (where b.added), count(*) filter (where not b.added)
  from brought b join rule r on (r.source, r.owner, r.rule) = (b.source, b.owner, b.rule) group by r.place
"""

PRICES = """
select underlying, price, priced_at, refused_price, refused_at, refused_as, actor, received_at from reference_prices
"""

KEEP_PRICES = """
update reference_prices p set price = one.price, priced_at = one.priced_at, refused_price = one.refused_price,
       refused_at = one.refused_at, refused_as = one.refused_as, actor = %(actor)s, received_at = %(at)s
  from unnest(%(underlyings)s::text[], %(price)s::numeric[], %(priced_at)s::timestamptz[],
              %(refused_price)s::numeric[], %(refused_at)s::timestamptz[], %(refused_as)s::text[])
       as one (underlying, price, priced_at, refused_price, refused_at, refused_as)
 where p.underlying = one.underlying
"""

# Only those that a price moves are settled again, and those that never had one.
PRICED = """
with moved as (
    select r.source, r.owner, r.rule from subscription_rules r
      join unnest(%(underlyings)s::text[], %(prices)s::numeric[]) as one (underlying, price)
        on r.underlying = one.underlying
     where r.kind = 'ladder' and (r.centre is null or one.price < r.stays_from or one.price > r.stays_to)
     order by r.source, r.owner, r.rule for update of r)
update subscription_rules r set due_at = least(r.due_at, %(at)s) from moved m
 where (r.source, r.owner, r.rule) = (m.source, m.owner, m.rule)
returning r.underlying
"""

# Held in one order, as whoever tells prices holds them too.
ALL_DUE = """
with every as (select source, owner, rule from subscription_rules order by source, owner, rule for update)
update subscription_rules r set due_at = least(r.due_at, %(at)s) from every e
 where (r.source, r.owner, r.rule) = (e.source, e.owner, e.rule)
"""

ENDED = """
with gone as (
    select source, owner, rule from subscription_rules where expires_at <= %(at)s order by source, owner, rule
       for update skip locked)
delete from subscription_rules r using gone g where (r.source, r.owner, r.rule) = (g.source, g.owner, g.rule)
"""

LADDERS = """
select underlying, count(*) from subscription_rules where kind = 'ladder' and underlying = any(%(underlyings)s)
 group by underlying
"""

COUNTS = """
select case when p.price is null then 'no_price' when p.refused_as is not null then p.refused_as
            when p.priced_at < %(at)s - %(age_max)s::interval then 'stale'
            when r.settled_at is not null and r.centre is null then 'no_strikes' else 'following' end, count(*)
  from subscription_rules r left join reference_prices p on p.underlying = r.underlying
 where r.kind = 'ladder' group by 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """What is kept of an underlying's price, and who told it."""

    underlying: str
    known: Known
    actor: str
    received_at: datetime


async def of_owner(tx: Transaction, source: DemandSource, owner: str) -> list[Kept]:
    """The rules of an owner, their rows held until the transaction ends."""
    return [
        _kept(row) for row in await (await tx.execute(OF_OWNER.encode(), {"source": source, "owner": owner})).fetchall()
    ]


async def due(tx: Transaction, *, at: datetime, limit: int) -> list[Kept]:
    """Rules that are to be settled, the longest due first, held; those that somebody else settles are left out."""
    return [_kept(row) for row in await (await tx.execute(DUE.encode(), {"at": at, "limit": limit})).fetchall()]


async def next_due(tx: Transaction) -> datetime | None:
    """When the next rule is to be settled."""
    row = await (await tx.execute("select min(due_at) from subscription_rules")).fetchone()
    return row[0] if row else None


async def all_due(tx: Transaction, *, at: datetime) -> int:
    """Have every rule settled anew; how many there are."""
    return (await tx.execute(ALL_DUE, {"at": at})).rowcount


async def listed(
    tx: Transaction, *, limit: int, after: tuple[str, str, int] | None, where: Mapping[str, object]
) -> list[Kept]:
    """Rules by source, owner and number; `where` names underlying, user_id, source, owner, kind."""
    values = dict(zip(("after_source", "after_owner", "after_rule"), after or (None,) * 3, strict=True))
    named: dict[str, object] = dict.fromkeys(("underlying", "user_id", "source", "owner", "kind"))
    rows = await (await tx.execute(LIST.encode(), {**named, **values, **where, "limit": limit})).fetchall()
    return [_kept(row) for row in rows]


async def equal(tx: Transaction, owner: Owner, rule: LadderRule) -> Standing:
    """Where ladders stand that move as this one does, its owner's own first; at the beginning where there are none."""
    told = shown(rule)
    alike = {name: told[name] for name in ("hysteresis", "interval_seconds")}
    values = {"underlying": str(rule.underlying), "alike": Jsonb(alike), "source": owner.source, "owner": owner.owner}
    row = await (await tx.execute(EQUAL.encode(), values)).fetchone()
    return Standing() if row is None else _standing(row)


async def keep(tx: Transaction, owner: Owner, number: int, rule: Rule, *, standing: Standing) -> None:
    """Keep a rule as its owner's n-th; a ladder begins where `standing` says."""
    values = {
        "source": owner.source, "owner": owner.owner, "rule": number, "user_id": owner.user_id,
        "mode": int(owner.mode), "priority": owner.priority, "copies": owner.copies, "pinned": owner.pinned,
        "expires_at": owner.expires_at, "kind": rule.RULE, "content": Jsonb(shown(rule)), "most": rule.most,
        "underlying": None if rule.underlying is None else str(rule.underlying),
        "centre": standing.centre, "since": standing.since, "price": standing.price,
    }  # fmt: skip
    await tx.execute(KEEP.encode(), values)


async def cut(tx: Transaction, source: DemandSource, owner: str, *, rules: int) -> int:
    """Let an owner have so many rules and no more, and let go of what the others brought; how much that was."""
    values = {"source": source, "owner": owner, "rules": rules}
    await tx.execute(CUT, values)
    return (await tx.execute(CUT_WANTS, values)).rowcount


async def ended(tx: Transaction, *, at: datetime) -> int:
    """Let go of rules whose owners have ended; how many there were."""
    return (await tx.execute(ENDED, {"at": at})).rowcount


async def stand(tx: Transaction, settled: Sequence[Settled]) -> None:
    """Keep where rules stand now."""
    names = (
        "centre", "since", "price", "stays_from", "stays_to", "instruments", "digest", "truncated", "edge_at", "due_at",
        "settled_at",
    )  # fmt: skip
    columns = {name: [getattr(one.standing, name) for one in settled] for name in names}
    await tx.execute(STAND.encode(), _keys(settled) | columns)


async def bring(tx: Transaction, settled: Sequence[Settled]) -> list[tuple[int, int, int]]:
    """Let rules want what they bring now; only rows that differ are written. Of each: added, changed, removed."""
    keys = _keys(settled)
    rows = await (await tx.execute(BROUGHT.encode(), keys)).fetchall()
    brought = {place: dict(zip(ids, ends, strict=True)) for place, ids, ends in rows}
    gone: list[tuple[Kept, int]] = []
    wants: list[tuple[int, Want]] = []
    counts: list[tuple[int, int, int]] = []
    for place, one in enumerate(settled, 1):
        before, now = brought.get(place, {}), {want.instrument_id: want for want in one.wants}
        removed = before.keys() - now.keys()
        anew = one.kept.standing.settled_at is None  # its owner may say other things of every instrument
        differ = [want for id_, want in now.items() if anew or before.get(id_) != _seconds(want.expires_at)]
        gone += [(one.kept, id_) for id_ in sorted(removed)]
        wants += [(place, want) for want in differ]
        counts.append((0, 0, len(removed)))
    if gone:
        columns = {
            "sources": [kept.owner.source for kept, _ in gone], "owners": [kept.owner.owner for kept, _ in gone],
            "rules": [kept.number for kept, _ in gone], "ids": [id_ for _, id_ in gone],
        }  # fmt: skip
        await tx.execute(RELEASE.encode(), columns)
    if wants:
        owners = [one.kept.owner for one in settled]
        columns = {
            "places": [place for place, _ in wants], "ids": [want.instrument_id for _, want in wants],
            "users": [one.user_id for one in owners], "modes": [int(one.mode) for one in owners],
            "priorities": [one.priority for one in owners], "copies": [one.copies for one in owners],
            "pinned": [one.pinned for one in owners], "ends": [want.expires_at for _, want in wants],
        }  # fmt: skip
        for place, added, changed in await (await tx.execute(BRING.encode(), keys | columns)).fetchall():
            counts[place - 1] = added, changed, counts[place - 1][2]
    return counts


async def prices(tx: Transaction, underlyings: Sequence[str] | None = None, *, locked: bool = False) -> list[PriceRow]:
    """What is known of underlyings' prices, by name; their rows held until the transaction ends if asked."""
    where = "" if underlyings is None else " where underlying = any(%(underlyings)s)"
    statement = f"{PRICES}{where} order by underlying{' for update' if locked else ''}"
    return [
        _price(row) for row in await (await tx.execute(statement.encode(), {"underlyings": underlyings})).fetchall()
    ]


async def prices_after(tx: Transaction, after: str, *, limit: int) -> list[PriceRow]:
    """What is known of the prices of underlyings after one, by name."""
    statement = f"{PRICES} where underlying > %(after)s order by underlying limit %(limit)s"
    values = {"after": after, "limit": limit}
    return [_price(row) for row in await (await tx.execute(statement.encode(), values)).fetchall()]


async def begin_prices(tx: Transaction, underlyings: Sequence[str], *, actor: str, at: datetime) -> None:
    """Keep room for the prices of underlyings that have none."""
    await tx.execute(
        "insert into reference_prices (underlying, actor, received_at) select one, %(actor)s, %(at)s"
        " from unnest(%(underlyings)s::text[]) as one order by one on conflict do nothing",
        {"underlyings": list(underlyings), "actor": actor, "at": at},
    )


async def keep_prices(tx: Transaction, known: Mapping[str, Known], *, actor: str, at: datetime) -> None:
    """Keep what is known of prices now."""
    told = list(known.values())
    values = {
        "underlyings": list(known), "actor": actor, "at": at,
        "price": [one.price and one.price.value for one in told],
        "priced_at": [one.price and one.price.at for one in told],
        "refused_price": [one.refused and one.refused.value for one in told],
        "refused_at": [one.refused and one.refused.at for one in told],
        "refused_as": [one.refused_as for one in told],
    }  # fmt: skip
    await tx.execute(KEEP_PRICES.encode(), values)


async def priced(tx: Transaction, believed: Mapping[str, Decimal], *, at: datetime) -> list[str]:
    """Have the ladders settled that these prices move; the underlying of each."""
    values = {"underlyings": list(believed), "prices": list(believed.values()), "at": at}
    return [row[0] for row in await (await tx.execute(PRICED, values)).fetchall()]


async def ladders_on(tx: Transaction, underlyings: Sequence[str]) -> dict[str, int]:
    """How many ladders follow each of some underlyings."""
    return dict(await (await tx.execute(LADDERS, {"underlyings": list(underlyings)})).fetchall())


async def wake(tx: Transaction) -> None:
    """Tell whoever settles rules that there are some."""
    await tx.execute("select pg_notify(%s, '')", (WOKEN,))


async def listen(session: Transaction) -> None:
    """Hear of them."""
    await session.execute(f"listen {WOKEN}".encode())


async def counts(tx: Transaction, *, at: datetime, age_max: timedelta) -> dict[str, int]:
    """How many ladders there are by what keeps them from following."""
    rows = await (await tx.execute(COUNTS, {"at": at, "age_max": age_max})).fetchall()
    return dict(rows)


def _seconds(end: datetime | None) -> int:
    return 0 if end is None else int(end.timestamp())


def _keys(settled: Sequence[Settled]) -> dict[str, object]:
    return {
        "sources": [one.kept.owner.source for one in settled], "owners": [one.kept.owner.owner for one in settled],
        "rules": [one.kept.number for one in settled],
    }  # fmt: skip


def _kept(row: TupleRow) -> Kept:
    number, content, source, owner, user_id, mode, priority, copies, pinned, expires_at, *standing = row
    (rule,) = parsed([content if isinstance(content, dict) else json.loads(content)])
    whose = Owner(
        source=DemandSource(source), owner=owner, user_id=user_id, mode=Mode(mode), priority=priority, copies=copies,
        pinned=pinned, expires_at=expires_at,
    )  # fmt: skip
    return Kept(owner=whose, number=number, rule=rule, standing=_standing(standing))


def _standing(row: Sequence[object]) -> Standing:
    names = STANDING.replace(",", " ").split()
    return Standing(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]


def _price(row: TupleRow) -> PriceRow:
    underlying, price, priced_at, refused_price, refused_at, refused_as, actor, received_at = row
    known = Known(
        price=None if price is None else Price(value=price, at=priced_at),
        refused=None if refused_price is None else Price(value=refused_price, at=refused_at),
        refused_as=None if refused_as is None else Frozen(refused_as),
    )
    return PriceRow(underlying=underlying, known=known, actor=actor, received_at=received_at)
