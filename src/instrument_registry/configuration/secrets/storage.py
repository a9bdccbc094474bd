"""The table of secrets: sealed values, and what is known of every version there ever was."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from psycopg.rows import class_row, dict_row

from instrument_registry.configuration.secrets.model import SecretVersion, bound
from instrument_registry.database import Transaction
from instrument_registry.sealing import KEY_ID_AT, KEY_ID_BYTES, Sealed

KEY_ID = f"substring(sealed from {KEY_ID_AT} for {KEY_ID_BYTES})"  # which master key wraps a sealed value

COLUMNS = f"""environment, name, version, encode({KEY_ID}, 'hex') as key_id, actor, correlation_id, at, reason, ends_at,
       ended_by, ended_reason"""
VERSIONS = f"select {COLUMNS} from secret_versions"
FIND = f"""
select {COLUMNS}, sealed from secret_versions
 where environment = %(environment)s and name = %(name)s
   and case when %(version)s::integer is null then ends_at is null else version = %(version)s end
"""

ADD = """
insert into secret_versions (environment, name, version, sealed, actor, correlation_id, at, reason)
values (%(environment)s, %(name)s, %(version)s, %(sealed)s, %(actor)s, %(correlation_id)s, %(at)s, %(reason)s)
"""

FORGET_ENDED = """
update secret_versions set sealed = null
 where id in (select id from secret_versions where sealed is not null and ends_at <= %s
               order by id limit %s for update skip locked)
returning environment, name, version
"""


async def locked(tx: Transaction, name: str, environment: str) -> None:
    """Be the only one who changes a secret until the transaction ends."""
    await tx.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"secret:{environment}/{name}",))


async def newest_number(tx: Transaction, name: str, environment: str) -> int:
    """The number of the newest version, gone or not; 0 when there never was one."""
    cursor = await tx.execute(
        "select coalesce(max(version), 0) from secret_versions where environment = %s and name = %s",
        (environment, name),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def find(
    tx: Transaction, name: str, environment: str, *, version: int | None = None
) -> tuple[SecretVersion, bytes | None] | None:
    """A version by its number, or the one in force, and its sealed value as long as that is kept.

    Both in one statement: between two of them another version could take its place.
    """
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(FIND.encode(), {"environment": environment, "name": name, "version": version})
        row = await cursor.fetchone()
    if row is None:
        return None
    sealed = row.pop("sealed")
    return SecretVersion(**row), None if sealed is None else bytes(sealed)


async def add(tx: Transaction, version: SecretVersion, sealed: bytes) -> None:
    """Keep a version that is in force from now on."""
    await tx.execute(
        ADD,
        {
            "environment": version.environment, "name": version.name, "version": version.version, "sealed": sealed,
            "actor": version.actor, "correlation_id": version.correlation_id, "at": version.at,
            "reason": version.reason,
        },
    )  # fmt: skip


async def end(
    tx: Transaction, name: str, environment: str, *, at: datetime, now: datetime, by: str, reason: str
) -> list[int]:
    """Let every version that can be read end at an instant at the latest; one of now goes at once. Their numbers."""
    cursor = await tx.execute(
        """update secret_versions
              set ends_at = least(ends_at, %(at)s), ended_by = %(by)s, ended_reason = %(reason)s,
                  sealed = case when least(ends_at, %(at)s) > %(now)s then sealed end
            where environment = %(environment)s and name = %(name)s and sealed is not null
              and (ends_at is null or ends_at > %(at)s)
        returning version""",
        {"name": name, "environment": environment, "at": at, "now": now, "by": by, "reason": reason},
    )
    return sorted(int(row[0]) for row in await cursor.fetchall())


async def listed(
    tx: Transaction, *, environment: str | None, after: tuple[str, str], limit: int
) -> list[SecretVersion]:
    """Versions in force by name and environment."""
    statement = f"""{VERSIONS}
        where ends_at is null and (%(environment)s::text is null or environment = %(environment)s)
          and (name, environment) > (%(name)s, %(after)s)
        order by name, environment limit %(limit)s"""
    async with tx.cursor(row_factory=class_row(SecretVersion)) as cursor:
        await cursor.execute(
            statement.encode(), {"environment": environment, "name": after[0], "after": after[1], "limit": limit}
        )
        return await cursor.fetchall()


async def versions(tx: Transaction, name: str, environment: str, *, limit: int) -> list[SecretVersion]:
    """Every version there ever was, the newest first."""
    async with tx.cursor(row_factory=class_row(SecretVersion)) as cursor:
        await cursor.execute(
            f"{VERSIONS} where environment = %s and name = %s order by version desc limit %s".encode(),
            (environment, name, limit),
        )
        return await cursor.fetchall()


async def forget_ended(tx: Transaction, *, now: datetime, limit: int) -> list[tuple[str, str, int]]:
    """Take away the values of versions whose time is over: environment, name and number of each."""
    cursor = await tx.execute(FORGET_ENDED, (now, limit))
    return [(str(row[0]), str(row[1]), int(row[2])) for row in await cursor.fetchall()]


async def by_key(tx: Transaction) -> dict[bytes, int]:
    """How many values each master key wraps, by its id."""
    cursor = await tx.execute(
        f"select {KEY_ID}, count(*) from secret_versions where sealed is not null group by 1".encode()
    )
    return {bytes(row[0]): int(row[1]) for row in await cursor.fetchall()}


async def under(tx: Transaction, keys: Sequence[bytes], *, after: int, limit: int) -> list[Sealed]:
    """Values wrapped by some master keys, by row, which are held; those that somebody else holds are passed over."""
    cursor = await tx.execute(
        f"""select id, sealed, name, version, environment from secret_versions
             where {KEY_ID} = any(%s) and id > %s order by id limit %s for update skip locked""".encode(),
        (list(keys), after, limit),
    )
    return [Sealed(row[0], bytes(row[1]), bound(row[2], row[3], row[4])) for row in await cursor.fetchall()]


async def replace_sealed(tx: Transaction, sealed: Mapping[int, bytes]) -> None:
    """Let values lie as they are now, by row."""
    await tx.execute(
        """update secret_versions s set sealed = one.sealed
             from unnest(%s::bigint[], %s::bytea[]) as one (id, sealed) where s.id = one.id""",
        (list(sealed), list(sealed.values())),
    )
