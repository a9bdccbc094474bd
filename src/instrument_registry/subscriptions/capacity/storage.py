"""The tables of capacity: accounts, their versions, their connections, last ticks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from instrument_registry.database import Transaction
from instrument_registry.subscriptions.capacity.standing import Health
from instrument_registry.subscriptions.capacity.terms import Terms

# Whoever changes an account, its connections too, waits for whoever does.
LOCK = "select pg_advisory_xact_lock(hashtextextended(%s, 0))"

ACCOUNT = "select name, version, terms, reason, actor, created_at, changed_at, retired_at from capacity_accounts"
PUT = """
insert into capacity_accounts (name, broker, key_name, version, terms, reason, actor, created_at, changed_at)
values (%(name)s, %(broker)s, %(key)s, %(version)s, %(terms)s, %(reason)s, %(actor)s, %(at)s, %(at)s)
    on conflict (name) do update
       set broker = excluded.broker, key_name = excluded.key_name, version = excluded.version, terms = excluded.terms,
           reason = excluded.reason, actor = excluded.actor, changed_at = excluded.changed_at, retired_at = null
"""
ADD_VERSION = """
insert into capacity_versions (account, version, terms, reason, actor, correlation_id, at)
values (%(name)s, %(version)s, %(terms)s, %(reason)s, %(actor)s, %(correlation_id)s, %(at)s)
"""
VERSIONS = """
select account, version, terms, reason, actor, correlation_id, at from capacity_versions
 where account = %(account)s and (%(below)s::integer is null or version < %(below)s)
 order by version desc limit %(limit)s
"""
CONNECTIONS = "select account, number, health, reason, since, reported_at from capacity_connections"
SAY = """
insert into capacity_connections (account, number, health, reason, since, reported_at)
select %(account)s, r.number, r.health, r.reason, %(at)s, %(at)s
  from unnest(%(numbers)s::smallint[], %(healths)s::text[], %(reasons)s::text[]) as r (number, health, reason)
    on conflict (account, number) do update
       set health = excluded.health, reason = excluded.reason, reported_at = excluded.reported_at,
           since = case when capacity_connections.health = excluded.health then capacity_connections.since
                        else excluded.since end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account as it is kept."""

    name: str
    version: int
    terms: Terms
    reason: str
    actor: str
    created_at: datetime
    changed_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountVersion:
    """What was said of an account once; None: it was retired."""

    account: str
    version: int
    terms: Terms | None
    reason: str
    actor: str
    correlation_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRow:
    """How a connection is, since when, and when its ticker was heard last."""

    account: str
    number: int
    health: Health
    reason: str | None
    since: datetime
    reported_at: datetime


async def locked(tx: Transaction, account: str) -> None:
    """Be the only one who changes an account until the transaction ends."""
    await tx.execute(LOCK, (f"capacity:{account}",))


async def find(tx: Transaction, account: str) -> Account | None:
    """An account, retired or not."""
    async with tx.cursor(row_factory=class_row(Account)) as cursor:
        await cursor.execute(f"{ACCOUNT} where name = %s".encode(), (account,))
        found = await cursor.fetchone()
    return None if found is None else _read(found)


async def listed(tx: Transaction, *, retired: bool) -> list[Account]:
    """The accounts by name."""
    async with tx.cursor(row_factory=class_row(Account)) as cursor:
        await cursor.execute(f"{ACCOUNT} where %s or retired_at is null order by name".encode(), (retired,))
        return [_read(one) for one in await cursor.fetchall()]


async def key_holder(tx: Transaction, broker: str, key: str) -> str | None:
    """Which account has a key of a broker."""
    cursor = await tx.execute(
        "select name from capacity_accounts where broker = %s and key_name = %s and retired_at is null", (broker, key)
    )
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


async def put(tx: Transaction, account: Account, *, correlation_id: str) -> None:
    """Keep what is said of an account, and that it was said."""
    terms = account.terms
    values = {
        "name": account.name, "broker": terms.broker, "key": terms.key, "version": account.version,
        "terms": Jsonb(msgspec.to_builtins(terms)), "reason": account.reason, "actor": account.actor,
        "at": account.changed_at, "correlation_id": correlation_id,
    }  # fmt: skip
    await tx.execute(PUT, values)
    await tx.execute(ADD_VERSION, values)


async def retire(tx: Transaction, account: Account, *, correlation_id: str) -> None:
    """Let an account carry nothing, and forget how its connections were."""
    values = {
        "name": account.name, "version": account.version, "terms": None, "reason": account.reason,
        "actor": account.actor, "at": account.changed_at, "correlation_id": correlation_id,
    }  # fmt: skip
    await tx.execute(
        """update capacity_accounts set version = %(version)s, reason = %(reason)s, actor = %(actor)s,
                  changed_at = %(at)s, retired_at = %(at)s where name = %(name)s""",
        values,
    )
    await tx.execute(ADD_VERSION, values)
    await tx.execute("delete from capacity_ticks where account = %s", (account.name,))
    await forget_connections(tx, account.name, from_number=0)


async def versions(tx: Transaction, account: str, *, below: int | None, limit: int) -> list[AccountVersion]:
    """What was said of an account, the newest first."""
    async with tx.cursor(row_factory=class_row(AccountVersion)) as cursor:
        await cursor.execute(VERSIONS, {"account": account, "below": below, "limit": limit})
        return [
            one if one.terms is None else replace(one, terms=msgspec.convert(one.terms, Terms))
            for one in await cursor.fetchall()
        ]


async def connections(tx: Transaction, *, account: str | None = None) -> list[ConnectionRow]:
    """What is known of connections: of one account or of all, by number."""
    statement = f"{CONNECTIONS} where %(account)s::text is null or account = %(account)s order by account, number"
    async with tx.cursor(row_factory=class_row(ConnectionRow)) as cursor:
        await cursor.execute(statement.encode(), {"account": account})
        return [replace(one, health=Health(one.health)) for one in await cursor.fetchall()]


async def say(tx: Transaction, account: str, healths: Mapping[int, tuple[Health, str | None]], *, at: datetime) -> None:
    """Keep how connections are, by number, as was heard at an instant."""
    numbers = list(healths)
    values = {
        "account": account, "numbers": numbers, "healths": [healths[one][0].value for one in numbers],
        "reasons": [healths[one][1] for one in numbers], "at": at,
    }  # fmt: skip
    await tx.execute(SAY, values)


async def lose(tx: Transaction, row: ConnectionRow, *, reason: str, at: datetime) -> None:
    """Keep that a connection is lost; when its ticker was heard last stays as it is."""
    await tx.execute(
        "update capacity_connections set health = 'lost', reason = %s, since = %s where account = %s and number = %s",
        (reason, at, row.account, row.number),
    )


async def forget_connections(
    tx: Transaction, account: str, *, from_number: int | None = None, numbers: Sequence[int] = ()
) -> None:
    """Know nothing of some connections, or of those from a number on."""
    await tx.execute(
        """delete from capacity_connections
            where account = %s and (number >= %s::integer or number = any(%s::smallint[]))""",
        (account, from_number, list(numbers)),
    )


async def epoch_of(tx: Transaction, account: str) -> int:
    """The highest epoch of a lease that was reported under; 0: none."""
    row = await (await tx.execute("select epoch from capacity_epochs where account = %s", (account,))).fetchone()
    return 0 if row is None else int(row[0])


async def set_epoch(tx: Transaction, account: str, epoch: int) -> None:
    """Keep the highest epoch."""
    await tx.execute(
        """insert into capacity_epochs (account, epoch) values (%s, %s)
               on conflict (account) do update set epoch = excluded.epoch""",
        (account, epoch),
    )


async def grown(tx: Transaction) -> int:
    """The next version of all that stands; whoever else needs one waits until the transaction ends."""
    cursor = await tx.execute("update capacity_standing set version = version + 1 returning version")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def standing_version(tx: Transaction) -> int:
    """The version of all that stands."""
    row = await (await tx.execute("select version from capacity_standing")).fetchone()
    assert row is not None
    return int(row[0])


async def add_ticks(tx: Transaction, account: str, ticks: Mapping[int, datetime]) -> None:
    """Keep when instruments ticked last; what is known to be later stays."""
    await tx.execute(
        """insert into capacity_ticks (account, instrument_id, at)
           select %s, t.id, t.at from unnest(%s::bigint[], %s::timestamptz[]) as t (id, at) order by t.id
               on conflict (account, instrument_id) do update set at = excluded.at
            where capacity_ticks.at < excluded.at""",
        (account, list(ticks), list(ticks.values())),
    )


async def forget_ticks(tx: Transaction, *, before: datetime) -> None:
    """Let go of ticks before an instant."""
    await tx.execute("delete from capacity_ticks where at < %s", (before,))


async def ticks(tx: Transaction, account: str) -> dict[int, datetime]:
    """When the instruments of an account ticked last, by the catalogue's number."""
    cursor = await tx.execute("select instrument_id, at from capacity_ticks where account = %s", (account,))
    return dict(await cursor.fetchall())


def _read(row: Account) -> Account:
    return replace(row, terms=msgspec.convert(row.terms, Terms))
