"""API keys in PostgreSQL."""

from collections.abc import Collection
from datetime import datetime, timedelta

from psycopg.rows import DictRow, dict_row

from instrument_registry.access.model import ApiKey, KeyNotFound, Scope, SealedKey
from instrument_registry.database import Transaction

# A key that opens doors is kept in every worker; more of them than this is a mistake somewhere.
KEYS_IN_FORCE_LIMIT = 10_000

# Whoever comes with a key that ended is told so for a while; later it is a key like any unknown one.
TOLD_FOR = timedelta(days=30)

COLUMNS = """
    id, name, scope, created_at, created_by, expires_at, replaces, replaced_by, revoked_at, revoked_by, last_used_at,
    array(select u.user_id from api_key_users u where u.key_id = api_keys.id order by u.user_id) as users,
    array(select s.secret from api_key_secrets s where s.key_id = api_keys.id order by s.secret) as secrets
"""

ADD = """
    insert into api_keys (id, name, scope, digest, created_at, created_by, expires_at, replaces)
    values (%(id)s, %(name)s, %(scope)s, %(digest)s, %(created_at)s, %(created_by)s, %(expires_at)s, %(replaces)s)
"""

ALL = f"""
    select {COLUMNS}
      from api_keys
     order by created_at, id
     limit %(limit)s
"""

PAGE = f"""
    select {COLUMNS}
      from api_keys
     where (created_at, id) > (%(created_at)s, %(id)s)
     order by created_at, id
     limit %(limit)s
"""

GET = f"""
    select {COLUMNS}
      from api_keys
     where id = %(id)s
"""

GET_LOCKED = f"{GET} for update"

RECOGNISED = f"""
    select {COLUMNS}, digest
      from api_keys
     where revoked_at is null
       and (expires_at is null or expires_at > %(told_since)s)
     order by expires_at is null or expires_at > %(at)s desc, created_at desc
     limit %(limit)s
"""

LINE = """
    with recursive older as (
        select id, replaces from api_keys where id = %(id)s
         union select k.id, k.replaces from api_keys k join older o on k.id = o.replaces
    ), newer as (
        select id, replaced_by from api_keys where id = %(id)s
         union select k.id, k.replaced_by from api_keys k join newer n on k.id = n.replaced_by
    )
    select id from api_keys where id in (select id from older union select id from newer) order by created_at, id
"""

COUNT = """
    select count(*),
           count(*) filter (where expires_at <= %(soon)s and replaced_by is null)
      from api_keys
     where revoked_at is null
       and (expires_at is null or expires_at > %(at)s)
"""

REPLACE = "update api_keys set replaced_by = %(replaced_by)s, expires_at = %(expires_at)s where id = %(id)s"

REVOKE = "update api_keys set revoked_at = %(revoked_at)s, revoked_by = %(revoked_by)s where id = %(id)s"

BIND = """
    insert into api_key_users (key_id, user_id, set_by, set_at)
    select %(key_id)s, one, %(by)s, %(at)s from unnest(%(users)s::text[]) as one
"""

GRANT = """
    insert into api_key_secrets (key_id, secret, set_by, set_at)
    select %(key_id)s, one, %(by)s, %(at)s from unnest(%(secrets)s::text[]) as one
"""

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


async def line_of(tx: Transaction, key_id: str) -> list[str]:
    """The ids of a key, of those whose place it has taken, and of those that have taken its, the oldest first."""
    return [str(one) for (one,) in await (await tx.execute(LINE, {"id": key_id})).fetchall()]


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
            "expires_at": key.expires_at,
            "replaces": key.replaces,
        },
    )


async def everyone(tx: Transaction, *, limit: int) -> list[ApiKey]:
    """Every key, revoked ones too, oldest first."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(ALL, {"limit": limit})
        return [_api_key(row) for row in await cursor.fetchall()]


async def page(tx: Transaction, *, after: tuple[datetime, str], limit: int) -> list[ApiKey]:
    """Keys that were made after another one, oldest first."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(PAGE, {"created_at": after[0], "id": after[1], "limit": limit})
        return [_api_key(row) for row in await cursor.fetchall()]


async def get(tx: Transaction, key_id: str) -> ApiKey:
    """One key; Raises: KeyNotFound."""
    return await _one(tx, GET, key_id)


async def get_locked(tx: Transaction, key_id: str) -> ApiKey:
    """One key, held until the transaction ends; Raises: KeyNotFound."""
    return await _one(tx, GET_LOCKED, key_id)


async def recognised(tx: Transaction, *, at: datetime) -> dict[str, SealedKey]:
    """Every key that opens doors, and those that ended lately, by id."""
    asked = {"limit": KEYS_IN_FORCE_LIMIT, "at": at, "told_since": at - TOLD_FOR}
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(RECOGNISED, asked)
        rows = await cursor.fetchall()
    return {row["id"]: SealedKey(digest=row.pop("digest"), key=_api_key(row)) for row in rows}


async def count(tx: Transaction, *, at: datetime, soon: datetime) -> tuple[int, int]:
    """How many keys open doors, and how many of them end before `soon` with nothing to take their place."""
    row = await (await tx.execute(COUNT, {"at": at, "soon": soon})).fetchone()
    assert row is not None
    return row[0], row[1]


async def save_replacement(tx: Transaction, key: ApiKey) -> None:
    """Keep which key takes the place of this one, and until when it is good."""
    await tx.execute(REPLACE, {"id": key.id, "replaced_by": key.replaced_by, "expires_at": key.expires_at})


async def save_revocation(tx: Transaction, key: ApiKey) -> None:
    """Keep that a key is revoked."""
    await tx.execute(REVOKE, {"id": key.id, "revoked_at": key.revoked_at, "revoked_by": key.revoked_by})


async def touch(tx: Transaction, key_ids: Collection[str], *, at: datetime) -> None:
    """Keep when keys were last used."""
    await tx.execute(TOUCH, {"ids": list(key_ids), "at": at})


async def bind(tx: Transaction, key_id: str, users: Collection[str], *, by: str, at: datetime) -> None:
    """Let a key be bound to exactly these users."""
    await tx.execute("delete from api_key_users where key_id = %s", (key_id,))
    values = {"key_id": key_id, "by": by, "at": at, "users": list(users)}
    await tx.execute(BIND, values)


async def grant(tx: Transaction, key_id: str, secrets: Collection[str], *, by: str, at: datetime) -> None:
    """Let a key read the values of exactly these secrets."""
    await tx.execute("delete from api_key_secrets where key_id = %s", (key_id,))
    await tx.execute(GRANT, {"key_id": key_id, "by": by, "at": at, "secrets": list(secrets)})


async def _one(tx: Transaction, statement: str, key_id: str) -> ApiKey:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement.encode(), {"id": key_id})
        row = await cursor.fetchone()
    if row is None:
        raise KeyNotFound("No API key has this id", key_id=key_id)
    return _api_key(row)


def _api_key(row: DictRow) -> ApiKey:
    return ApiKey(
        **(row | {"scope": Scope(row["scope"]), "users": tuple(row["users"]), "secrets": tuple(row["secrets"])})
    )
