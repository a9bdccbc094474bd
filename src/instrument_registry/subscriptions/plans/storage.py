"""Plans, the live one, deltas, leases and acknowledgements, in their tables."""

import zlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from psycopg.types.json import Jsonb

from instrument_registry.database import Transaction
from instrument_registry.subscriptions.plans.model import Live, PlanRow, Status

FAST = 1
LOCK = {False: "", True: "for update"}
WHERE = "(%(user)s::text is null or user_id = %(user)s) and (%(status)s::text is null or status = %(status)s)"
COLUMNS = """
    id, status, level, quality, question, live_plan, based_on, user_id, summary, faults, held_because,
    actor, correlation_id, made_at, expires_at, applied_at, superseded_at
"""


class DeltaRow(NamedTuple):
    """One step that a ticker takes."""

    account: str
    position: int
    plan_id: str
    connection: str
    act: str
    items: bytes
    item_count: int
    digest_before: str
    digest_after: str
    after_account: str | None
    after_position: int | None
    breaks: bool
    at: datetime


class Ack(NamedTuple):
    """How far a ticker has come on a connection, and what it then carried."""

    account: str
    connection: str
    epoch: int
    position: int
    digest: str
    at: datetime


class Lease(NamedTuple):
    """Who may follow an account, until when; the epoch grows with each other holder."""

    account: str
    epoch: int
    holder: str
    expires_at: datetime


async def add_plan(tx: Transaction, plan: PlanRow, content: bytes | None) -> None:
    """Keep a plan."""
    await tx.execute(
        """
        insert into subscription_plans (id, status, level, quality, question, live_plan, based_on, user_id, content,
               summary, faults, held_because, actor, correlation_id, made_at, expires_at)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (
            plan.id, plan.status, plan.level, plan.quality, plan.question, plan.live_plan, plan.based_on, plan.user_id,
            content, Jsonb(plan.summary, dumps=msgspec.json.encode),
            Jsonb(plan.faults, dumps=msgspec.json.encode), plan.held_because, plan.actor, plan.correlation_id,
            plan.made_at, plan.expires_at,
        ),
    )  # fmt: skip


async def plan(tx: Transaction, plan_id: str) -> PlanRow | None:
    """One plan without its content."""
    cursor = await tx.execute(f"select {COLUMNS} from subscription_plans where id = %s".encode(), (plan_id,))
    row = await cursor.fetchone()
    return None if row is None else _plan(row)


async def content(tx: Transaction, plan_id: str) -> bytes | None:
    """All of a plan, packed."""
    cursor = await tx.execute("select content from subscription_plans where id = %s", (plan_id,))
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def cached(tx: Transaction, question: str, *, at: datetime) -> PlanRow | None:
    """The newest plan that answers a question and may still be given as its answer."""
    cursor = await tx.execute(
        f"""
        select {COLUMNS} from subscription_plans
         where question = %s and expires_at > %s and status in ('optimized', 'validated', 'applied')
         order by made_at desc limit 1
        """.encode(),
        (question, at),
    )
    row = await cursor.fetchone()
    return None if row is None else _plan(row)


async def plans(
    tx: Transaction, *, user_id: str | None, status: str | None, limit: int, offset: int
) -> tuple[list[PlanRow], int]:
    """Plans, the newest first, and how many there are."""
    values = {"user": user_id, "status": status, "limit": limit, "offset": offset}
    cursor = await tx.execute(
        f"""
        select {COLUMNS} from subscription_plans where {WHERE}
         order by made_at desc, id limit %(limit)s offset %(offset)s
        """.encode(),
        values,
    )
    found = [_plan(row) for row in await cursor.fetchall()]
    cursor = await tx.execute(f"select count(*) from subscription_plans where {WHERE}".encode(), values)
    count = await cursor.fetchone()
    return found, int(count[0]) if count else 0


async def counts(tx: Transaction) -> dict[str, int]:
    """How many plans there are of each status."""
    cursor = await tx.execute("select status, count(*) from subscription_plans group by status")
    return dict(await cursor.fetchall())


async def become(tx: Transaction, plan_id: str, status: Status, *, at: datetime, faults: Sequence[str] = ()) -> None:
    """Give a plan another status."""
    await tx.execute(
        """
        update subscription_plans
           set status = %(status)s,
               applied_at = case when %(status)s = 'applied' then %(at)s else applied_at end,
               superseded_at = case when %(status)s = 'superseded' then %(at)s else superseded_at end,
               faults = case when %(some)s then %(faults)s else faults end
         where id = %(id)s
        """,
        {"status": status, "at": at, "id": plan_id, "some": bool(faults), "faults": Jsonb(list(faults))},
    )


async def hold(tx: Transaction, plan_id: str, because: str) -> None:
    """Say of a plan why it is not applied by itself."""
    await tx.execute("update subscription_plans set held_because = %s where id = %s", (because, plan_id))


async def live(tx: Transaction, *, locked: bool = False) -> Live:
    """Which plan is live; `locked`: nobody else makes another one live until the transaction ends."""
    cursor = await tx.execute(
        f"select plan_id, previous_id, held_because, changed_at from subscription_live {LOCK[locked]}".encode()
    )
    row = await cursor.fetchone()
    if row is None:
        return Live(plan_id=None, previous_id=None, held_because=None, changed_at=None)
    return Live(plan_id=row[0], previous_id=row[1], held_because=row[2], changed_at=row[3])


async def make_live(
    tx: Transaction, plan_id: str, *, previous: str | None, held_because: str | None, at: datetime
) -> None:
    """Let a plan be live."""
    await tx.execute(
        "update subscription_live set plan_id = %s, previous_id = %s, held_because = %s, changed_at = %s",
        (plan_id, previous, held_because, at),
    )


async def forget(tx: Transaction, *, before: datetime) -> list[str]:
    """Forget old plans but the live one and the one before it; which."""
    cursor = await tx.execute(
        """
        with gone as (
            select id from subscription_plans p
             where made_at < %s and expires_at < %s
               and id not in (select plan_id from subscription_live where plan_id is not null
                              union select previous_id from subscription_live where previous_id is not null)
             limit 1000),
        steps as (delete from subscription_deltas where plan_id in (select id from gone))
        delete from subscription_plans where id in (select id from gone) returning id
        """,
        (before, before),
    )
    return sorted(row[0] for row in await cursor.fetchall())


async def expire(tx: Transaction, *, at: datetime) -> list[str]:
    """Plans that waited too long to be applied; which."""
    cursor = await tx.execute(
        """
        update subscription_plans set status = 'expired'
         where status in ('draft', 'optimized', 'validated') and expires_at <= %s returning id
        """,
        (at,),
    )
    return sorted(row[0] for row in await cursor.fetchall())


async def heads(tx: Transaction) -> dict[str, int]:
    """The last position of every account."""
    cursor = await tx.execute("select account, position from subscription_heads")
    return dict(await cursor.fetchall())


async def put_heads(tx: Transaction, positions: Mapping[str, int]) -> None:
    """Say how far sequences have come."""
    await tx.execute(
        """
        insert into subscription_heads (account, position) select * from unnest(%s::text[], %s::bigint[])
        on conflict (account) do update set position = excluded.position
        """,
        (list(positions), list(positions.values())),
    )


async def oldest(tx: Transaction, account: str) -> int | None:
    """The first position of an account that is still kept."""
    cursor = await tx.execute("select min(position) from subscription_deltas where account = %s", (account,))
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def add_deltas(tx: Transaction, rows: Sequence[DeltaRow]) -> None:
    """Add steps at the ends of their accounts' sequences."""
    async with (
        tx.cursor() as cursor,
        cursor.copy(
            """
            copy subscription_deltas (account, position, plan_id, connection, act, items, item_count, digest_before,
                 digest_after, after_account, after_position, breaks, at) from stdin
            """
        ) as copy,
    ):
        for row in rows:
            await copy.write_row(row)


async def deltas(tx: Transaction, account: str, *, after: int, limit: int) -> list[DeltaRow]:
    """Steps of an account after a position, in their order."""
    cursor = await tx.execute(
        """
        select account, position, plan_id, connection, act, items, item_count, digest_before, digest_after,
               after_account, after_position, breaks, at
          from subscription_deltas where account = %s and position > %s order by position limit %s
        """,
        (account, after, limit),
    )
    return [DeltaRow(*row) for row in await cursor.fetchall()]


async def digests(tx: Transaction, account: str, *, until: int) -> dict[str, str]:
    """What connections are to carry after a position, as far as steps are kept: digest by connection."""
    cursor = await tx.execute(
        """
        select distinct on (connection) connection, digest_after
          from subscription_deltas where account = %s and position <= %s order by connection, position desc
        """,
        (account, until),
    )
    return dict(await cursor.fetchall())


async def lease(tx: Transaction, account: str, *, locked: bool = False) -> Lease | None:
    """Who has an account."""
    cursor = await tx.execute(
        f"""
        select account, epoch, holder, expires_at from subscription_leases where account = %s {LOCK[locked]}
        """.encode(),
        (account,),
    )
    row = await cursor.fetchone()
    return None if row is None else Lease(*row)


async def leases(tx: Transaction) -> list[Lease]:
    """Who has which account."""
    cursor = await tx.execute("select account, epoch, holder, expires_at from subscription_leases order by account")
    return [Lease(*row) for row in await cursor.fetchall()]


async def put_lease(tx: Transaction, lease: Lease, *, at: datetime) -> bool:
    """Keep a lease; false when somebody else made the first one meanwhile."""
    cursor = await tx.execute(
        """
        insert into subscription_leases as l (account, epoch, holder, expires_at, changed_at)
        values (%(account)s, %(epoch)s, %(holder)s, %(expires_at)s, %(at)s)
        on conflict (account) do update
           set epoch = %(epoch)s, holder = %(holder)s, expires_at = %(expires_at)s, changed_at = %(at)s
         where l.epoch <= %(epoch)s
        """,
        {**lease._asdict(), "at": at},
    )
    return cursor.rowcount == 1


async def put_acks(tx: Transaction, rows: Sequence[Ack]) -> None:
    """Keep how far tickers have come; one that was late changes nothing."""
    async with tx.cursor() as cursor:
        await cursor.executemany(
            """
            insert into subscription_acks as a (account, connection, epoch, position, digest, at)
            values (%s, %s, %s, %s, %s, %s)
            on conflict (account, connection) do update
               set epoch = excluded.epoch, position = excluded.position, digest = excluded.digest, at = excluded.at
             where (excluded.epoch, excluded.position) >= (a.epoch, a.position)
            """,
            rows,
        )


async def acks(tx: Transaction, account: str | None = None) -> list[Ack]:
    """How far tickers have come."""
    cursor = await tx.execute(
        """
        select account, connection, epoch, position, digest, at from subscription_acks
         where %(account)s::text is null or account = %(account)s order by account, connection
        """,
        {"account": account},
    )
    return [Ack(*row) for row in await cursor.fetchall()]


async def lingering(tx: Transaction) -> dict[int, tuple[int, datetime]]:
    """What is carried and wanted no more, or less: mode and since when, by instrument."""
    cursor = await tx.execute("select instrument_id, mode, since from subscription_lingering")
    return {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}


async def linger(tx: Transaction, begin: Mapping[int, int], *, end: Collection[int], at: datetime) -> None:
    """Note what is wanted no more from now on, by its mode, and what is wanted again or gone."""
    if begin:
        await tx.execute(
            """
            insert into subscription_lingering (instrument_id, mode, since)
            select *, %s from unnest(%s::bigint[], %s::smallint[]) on conflict do nothing
            """,
            (at, list(begin), list(begin.values())),
        )
    if end:
        await tx.execute("delete from subscription_lingering where instrument_id = any(%s)", (list(end),))


def deflated(items: object) -> bytes:
    """Items of a step as they are stored."""
    return zlib.compress(msgspec.json.encode(items), FAST)


def inflated(items: bytes) -> bytes:
    """Items of a step as JSON."""
    return zlib.decompress(items)


def _plan(row: tuple) -> PlanRow:  # type: ignore[type-arg]
    return PlanRow(
        id=row[0], status=Status(row[1]), level=row[2], quality=row[3], question=row[4], live_plan=row[5],
        based_on=row[6], user_id=row[7], summary=row[8], faults=row[9], held_because=row[10], actor=row[11],
        correlation_id=row[12], made_at=row[13], expires_at=row[14], applied_at=row[15], superseded_at=row[16],
    )  # fmt: skip
