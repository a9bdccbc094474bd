"""What official lists declare: symbol changes, lots of an underlying, market identifier codes."""

from collections.abc import Sequence
from datetime import datetime

from instrument_registry import events
from instrument_registry.catalog.brokers.frame import Declared
from instrument_registry.catalog.events import ChangeDeclared
from instrument_registry.catalog.ingestion.model import Order
from instrument_registry.database import Transaction

SYMBOL_CHANGE = """
insert into declared_changes (what, exchange, old_symbol, new_symbol, effective_date, name, source, actor, declared_at)
select 'symbol_change', upper(%(broker)s), d.old_symbol, d.new_symbol, d.effective_date, d.name, %(source)s, %(actor)s, %(at)s
  from declared d where d.old_symbol <> d.new_symbol
    on conflict (what, exchange, old_symbol, new_symbol, effective_date) do nothing
returning what, exchange, old_symbol, new_symbol, effective_date::text
"""

LOTS = """
insert into declared_lots (underlying, market_date, lot_size) select underlying, %(day)s, lot_size from declared
    on conflict (underlying, market_date) do nothing
"""

MICS = """
insert into mics (mic, operating_mic, name, country, status, acronym)
select mic, operating_mic, name, country, status, acronym from declared
    on conflict (mic) do update set operating_mic = excluded.operating_mic, name = excluded.name, country = excluded.country,
       status = excluded.status, acronym = excluded.acronym
 where (mics.operating_mic, mics.name, mics.country, mics.status, mics.acronym)
       is distinct from (excluded.operating_mic, excluded.name, excluded.country, excluded.status, excluded.acronym)
"""

_TABLES = {
    "symbol_changes": ("old_symbol text, new_symbol text, effective_date date, name text", SYMBOL_CHANGE),
    "underlying_lots": ("underlying text, lot_size bigint", LOTS),
    "mics": ("mic text, operating_mic text, name text, country text, status text, acronym text", MICS),
}


async def declare(
    tx: Transaction, lists: Sequence[Declared], *, order: Order, run: int, metadata: events.Metadata, at: datetime
) -> dict[str, int]:
    """Store what was not declared before, and tell of symbol changes; the count of new declarations by kind."""
    counts: dict[str, int] = {}
    facts: list[ChangeDeclared] = []
    source = f"ingestion {run}"
    for part in lists:
        columns, statement = _TABLES[part.what]
        names = [column.split()[0] for column in columns.split(", ")]
        await tx.execute(f"create temporary table declared ({columns})".encode())
        async with tx.cursor() as cursor:
            async with cursor.copy(f"copy declared ({', '.join(names)}) from stdin (format csv)".encode()) as copy:
                await copy.write(part.rows.select(names).write_csv(include_header=False))
            values = {
                "broker": order.broker, "day": order.market_date, "source": source, "actor": order.actor, "at": at,
            }  # fmt: skip
            await cursor.execute(statement.encode(), values)
            if cursor.rowcount:
                counts[f"declared_{part.what}"] = cursor.rowcount
            if part.what == "symbol_changes":
                facts += [
                    ChangeDeclared(
                        occurred_at=at, what=what, exchange=exchange, old_symbol=old, new_symbol=new, effective_date=day, reason=source
                    )
                    for what, exchange, old, new, day in await cursor.fetchall()
                ]  # fmt: skip
            await cursor.execute("drop table declared")
    if facts:
        await events.append(tx, *facts, stream=f"ingestion-{run}", metadata=metadata)
    return counts
