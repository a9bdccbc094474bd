"""Standing orders: something every process does within two seconds, each time somebody orders it.

An order is a number in a table that grows, read with the configuration: nobody can miss one, and one that was away for
a while does it once. A process that has just started does each once, too: it has little to forget.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import structlog

from instrument_registry.database import Transaction

EVICT = "evict:"

GIVE = """
insert into standing_orders (name, number, actor, at) values (%(name)s, 1, %(actor)s, %(at)s)
    on conflict (name) do update set number = standing_orders.number + 1, actor = excluded.actor, at = excluded.at
returning number
"""

log = structlog.get_logger("operations")


async def give(tx: Transaction, names: Sequence[str], *, actor: str, at: datetime) -> None:
    """Let every process do something; rows are taken in one order, so that two who give several do not meet."""
    for name in sorted(names):
        await tx.execute(GIVE, {"name": name, "actor": actor, "at": at})


class Orders:
    """The orders one process has followed."""

    def __init__(self, actions: Mapping[str, Callable[[], object]]) -> None:
        self._actions = actions
        self._followed: dict[str, int] = {}

    async def follow(self, tx: Transaction) -> None:
        """Read the orders and do what has been ordered since the last time."""
        rows = await (await tx.execute("select name, number from standing_orders")).fetchall()
        for name, number in rows:
            action = self._actions.get(name)
            if action is not None and number > self._followed.get(name, 0):
                action()
                self._followed[name] = number
                log.info("order.followed", order=name, number=number)
