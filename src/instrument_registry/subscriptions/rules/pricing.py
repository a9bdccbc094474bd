"""Prices of underlyings: taken in batches, judged one by one; those that move a ladder have it settled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from instrument_registry import events
from instrument_registry.catalog import chains_in_tables
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata
from instrument_registry.events.model import Fact
from instrument_registry.subscriptions.rules import storage
from instrument_registry.subscriptions.rules.events import (
    STREAM_OF_PRICES,
    ReferencePriceBelieved,
    ReferencePriceRefused,
)
from instrument_registry.subscriptions.rules.measures import PRICES
from instrument_registry.subscriptions.rules.model import Underlying
from instrument_registry.subscriptions.rules.prices import AGE_MAX, JUMP_MAX, Known, PriceVerdict, Told, judged
from instrument_registry.subscriptions.rules.storage import PriceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of one price: why, how many ladders follow the underlying, how many it moves, whether they stay."""

    underlying: Underlying
    verdict: PriceVerdict
    detail: str
    ladders: int
    moves: int
    frozen: bool


async def tell(
    tx: Transaction, told: Sequence[tuple[Underlying, Told]], *, metadata: Metadata, at: datetime
) -> list[Taken]:
    """Take what underlyings cost, in the order of their times; whoever settles rules is to be woken afterwards.

    A price too far from the one before, or none at all, is refused and its ladders stay until one is believed again.
    """
    names = sorted({str(underlying) for underlying, _ in told})
    known = {row.underlying: row.known for row in await storage.prices(tx, names, locked=True)}
    strange = [name for name in names if name not in known]
    if strange:
        there = await chains_in_tables.traded(tx, _pairs(told, strange), at=at)
        begun = [name for name in strange if name in there]
        await storage.begin_prices(tx, begun, actor=metadata.actor, at=at)
        known |= {row.underlying: row.known for row in await storage.prices(tx, begun, locked=True)}
    before = dict(known)
    verdicts: list[tuple[int, PriceVerdict, str]] = []
    for place, (underlying, one) in sorted(enumerate(told), key=lambda item: item[1][1].price.at):
        verdict, detail = _taken(known, str(underlying), one, now=at)
        verdicts.append((place, verdict, detail))
        PRICES.labels(verdict=verdict).inc()
    changed = {name: one for name, one in known.items() if one != before[name]}
    facts = _facts(before, changed, {str(name) for name, one in told if one.confirmed}, at=at)
    if facts:
        await events.append(tx, *facts, stream=STREAM_OF_PRICES, metadata=metadata)
    moved: list[str] = []
    if changed:
        await storage.keep_prices(tx, changed, actor=metadata.actor, at=at)
        moved = await storage.priced(tx, _believed(changed), at=at)
    ladders = await storage.ladders_on(tx, names)
    return [
        Taken(
            underlying=told[place][0], verdict=verdict, detail=detail, ladders=ladders.get(str(told[place][0]), 0),
            moves=moved.count(str(told[place][0])) if verdict is PriceVerdict.TAKEN else 0,
            frozen=known.get(str(told[place][0]), Known()).refused_as is not None,
        )
        for place, verdict, detail in sorted(verdicts)
    ]  # fmt: skip


async def listed(tx: Transaction, *, after: str, limit: int) -> list[PriceRow]:
    """What is known of prices, by underlying."""
    return await storage.prices_after(tx, after, limit=limit)


def _taken(known: dict[str, Known], name: str, told: Told, *, now: datetime) -> tuple[PriceVerdict, str]:
    if name not in known:
        return PriceVerdict.UNKNOWN, f"The catalogue has nothing called {name}"
    before = known[name]
    verdict, known[name] = judged(before, told, now=now)
    return verdict, _detail(verdict, before, told)


def _detail(verdict: PriceVerdict, before: Known, told: Told) -> str:
    was = before.price
    if verdict is PriceVerdict.STALE:
        return f"It is more than {AGE_MAX.total_seconds():g} seconds old; send a newer one"
    if verdict is PriceVerdict.OLDER and was is not None:
        return f"One of {was.at.isoformat()} is known already"
    if verdict is PriceVerdict.IMPLAUSIBLE and was is not None and told.price.value > 0:
        return (
            f"It is more than {JUMP_MAX:%} away from {was.value:f}: ladders stay where they are. "
            "If it is true, send it again as confirmed"
        )
    if verdict is PriceVerdict.IMPLAUSIBLE:
        return "It can be no price, or is of the future: ladders stay where they are"
    return "Ladders follow it"


def _facts(before: dict[str, Known], changed: dict[str, Known], confirmed: set[str], *, at: datetime) -> list[Fact]:
    """Told when ladders stop following and when they follow again, not for every price."""
    facts: list[Fact] = []
    for name, now in sorted(changed.items()):
        was = before[name]
        believed = None if was.price is None else format(was.price.value, "f")
        if now.refused is not None and was.refused is None:
            facts.append(
                ReferencePriceRefused(
                    occurred_at=at, underlying=name, price=format(now.refused.value, "f"), believed=believed,
                    reason=now.refused_as or "",
                )
            )  # fmt: skip
        elif now.price is not None and now.refused is None and (was.refused is not None or name in confirmed):
            facts.append(
                ReferencePriceBelieved(
                    occurred_at=at, underlying=name, price=format(now.price.value, "f"), believed=believed,
                    confirmed=name in confirmed,
                )
            )  # fmt: skip
    return facts


def _believed(changed: dict[str, Known]) -> dict[str, Decimal]:
    return {name: one.price.value for name, one in changed.items() if one.price is not None and one.refused_as is None}


def _pairs(told: Sequence[tuple[Underlying, Told]], names: Sequence[str]) -> dict[str, tuple[str, str]]:
    wanted = set(names)
    return {str(one): (one.exchange, one.name) for one, _ in told if str(one) in wanted}
