"""Find a breaker, and tell that it was reset."""

import difflib
from collections.abc import Mapping
from datetime import datetime

from instrument_registry import events
from instrument_registry.breakers import Breaker, State
from instrument_registry.database import Transaction
from instrument_registry.errors import Invalid
from instrument_registry.events import Metadata
from instrument_registry.operations.breakers.events import STREAM, BreakerReset


class UnknownBreaker(Invalid):
    """Choose the name it says is nearest, or list them."""

    title = "There is no such breaker"


def find(breakers: Mapping[str, Breaker], name: str) -> Breaker:
    """A breaker by its name; Raises: UnknownBreaker."""
    if name in breakers:
        return breakers[name]
    near = difflib.get_close_matches(name, list(breakers), n=1, cutoff=0.5)
    remedy = f"Did you mean {near[0]}?" if near else f"There are {', '.join(breakers)}"
    raise UnknownBreaker(
        f"There is no breaker {name[:100]!r}. {remedy}", field="name", value=name[:100], remedy=remedy,
        nearest=near[0] if near else None,
    )  # fmt: skip


async def record_reset(
    tx: Transaction, name: str, *, was: State, reason: str, metadata: Metadata, at: datetime
) -> None:
    """Tell that a breaker was reset."""
    told = BreakerReset(dependency=name, was=was.value, reason=reason, occurred_at=at)
    await events.append(tx, told, stream=STREAM, metadata=metadata)
