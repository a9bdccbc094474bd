"""Which instruments were told of as silent, in their table."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from instrument_registry.database import Transaction
from instrument_registry.subscriptions.silence.model import Ints


async def silent(tx: Transaction) -> dict[str, Ints]:
    """Which instruments were told of as silent, by account."""
    cursor = await tx.execute(
        "select account, array_agg(instrument_id order by instrument_id) from subscription_silences group by account"
    )
    return {account: np.array(ids, dtype=np.int64) for account, ids in await cursor.fetchall()}


async def since(tx: Transaction, account: str) -> dict[int, datetime]:
    """Since when the silent instruments of an account are silent, by number."""
    cursor = await tx.execute("select instrument_id, since from subscription_silences where account = %s", (account,))
    return dict(await cursor.fetchall())


async def put(tx: Transaction, account: str, ids: Sequence[int], heard: Sequence[datetime]) -> None:
    """Keep that instruments are silent, and since when."""
    await tx.execute(
        """insert into subscription_silences (account, instrument_id, since)
           select %s, t.id, t.since from unnest(%s::bigint[], %s::timestamptz[]) as t (id, since) order by t.id
               on conflict (account, instrument_id) do nothing""",
        (account, list(ids), list(heard)),
    )


async def remove(tx: Transaction, account: str, ids: Sequence[int]) -> None:
    """They are silent no longer, or nobody expects them to tick."""
    await tx.execute(
        "delete from subscription_silences where account = %s and instrument_id = any(%s)", (account, list(ids))
    )
