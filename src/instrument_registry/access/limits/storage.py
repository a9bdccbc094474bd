"""Limits of single keys in PostgreSQL."""

from collections.abc import Iterable, Mapping

from psycopg.rows import DictRow, dict_row

from instrument_registry.access.limits.model import KeyLimits, Limits, RouteClass
from instrument_registry.database import Transaction

LIMITED_KEYS_MAX = 10_000

ALL = """
    select key_id, route_class, per_minute, per_second, reason, set_by, set_at
      from key_limits
     order by key_id, route_class
     limit %(limit)s
"""

OF_ONE = """
    select key_id, route_class, per_minute, per_second, reason, set_by, set_at
      from key_limits
     where key_id = %(key_id)s
     order by route_class
"""

ADD = """
    insert into key_limits (key_id, route_class, per_minute, per_second, reason, set_by, set_at)
    values (%(key_id)s, %(route_class)s, %(per_minute)s, %(per_second)s, %(reason)s, %(set_by)s, %(set_at)s)
"""


async def everyone(tx: Transaction) -> dict[str, KeyLimits]:
    """The limits of every key that has some of its own."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(ALL, {"limit": LIMITED_KEYS_MAX * len(RouteClass)})
        return _by_key(await cursor.fetchall())


async def of_one(tx: Transaction, key_id: str) -> KeyLimits | None:
    """The limits of one key; None: as every other key."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(OF_ONE, {"key_id": key_id})
        return _by_key(await cursor.fetchall()).get(key_id)


async def replace(tx: Transaction, limits: KeyLimits) -> None:
    """Let a key have exactly these."""
    await remove(tx, limits.key_id)
    for kind, one in limits.limits.items():
        await tx.execute(
            ADD,
            {
                "key_id": limits.key_id, "route_class": kind.value, "per_minute": one.per_minute,
                "per_second": one.per_second, "reason": limits.reason, "set_by": limits.set_by,
                "set_at": limits.set_at,
            },
        )  # fmt: skip


async def remove(tx: Transaction, key_id: str) -> None:
    """Let a key have none."""
    await tx.execute("delete from key_limits where key_id = %s", (key_id,))


def _by_key(rows: Iterable[DictRow]) -> dict[str, KeyLimits]:
    found: dict[str, dict[RouteClass, Limits]] = {}
    last: Mapping[str, DictRow] = {}
    for row in rows:
        limits = found.setdefault(row["key_id"], {})
        limits[RouteClass(row["route_class"])] = Limits(row["per_minute"], row["per_second"])
        last = {**last, row["key_id"]: row}
    return {
        key_id: KeyLimits(
            key_id=key_id, limits=limits, reason=last[key_id]["reason"], set_by=last[key_id]["set_by"],
            set_at=last[key_id]["set_at"],
        )
        for key_id, limits in found.items()
    }  # fmt: skip
