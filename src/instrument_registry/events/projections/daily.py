"""How many facts of each type each source told, day by day of the market: what a morning looked like."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from psycopg.rows import class_row

from instrument_registry.clock import MARKET_ZONE
from instrument_registry.database import Transaction
from instrument_registry.events.model import Event
from instrument_registry.events.projections.model import Projection

ADD = """
insert into daily_facts as d (generation, day, type, source, facts)
select %(generation)s, * from unnest(%(days)s::date[], %(types)s::text[], %(sources)s::text[], %(facts)s::bigint[])
    on conflict (generation, day, type, source) do update set facts = d.facts + excluded.facts
"""

ROWS = """
select day, type, source, facts from daily_facts where generation = %(generation)s order by day, type, source
"""

LISTED = """
select d.day, d.type, d.source, d.facts
  from daily_facts d join projections p on p.name = 'daily_facts' and p.active and p.generation = d.generation
 where d.day between %(first)s and %(last)s
 order by d.day desc, d.type, d.source
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyFacts:
    """How many facts of a type a source told on a market date."""

    day: date
    type: str
    source: str
    facts: int


async def listed(tx: Transaction, *, first: date, last: date) -> list[DailyFacts]:
    """What was told on some days, the newest first."""
    async with tx.cursor(row_factory=class_row(DailyFacts)) as cursor:
        await cursor.execute(LISTED, {"first": first, "last": last})
        return await cursor.fetchall()


async def apply(tx: Transaction, generation: int, told: Sequence[Event]) -> None:
    """Count some events."""
    counts = Counter(
        (event.recorded_at.astimezone(MARKET_ZONE).date(), event.type, event.metadata.source or "") for event in told
    )
    days, types, sources = zip(*counts, strict=True)
    await tx.execute(
        ADD,
        {
            "generation": generation, "days": list(days), "types": list(types), "sources": list(sources),
            "facts": list(counts.values()),
        },
    )  # fmt: skip


async def clear(tx: Transaction, generation: int) -> None:
    """Forget a generation."""
    await tx.execute("delete from daily_facts where generation = %s", (generation,))


async def digest(tx: Transaction, generation: int) -> str:
    """What a generation amounts to, in one word."""
    rows = await (await tx.execute(ROWS, {"generation": generation})).fetchall()
    return hashlib.sha256("\n".join("\t".join(map(str, row)) for row in rows).encode()).hexdigest()


DAILY_FACTS = Projection(name="daily_facts", apply=apply, clear=clear, digest=digest)
