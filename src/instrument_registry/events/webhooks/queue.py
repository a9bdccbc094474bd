"""The tables of deliveries: what is due to whom, what was tried, what is sent once more."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import TupleRow, class_row

from instrument_registry.database import Transaction
from instrument_registry.events.model import Event
from instrument_registry.events.webhooks.model import (
    Attempt,
    Delivery,
    DeliveryStatus,
    NoSuchDelivery,
    NoSuchReplay,
    Replay,
    ReplayStatus,
)

COLUMNS = """id, endpoint_id, event_id, position, type, subject, status, step, attempts, due_at, created_at,
       finished_at, answer, problem, replay_id"""

# Events times endpoints in one statement: `routes` says which type goes where, and under which name.
SPREAD = """
with made as (
    insert into webhook_deliveries (endpoint_id, event_id, position, type, subject, ordered_by, due_at, created_at,
                                    replay_id)
    select w.id, e.event_id, e.position, r.name, e.subject, case when w.ordered then e.subject end, %(at)s, %(at)s,
           %(replay)s::bigint
      from unnest(%(positions)b::bigint[], %(ids)b::uuid[], %(types)b::text[], %(subjects)b::text[], %(bulk)b::bool[])
           as e (position, event_id, type, subject, bulk)
      join unnest(%(route_types)b::text[], %(route_endpoints)b::bigint[], %(route_names)b::text[])
           as r (type, endpoint_id, name) on r.type = e.type
      join webhook_endpoints w on w.id = r.endpoint_id
     where w.deleted_at is null
       and (%(replay)s::bigint is not null or (w.state <> 'disabled' and e.position > w.starts_after))
       and (w.bulk or not e.bulk)
       and (cardinality(w.instruments) = 0 or e.subject = any(w.instruments))
       and (cardinality(%(instruments)s::text[]) = 0 or e.subject = any(%(instruments)s))
     order by e.position, w.id
    returning endpoint_id
)
select endpoint_id, count(*) from made group by endpoint_id
"""

ADD = f"""
insert into webhook_deliveries (endpoint_id, event_id, position, type, subject, ordered_by, due_at, created_at)
values (%(endpoint)s, %(event_id)s, %(position)s, %(type)s, %(subject)s, null, %(at)s, %(at)s) returning {COLUMNS}
"""

# The oldest of each endpoint, as many as there is room for; where order is wanted, nothing overtakes.
DUE = """
select d.* from unnest(%(endpoints)b::bigint[], %(rooms)b::int[]) as e (id, room)
 cross join lateral (
       select {columns} from webhook_deliveries w
        where w.endpoint_id = e.id and w.status = 'waiting' and w.due_at <= %(now)s and w.id <> all(%(held)b::bigint[])
          and (w.ordered_by is null or not exists (
              select from webhook_deliveries b
               where b.endpoint_id = w.endpoint_id and b.ordered_by = w.ordered_by and b.status = 'waiting'
                 and b.id < w.id))
        order by w.due_at, w.id limit e.room) as d
""".format(columns=", ".join(f"w.{column.strip()}" for column in COLUMNS.split(",")))

# `attempts` keeps who was taken for dead from recording over whoever took over.
RECORD = """
with outcome as (
    select * from unnest(%(ids)b::bigint[], %(numbers)b::smallint[], %(statuses)b::text[], %(steps)b::smallint[],
                         %(due)b::timestamptz[], %(answers)b::smallint[], %(problems)b::text[], %(at)b::timestamptz[],
                         %(urls)b::text[], %(sizes)b::int[], %(durations)b::int[])
           as o (id, number, status, step, due_at, answer, problem, at, url, body_bytes, duration_ms)
), changed as (
    update webhook_deliveries d
       set status = o.status, step = o.step, attempts = o.number, due_at = coalesce(o.due_at, d.due_at),
           finished_at = case when o.status <> 'waiting' then o.at end, answer = o.answer, problem = o.problem
      from outcome o where d.id = o.id and d.status = 'waiting' and d.attempts = o.number - 1
)
insert into webhook_attempts (delivery_id, number, at, url, body_bytes, answer, problem, duration_ms)
select id, number, at, url, body_bytes, answer, problem, duration_ms from outcome where url <> ''
"""

LIST = f"""
select {COLUMNS} from webhook_deliveries
 where endpoint_id = %(endpoint)s and id < %(before)s and (%(status)s::text is null or status = %(status)s)
   and (%(event)s::uuid is null or event_id = %(event)s)
 order by id desc limit %(limit)s
"""

AGAIN = f"""
update webhook_deliveries
   set status = 'waiting', step = 0, due_at = %(at)s, finished_at = null
 where endpoint_id = %(endpoint)s and id = %(id)s and status <> 'waiting' returning {COLUMNS}
"""

WAITING = """
select endpoint_id, count(*), min(created_at) from webhook_deliveries where status = 'waiting' group by endpoint_id
"""

REPLAY_COLUMNS = """id, endpoint_id, first_position, last_position, event_types, instruments, status, position, made,
       reason, actor, correlation_id, created_at, finished_at"""

BEGIN_REPLAY = f"""
insert into webhook_replays (endpoint_id, first_position, last_position, event_types, instruments, status, position,
    made, reason, actor, correlation_id, created_at)
values (%(endpoint)s, %(first)s, %(last)s, %(types)s, %(instruments)s, 'running', %(first)s - 1, 0, %(reason)s,
    %(actor)s, %(correlation_id)s, %(at)s) returning {REPLAY_COLUMNS}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an attempt; `due_at` is there when the delivery waits again."""

    delivery: Delivery
    status: DeliveryStatus
    step: int
    due_at: datetime | None
    attempt: Attempt


async def spread(
    tx: Transaction,
    events: Sequence[Event],
    routes: Collection[tuple[str, int, str]],
    *,
    at: datetime,
    replay: int | None = None,
    instruments: Sequence[str] = (),
) -> dict[int, int]:
    """Make events due to endpoints by routes (type, endpoint, name); how many each endpoint got."""
    if not events or not routes:
        return {}
    values = {
        "positions": [event.position for event in events],
        "ids": [event.event_id for event in events],
        "types": [event.type for event in events],
        "subjects": [event.subject for event in events],
        "bulk": [event.append.bulk for event in events],
        "route_types": [route[0] for route in routes],
        "route_endpoints": [route[1] for route in routes],
        "route_names": [route[2] for route in routes],
        "at": at, "replay": replay, "instruments": list(instruments),
    }  # fmt: skip
    return dict(await (await tx.execute(SPREAD, values)).fetchall())


async def add(
    tx: Transaction,
    endpoint: int,
    event_id: UUID,
    *,
    type_: str,
    at: datetime,
    position: int | None = None,
    subject: str | None = None,
) -> Delivery:
    """Make one thing due to one endpoint."""
    values = {
        "endpoint": endpoint, "event_id": event_id, "type": type_, "at": at, "position": position, "subject": subject,
    }  # fmt: skip
    row = await (await tx.execute(ADD, values)).fetchone()
    assert row is not None
    return _delivery(row)


async def due(tx: Transaction, rooms: Mapping[int, int], *, held: Collection[int], now: datetime) -> list[Delivery]:
    """What is due to endpoints, the oldest first, up to the room that each has; not what is held."""
    values = {"endpoints": list(rooms), "rooms": list(rooms.values()), "held": list(held), "now": now}
    return [_delivery(row) for row in await (await tx.execute(DUE, values)).fetchall()]


async def record(tx: Transaction, outcomes: Sequence[Outcome]) -> None:
    """Keep what came of attempts."""
    tried = [one.attempt for one in outcomes]
    await tx.execute(
        RECORD,
        {
            "ids": [one.delivery.id for one in outcomes],
            "statuses": [str(one.status) for one in outcomes],
            "steps": [one.step for one in outcomes],
            "due": [one.due_at for one in outcomes],
            "numbers": [one.number for one in tried],
            "answers": [one.answer for one in tried],
            "problems": [one.problem for one in tried],
            "at": [one.at for one in tried],
            "urls": [one.url for one in tried],
            "sizes": [one.body_bytes for one in tried],
            "durations": [one.duration_ms for one in tried],
        },
    )


async def cancel_replay(tx: Transaction, replay: Replay, *, at: datetime) -> int:
    """Let what still waits of a replay wait no longer; how many there were."""
    cursor = await tx.execute(
        """update webhook_deliveries set status = 'cancelled', finished_at = %s
            where endpoint_id = %s and status = 'waiting' and replay_id = %s""",
        (at, replay.endpoint_id, replay.id),
    )
    return cursor.rowcount


async def sweep(tx: Transaction, *, at: datetime, at_most: int) -> int:
    """Let what waits for endpoints that are gone wait no longer, some at once; how many there were."""
    cursor = await tx.execute(
        """update webhook_deliveries set status = 'cancelled', finished_at = %(at)s
            where id in (select d.id from webhook_endpoints w
                           join webhook_deliveries d on d.endpoint_id = w.id and d.status = 'waiting'
                          where w.deleted_at is not null limit %(at_most)s)""",
        {"at": at, "at_most": at_most},
    )
    return cursor.rowcount


async def find(tx: Transaction, endpoint: int, delivery: int) -> Delivery:
    """One delivery; Raises: NoSuchDelivery."""
    statement = f"select {COLUMNS} from webhook_deliveries where id = %s and endpoint_id = %s"
    row = await (await tx.execute(statement.encode(), (delivery, endpoint))).fetchone()
    if row is None:
        raise NoSuchDelivery(f"The endpoint {endpoint} has no delivery {delivery}", delivery=delivery)
    return _delivery(row)


async def listed(
    tx: Transaction,
    endpoint: int,
    *,
    before: int,
    limit: int,
    status: DeliveryStatus | None = None,
    event_id: UUID | None = None,
) -> list[Delivery]:
    """An endpoint's deliveries, the newest first."""
    values = {"endpoint": endpoint, "before": before, "limit": limit, "status": status, "event": event_id}
    return [_delivery(row) for row in await (await tx.execute(LIST.encode(), values)).fetchall()]


async def attempts_of(tx: Transaction, delivery: int) -> list[Attempt]:
    """Every request of a delivery, the first one first."""
    async with tx.cursor(row_factory=class_row(Attempt)) as cursor:
        await cursor.execute(
            """select number, at, url, body_bytes, answer, problem, duration_ms from webhook_attempts
                where delivery_id = %s order by at, number""",
            (delivery,),
        )
        return await cursor.fetchall()


async def again(tx: Transaction, endpoint: int, delivery: int, *, at: datetime) -> Delivery | None:
    """Make a delivery that has ended due once more; None when it waits."""
    row = await (await tx.execute(AGAIN.encode(), {"endpoint": endpoint, "id": delivery, "at": at})).fetchone()
    return None if row is None else _delivery(row)


async def waiting(tx: Transaction) -> dict[int, tuple[int, datetime]]:
    """How much waits for each endpoint, and since when the oldest."""
    return {row[0]: (int(row[1]), row[2]) for row in await (await tx.execute(WAITING)).fetchall()}


async def waiting_of_replay(tx: Transaction, replay: Replay) -> int:
    """How much of a replay has been made due and not been sent."""
    cursor = await tx.execute(
        "select count(*) from webhook_deliveries where endpoint_id = %s and status = 'waiting' and replay_id = %s",
        (replay.endpoint_id, replay.id),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def begin_replay(
    tx: Transaction,
    endpoint: int,
    *,
    first: int,
    last: int,
    event_types: Sequence[str],
    instruments: Sequence[str],
    reason: str,
    actor: str,
    correlation_id: str,
    at: datetime,
) -> Replay:
    """Keep a replay that is to be made due page by page."""
    values = {
        "endpoint": endpoint, "first": first, "last": last, "types": list(event_types),
        "instruments": list(instruments), "reason": reason, "actor": actor, "correlation_id": correlation_id, "at": at,
    }  # fmt: skip
    row = await (await tx.execute(BEGIN_REPLAY, values)).fetchone()
    assert row is not None
    return _replay(row)


async def find_replay(tx: Transaction, endpoint: int, replay: int, *, locked: bool = False) -> Replay:
    """One replay; Raises: NoSuchReplay."""
    statement = f"select {REPLAY_COLUMNS} from webhook_replays where id = %s and endpoint_id = %s"
    row = await (
        await tx.execute((statement + (" for update" if locked else "")).encode(), (replay, endpoint))
    ).fetchone()
    if row is None:
        raise NoSuchReplay(f"The endpoint {endpoint} has no replay {replay}", replay=replay)
    return _replay(row)


async def replays(tx: Transaction, endpoint: int, *, before: int, limit: int) -> list[Replay]:
    """An endpoint's replays, the newest first."""
    statement = (
        f"select {REPLAY_COLUMNS} from webhook_replays where endpoint_id = %s and id < %s order by id desc limit %s"
    )
    cursor = await tx.execute(statement.encode(), (endpoint, before, limit))
    return [_replay(row) for row in await cursor.fetchall()]


async def running_replays(tx: Transaction) -> list[Replay]:
    """Replays that are not finished, of endpoints that are there."""
    statement = f"select {REPLAY_COLUMNS} from webhook_replays where status = 'running' order by id"
    return [_replay(row) for row in await (await tx.execute(statement.encode())).fetchall()]


async def save_replay(tx: Transaction, replay: Replay) -> None:
    """Keep a replay as it is now."""
    await tx.execute(
        "update webhook_replays set status = %s, position = %s, made = %s, finished_at = %s where id = %s",
        (replay.status, replay.position, replay.made, replay.finished_at, replay.id),
    )


async def cancel_replays(tx: Transaction, endpoint: int, *, at: datetime) -> None:
    """Stop every replay of an endpoint."""
    await tx.execute(
        """update webhook_replays set status = 'cancelled', finished_at = %s
            where endpoint_id = %s and status = 'running'""",
        (at, endpoint),
    )


async def count_ended(tx: Transaction, before: datetime) -> int:
    """How many deliveries ended before an instant."""
    statement = "select count(*) from webhook_deliveries where status <> 'waiting' and finished_at < %s"
    row = await (await tx.execute(statement, (before,))).fetchone()
    assert row is not None
    return int(row[0])


async def forget(tx: Transaction, *, before: datetime, at_most: int = 10_000) -> int:
    """Let go of deliveries that ended before an instant, the oldest first, and of their attempts; how many went."""
    row = await (await tx.execute("select forget_webhook_deliveries(%s, %s)", (before, at_most))).fetchone()
    assert row is not None
    return int(row[0])


def _delivery(row: TupleRow) -> Delivery:
    return Delivery(
        id=row[0], endpoint_id=row[1], event_id=row[2], position=row[3], type=row[4], subject=row[5],
        status=DeliveryStatus(row[6]), step=row[7], attempts=row[8], due_at=row[9], created_at=row[10],
        finished_at=row[11], answer=row[12], problem=row[13], replay_id=row[14],
    )  # fmt: skip


def _replay(row: TupleRow) -> Replay:
    return Replay(
        id=row[0], endpoint_id=row[1], first_position=row[2], last_position=row[3], event_types=tuple(row[4]),
        instruments=tuple(row[5]), status=ReplayStatus(row[6]), position=row[7], made=row[8], reason=row[9],
        actor=row[10], correlation_id=row[11], created_at=row[12], finished_at=row[13],
    )  # fmt: skip
