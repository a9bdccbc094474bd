"""Other names: our own list, what operators added, and the symbols that exchanges changed."""

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import TupleRow, class_row

from instrument_registry import events
from instrument_registry.catalog.calendars import market_today
from instrument_registry.catalog.events import AliasAdded, AliasRemoved
from instrument_registry.catalog.overriding import check_reason
from instrument_registry.catalog.search import Alias, seed
from instrument_registry.database import Transaction
from instrument_registry.errors import Conflict, Invalid, NotFound

LONGEST_ALIAS = 60
BY_INGESTION = "ingestion "

# Operators' aliases first: of several targets the first that is live counts. A changed symbol leads to the last one of
# its chain; a symbol that somebody bears again is found by itself before any alias is looked at.
READ = """
with recursive chain as (
    select old_symbol as alias, new_symbol as target, effective_date, 1 as hops from declared_changes
     where what = 'symbol_change' and old_symbol <> new_symbol
    union
    select c.alias, d.new_symbol, d.effective_date, c.hops + 1
      from chain c join declared_changes d on d.what = 'symbol_change' and d.old_symbol = c.target
       and d.effective_date >= c.effective_date and d.new_symbol <> c.alias
     where c.hops < 10),
other as (
    select alias, target, 0 as place, id::bigint as sort from aliases where valid_to = 'infinity'
    union all
    select lower(alias), target, 1, -hops * 10000000::bigint - (effective_date - date '1990-01-01') from chain)
select alias, array_agg(target order by place, sort) from other group by alias order by alias
"""

KNOWN = "select 1 from instrument_versions where root = %(target)s and known_to = 'infinity' limit 1"

ADD = """
insert into aliases (alias, target, reason, valid_from, actor, created_at)
values (%(alias)s, %(target)s, %(reason)s, %(day)s, %(actor)s, %(at)s) on conflict do nothing
"""

REMOVE = """
update aliases set valid_to = %(day)s where alias = %(alias)s and target = %(target)s and valid_to = 'infinity'
returning alias, target, reason, actor, created_at
"""

LIST = """
select alias, target, reason, actor, created_at from aliases
 where valid_to = 'infinity' and (%(target)s::text is null or target = %(target)s) order by alias, target
"""


class AliasTaken(Conflict):
    """The alias leads there already."""

    title = "The alias exists"


class AliasNotFound(NotFound):
    """List the aliases to see what leads where."""

    title = "There is no such alias"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAlias:
    """Another name an operator gave a target, or a former one that an ingestion found; and why."""

    alias: str
    target: str
    reason: str
    actor: str
    created_at: datetime

    @property
    def by_ingestion(self) -> bool:
        """Whether it is a former name that no operator had to add."""
        return self.actor.startswith(BY_INGESTION)


async def read_aliases(tx: Transaction) -> list[Alias]:
    """Every alias that search shall know."""
    cursor = await tx.execute(READ)
    return _with_seed(await cursor.fetchall())


def read_all_aliases(connection: "psycopg.Connection[TupleRow]") -> list[Alias]:
    """The same, for a thread of its own."""
    return _with_seed(connection.execute(READ).fetchall())


async def add(
    tx: Transaction, alias: str, target: str, *, reason: str, metadata: events.Metadata, at: datetime
) -> KeptAlias:
    """Make a target (a name as it stands in keys) findable by another name; Raises: Invalid, AliasTaken."""
    alias, target = _folded(alias), target.strip().upper()
    if not 1 <= len(alias) <= LONGEST_ALIAS or not alias.isprintable():
        problem = f"An alias has 1 to {LONGEST_ALIAS} printable characters"
        raise Invalid(problem, field="alias", value=alias[:LONGEST_ALIAS])
    check_reason(reason)
    values = {
        "alias": alias, "target": target, "reason": reason.strip(), "actor": metadata.actor, "at": at,
        "day": market_today(at),
    }  # fmt: skip
    if await (await tx.execute(KNOWN, values)).fetchone() is None:
        raise Invalid(f"No instrument is named {target}", field="target", value=target)
    if (await tx.execute(ADD, values)).rowcount == 0:
        raise AliasTaken(f"{alias} leads to {target} already", alias=alias, target=target)
    fact = AliasAdded(occurred_at=at, alias=alias, target=target, reason=reason.strip())
    await events.append(tx, fact, stream=f"alias-{alias}", metadata=metadata)
    return KeptAlias(alias=alias, target=target, reason=reason.strip(), actor=metadata.actor, created_at=at)


async def remove(
    tx: Transaction, alias: str, target: str, *, reason: str, metadata: events.Metadata, at: datetime
) -> KeptAlias:
    """Take an operator's alias back; Raises: AliasNotFound, Invalid."""
    check_reason(reason)
    values = {"alias": _folded(alias), "target": target.strip().upper(), "day": market_today(at)}
    async with tx.cursor(row_factory=class_row(KeptAlias)) as cursor:
        await cursor.execute(REMOVE, values)
        removed = await cursor.fetchone()
    if removed is None:
        own = any(_folded(one.text) == values["alias"] and values["target"] in one.targets for one in seed())
        problem = "is in our own list, which stays" if own else "is no alias that was added"
        raise AliasNotFound(f"{alias} for {target} {problem}", alias=alias, target=target)
    fact = AliasRemoved(occurred_at=at, alias=removed.alias, target=removed.target, reason=reason.strip())
    await events.append(tx, fact, stream=f"alias-{removed.alias}", metadata=metadata)
    return removed


async def listed(tx: Transaction, *, target: str | None = None) -> list[KeptAlias]:
    """The aliases that operators and ingestions added, by alphabet."""
    async with tx.cursor(row_factory=class_row(KeptAlias)) as cursor:
        await cursor.execute(LIST, {"target": target})
        return await cursor.fetchall()


def _folded(alias: str) -> str:
    return " ".join(alias.lower().split())


def _with_seed(rows: "list[TupleRow]") -> list[Alias]:
    own = [Alias(alias, tuple(targets)) for alias, targets in rows]
    taken = {alias.text for alias in own}
    return own + [alias for alias in seed() if alias.text not in taken]
