"""What is set live, every version of it, and changes to come."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from instrument_registry.configuration.model import Scheduled, Version
from instrument_registry.database import Transaction

# Who changes configuration waits for whoever does: versions follow each other.
LOCK = 0x6972_636F_6E66_6967  # "irconfig"

VALUES = """
select coalesce((select max(version) from configuration_versions), 0), v.name, v.value
  from (select) as one left join configuration_values v on true
"""

ADD_VERSION = """
insert into configuration_versions (version, changes, reason, actor, correlation_id, at, reverts_to)
values (%(version)s, %(changes)s, %(reason)s, %(actor)s, %(correlation_id)s, %(at)s, %(reverts_to)s)
"""

SET = """
insert into configuration_values (name, value, version) values (%(name)s, %(value)s, %(version)s)
    on conflict (name) do update set value = excluded.value, version = excluded.version
"""

VERSIONS = "select version, changes, reason, actor, correlation_id, at, reverts_to from configuration_versions"
SCHEDULED = """
select id, due_at, changes, reason, actor, correlation_id, made_at, state, version, problem, ended_at
  from configuration_schedule
"""


async def locked(tx: Transaction) -> None:
    """Be the only one who changes configuration until the transaction ends."""
    await tx.execute("select pg_advisory_xact_lock(%s)", (LOCK,))


async def newest_version(tx: Transaction) -> int:
    """The newest version; 0 before the first change."""
    row = await (await tx.execute("select coalesce(max(version), 0) from configuration_versions")).fetchone()
    assert row is not None
    return int(row[0])


async def values(tx: Transaction) -> tuple[int, dict[str, str]]:
    """The newest version, and everything that is set live."""
    rows = await (await tx.execute(VALUES)).fetchall()
    return int(rows[0][0]), {name: value for _, name, value in rows if name is not None}


async def add_version(tx: Transaction, version: Version) -> None:
    """Keep what was changed, and change it."""
    await tx.execute(ADD_VERSION, asdict(version) | {"changes": Jsonb(version.changes)})
    for name, change in version.changes.items():
        if change["new"] is None:
            await tx.execute("delete from configuration_values where name = %s", (name,))
        else:
            await tx.execute(SET, {"name": name, "value": change["new"], "version": version.version})


async def versions(tx: Transaction, *, below: int | None, name: str | None, limit: int) -> list[Version]:
    """Versions, the newest first: all, or those that changed one parameter."""
    statement = f"""{VERSIONS} where (%(below)s::bigint is null or version < %(below)s)
                     and (%(name)s::text is null or changes ? %(name)s) order by version desc limit %(limit)s"""
    async with tx.cursor(row_factory=class_row(Version)) as cursor:
        await cursor.execute(statement.encode(), {"below": below, "name": name, "limit": limit})
        return await cursor.fetchall()


async def since(tx: Transaction, version: int) -> list[Version]:
    """Every version after one, the newest first."""
    async with tx.cursor(row_factory=class_row(Version)) as cursor:
        await cursor.execute(f"{VERSIONS} where version > %s order by version desc".encode(), (version,))
        return await cursor.fetchall()


async def after(tx: Transaction, version: int, *, limit: int) -> list[Version]:
    """Versions after one, the oldest first."""
    async with tx.cursor(row_factory=class_row(Version)) as cursor:
        await cursor.execute(f"{VERSIONS} where version > %s order by version limit %s".encode(), (version, limit))
        return await cursor.fetchall()


async def add_scheduled(
    tx: Transaction,
    changes: Mapping[str, str | None],
    *,
    due_at: datetime,
    reason: str,
    actor: str,
    correlation_id: str,
    at: datetime,
) -> int:
    """Keep a change that is to come; its id."""
    row = await (
        await tx.execute(
            """insert into configuration_schedule (due_at, changes, reason, actor, correlation_id, made_at)
               values (%s, %s, %s, %s, %s, %s) returning id""",
            (due_at, Jsonb(dict(changes)), reason, actor, correlation_id, at),
        )
    ).fetchone()
    assert row is not None
    return int(row[0])


async def scheduled(tx: Transaction, *, waiting: bool, limit: int) -> list[Scheduled]:
    """Changes that are to come by their time, or all of them, the newest first."""
    order = "where state = 'waiting' order by due_at, id" if waiting else "order by id desc"
    async with tx.cursor(row_factory=class_row(Scheduled)) as cursor:
        await cursor.execute(f"{SCHEDULED} {order} limit %s".encode(), (limit,))
        return await cursor.fetchall()


async def scheduled_one(tx: Transaction, change: int) -> Scheduled | None:
    """A scheduled change, its row held."""
    async with tx.cursor(row_factory=class_row(Scheduled)) as cursor:
        await cursor.execute(f"{SCHEDULED} where id = %s for update".encode(), (change,))
        return await cursor.fetchone()


async def next_due(tx: Transaction, *, now: datetime) -> Scheduled | None:
    """The scheduled change whose time came first, its row held; nobody else's."""
    statement = (
        f"{SCHEDULED} where state = 'waiting' and due_at <= %s order by due_at, id limit 1 for update skip locked"
    )
    async with tx.cursor(row_factory=class_row(Scheduled)) as cursor:
        await cursor.execute(statement.encode(), (now,))
        return await cursor.fetchone()


async def end_scheduled(
    tx: Transaction, change: int, *, state: str, at: datetime, version: int | None = None, problem: str | None = None
) -> None:
    """Record how a scheduled change ended."""
    await tx.execute(
        "update configuration_schedule set state = %s, version = %s, problem = %s, ended_at = %s where id = %s",
        (state, version, problem, at, change),
    )
