"""Declarations: corporate actions that no dump says by itself: symbol changes, demergers, mergers."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from psycopg.rows import class_row

from instrument_registry import events
from instrument_registry.catalog.events import ChangeDeclared
from instrument_registry.catalog.model import VENUES
from instrument_registry.catalog.overriding import check_reason
from instrument_registry.database import Transaction
from instrument_registry.errors import Conflict, Invalid

LONGEST_SYMBOL = 60
EARLIEST = date(1990, 1, 1)
AHEAD = timedelta(days=366)
BY_OPERATOR = "operator: "

LIST = """
select id, what, exchange, old_symbol, new_symbol, effective_date, source, actor, declared_at from declared_changes
 where (%(what)s::text is null or what = %(what)s) and (%(exchange)s::text is null or exchange = %(exchange)s)
   and (%(symbol)s::text is null or old_symbol = %(symbol)s or new_symbol = %(symbol)s)
   and (%(before)s::bigint is null or id < %(before)s)
 order by id desc limit %(limit)s
"""

ADD = """
insert into declared_changes (what, exchange, old_symbol, new_symbol, effective_date, source, actor, declared_at)
values (%(what)s, %(exchange)s, %(old_symbol)s, %(new_symbol)s, %(effective_date)s, %(source)s, %(actor)s, %(at)s)
    on conflict (what, exchange, old_symbol, new_symbol, effective_date) do nothing
returning id
"""

KNOWN = """
select 1 from instrument_versions
 where root = any(%(symbols)s) and venue = any(%(venues)s) and known_to = 'infinity' limit 1
"""


class What(StrEnum):
    """What happened to a company."""

    SYMBOL_CHANGE = "symbol_change"
    DEMERGER = "demerger"
    MERGER = "merger"


class AlreadyDeclared(Conflict):
    """Nothing is left to do."""

    title = "The change is declared already"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A corporate action as it is declared."""

    what: What
    exchange: str
    old_symbol: str
    new_symbol: str
    effective_date: date
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A declared change; `source` names the ingestion that brought it, or an operator's reason."""

    id: int
    what: str
    exchange: str
    old_symbol: str
    new_symbol: str
    effective_date: date
    source: str
    actor: str
    declared_at: datetime


async def declare(tx: Transaction, action: Action, *, metadata: events.Metadata, at: datetime) -> Declaration:
    """Keep a corporate action, which the next ingestions follow, and tell it; Raises: Invalid, AlreadyDeclared."""
    check_reason(action.reason)
    exchange, old, new = (text.strip().upper() for text in (action.exchange, action.old_symbol, action.new_symbol))
    venues = [venue for venue, (_, of, _) in VENUES.items() if of == exchange]
    if not venues:
        known = ", ".join(sorted({of for _, of, _ in VENUES.values()}))
        raise Invalid(f"{exchange[:20]} is no exchange; known are {known}", field="exchange", value=exchange[:20])
    for name, symbol in (("old_symbol", old), ("new_symbol", new)):
        if not 1 <= len(symbol) <= LONGEST_SYMBOL or not symbol.isprintable():
            raise Invalid(
                f"A symbol has 1 to {LONGEST_SYMBOL} printable characters", field=name, value=symbol[:LONGEST_SYMBOL]
            )
    if old == new and action.what is not What.DEMERGER:  # what is demerged may keep its symbol
        raise Invalid(f"{old} becomes itself", field="new_symbol", value=new)
    if not EARLIEST <= action.effective_date <= at.date() + AHEAD:
        day = action.effective_date
        raise Invalid(f"{day} is not between {EARLIEST} and a year from now", field="effective_date", value=str(day))
    known_ = await tx.execute(KNOWN, {"symbols": [old, new], "venues": venues})
    if await known_.fetchone() is None:
        raise Invalid(f"Neither {old} nor {new} was ever listed at {exchange}", field="old_symbol", value=old)
    values = {
        "what": action.what.value, "exchange": exchange, "old_symbol": old, "new_symbol": new,
        "effective_date": action.effective_date, "source": BY_OPERATOR + action.reason.strip(),
        "actor": metadata.actor, "at": at,
    }  # fmt: skip
    row = await (await tx.execute(ADD, values)).fetchone()
    if row is None:
        raise AlreadyDeclared(f"{action.what.value} of {old} into {new} on {action.effective_date} is declared already")
    fact = ChangeDeclared(
        occurred_at=at, what=action.what.value, exchange=exchange, old_symbol=old, new_symbol=new,
        effective_date=action.effective_date.isoformat(), reason=action.reason.strip(),
    )  # fmt: skip
    await events.append(tx, fact, stream=f"declaration-{exchange}-{old}", metadata=metadata)
    (made,) = await listed(tx, before=row[0] + 1, limit=1)
    return made


async def listed(
    tx: Transaction,
    *,
    what: What | None = None,
    exchange: str | None = None,
    symbol: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[Declaration]:
    """What was declared, the latest first; `before` goes on after one that was listed."""
    values = {
        "what": what.value if what else None, "exchange": exchange.upper() if exchange else None,
        "symbol": symbol.upper() if symbol else None, "before": before, "limit": limit,
    }  # fmt: skip
    async with tx.cursor(row_factory=class_row(Declaration)) as cursor:
        await cursor.execute(LIST, values)
        return await cursor.fetchall()
