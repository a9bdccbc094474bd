"""Other names: our own list, what operators added, and the symbols that exchanges changed."""

from datetime import datetime

import psycopg
from psycopg.rows import TupleRow

from instrument_registry import events
from instrument_registry.catalog.events import AliasAdded, AliasRemoved
from instrument_registry.catalog.search import Alias, seed
from instrument_registry.database import Transaction
from instrument_registry.errors import Conflict, Invalid, NotFound

LONGEST_ALIAS = 60

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

LIST = """
select alias, target, reason, actor, created_at from aliases
 where valid_to = 'infinity' and (%(target)s::text is null or target = %(target)s) order by alias, target
"""


class AliasTaken(Conflict):
    """The alias leads there already."""

    title = "The alias exists"


class AliasNotFound(NotFound):
    """No such alias."""

    title = "There is no such alias"


async def read_aliases(tx: Transaction) -> list[Alias]:
    """Every alias that search shall know."""
    cursor = await tx.execute(READ)
    return _with_seed(await cursor.fetchall())


def read_all_aliases(connection: "psycopg.Connection[TupleRow]") -> list[Alias]:
    """The same, for a thread of its own."""
    return _with_seed(connection.execute(READ).fetchall())


async def add(
    tx: Transaction, alias: str, target: str, *, reason: str, metadata: events.Metadata, at: datetime
) -> None:
    """Make a target (a name as it stands in keys) findable by another name; Raises: Invalid, AliasTaken."""
    alias, target = " ".join(alias.lower().split()), target.strip().upper()
    if not 1 <= len(alias) <= LONGEST_ALIAS:
        raise Invalid(f"An alias has 1 to {LONGEST_ALIAS} characters", field="alias", value=alias[:LONGEST_ALIAS])
    if not reason.strip():
        raise Invalid("An alias needs a reason", field="reason", value=reason)
    known = await tx.execute(
        "select 1 from instrument_versions where root = %s and known_to = 'infinity' limit 1", (target,)
    )
    if await known.fetchone() is None:
        raise Invalid(f"No instrument is named {target}", field="target", value=target)
    cursor = await tx.execute(
        "insert into aliases (alias, target, reason, valid_from, actor, created_at) values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
        (alias, target, reason, at.date(), metadata.actor, at),
    )
    if cursor.rowcount == 0:
        raise AliasTaken(f"{alias} leads to {target} already", alias=alias, target=target)
    fact = AliasAdded(occurred_at=at, alias=alias, target=target, reason=reason)
    await events.append(tx, fact, stream=f"alias-{alias}", metadata=metadata)


async def remove(
    tx: Transaction, alias: str, target: str, *, reason: str, metadata: events.Metadata, at: datetime
) -> None:
    """Take an operator's alias back; Raises: AliasNotFound."""
    alias, target = " ".join(alias.lower().split()), target.strip().upper()
    cursor = await tx.execute(
        "update aliases set valid_to = %s where alias = %s and target = %s and valid_to = 'infinity'",
        (at.date(), alias, target),
    )
    if cursor.rowcount == 0:
        raise AliasNotFound(f"{alias} does not lead to {target}", alias=alias, target=target)
    fact = AliasRemoved(occurred_at=at, alias=alias, target=target, reason=reason)
    await events.append(tx, fact, stream=f"alias-{alias}", metadata=metadata)


async def listed(tx: Transaction, *, target: str | None = None) -> list[tuple[str, str, str, str, datetime]]:
    """The aliases operators and renames added: alias, target, reason, actor, when."""
    cursor = await tx.execute(LIST, {"target": target})
    return [(row[0], row[1], row[2], row[3], row[4]) for row in await cursor.fetchall()]


def _with_seed(rows: "list[TupleRow]") -> list[Alias]:
    own = [Alias(alias, tuple(targets)) for alias, targets in rows]
    taken = {alias.text for alias in own}
    return own + [alias for alias in seed() if alias.text not in taken]
