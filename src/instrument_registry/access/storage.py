"""API keys in PostgreSQL."""

from collections.abc import Collection
from datetime import datetime

from psycopg.rows import DictRow, dict_row

from instrument_registry.access.model import ApiKey, KeyNotFound, Scope, SealedKey
from instrument_registry.database import Transaction

# A key that opens doors is kept in every worker; more of them than this is a mistake somewhere.
KEYS_IN_FORCE_LIMIT = 10_000

ADD = """
    insert into api_keys (id, name, scope, digest, created_at, created_by)
    values (%(id)s, %(name)s, %(scope)s, %(digest)s, %(created_at)s, %(created_by)s)
"""

ALL = """
    select id, name, scope, created_at, created_by, revoked_at, revoked_by, last_used_at
      from api_keys
     order by created_at, id
     limit %(limit)s
"""

GET_LOCKED = """
    select id, name, scope, created_at, created_by, revoked_at, revoked_by, last_used_at
      from api_keys
     where id = %(id)s
       for update
"""

IN_FORCE = """
    select id, name, scope, created_at, created_by, last_used_at, digest
      from api_keys
     where revoked_at is null
     order by created_at desc
     limit %(limit)s
"""

REVOKE = "update api_keys set revoked_at = %(revoked_at)s, revoked_by = %(revoked_by)s where id = %(id)s"

TOUCH = """
    update api_keys
       set last_used_at = %(at)s
     where id in (select id
                    from api_keys
                   where id = any(%(ids)s)
                     and (last_used_at is null or last_used_at < %(at)s)
                   order by id
                     for update)
"""


async def add(tx: Transaction, sealed: SealedKey) -> None:
    """Keep a new key."""
    key = sealed.key
    await tx.execute(
        ADD,
        {
            "id": key.id,
            "name": key.name,
            "scope": key.scope,
            "digest": sealed.digest,
            "created_at": key.created_at,
            "created_by": key.created_by,
        },
    )


async def everyone(tx: Transaction, *, limit: int) -> list[ApiKey]:
    """Every key, revoked ones too, oldest first."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(ALL, {"limit": limit})
        return [_api_key(row) for row in await cursor.fetchall()]


async def get_locked(tx: Transaction, key_id: str) -> ApiKey:
    """One key, held until the transaction ends; Raises: KeyNotFound."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(GET_LOCKED, {"id": key_id})
        row = await cursor.fetchone()
    if row is None:
        raise KeyNotFound("No API key has this id", key_id=key_id)
    return _api_key(row)


async def in_force(tx: Transaction) -> dict[str, SealedKey]:
    """Every key that opens doors, by its id."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(IN_FORCE, {"limit": KEYS_IN_FORCE_LIMIT})
        rows = await cursor.fetchall()
    return {row["id"]: SealedKey(digest=row.pop("digest"), key=_api_key(row)) for row in rows}


async def save_revocation(tx: Transaction, key: ApiKey) -> None:
    """Keep that a key is revoked."""
    await tx.execute(REVOKE, {"id": key.id, "revoked_at": key.revoked_at, "revoked_by": key.revoked_by})


async def touch(tx: Transaction, key_ids: Collection[str], *, at: datetime) -> None:
    """Keep when keys were last used."""
    await tx.execute(TOUCH, {"ids": list(key_ids), "at": at})


def _api_key(row: DictRow) -> ApiKey:
    return ApiKey(**(row | {"scope": Scope(row["scope"])}))
