"""The tables of endpoints: their secrets, how they have been doing, and up to where they were handed events."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from psycopg.rows import TupleRow

from instrument_registry.database import Transaction
from instrument_registry.events.webhooks.model import (
    Endpoint,
    EndpointState,
    Format,
    Health,
    NoSuchEndpoint,
    SealedSecret,
    Signature,
    Wanted,
)
from instrument_registry.sealing import KEY_ID_AT, KEY_ID_BYTES

# Which master key wraps a sealed secret.
KEY_ID = f"substring(sealed from {KEY_ID_AT} for {KEY_ID_BYTES})"

COLUMNS = """id, url, description, owner, event_types, instruments, format, signature, ordered, bulk, concurrency,
       state, state_reason, starts_after, version, actor, created_at, changed_at"""

INSERT = f"""
insert into webhook_endpoints (url, description, owner, event_types, instruments, format, signature, ordered, bulk,
    concurrency, state, starts_after, version, actor, created_at, changed_at)
values (%(url)s, %(description)s, %(owner)s, %(event_types)s, %(instruments)s, %(format)s, %(signature)s, %(ordered)s,
    %(bulk)s, %(concurrency)s, 'active', %(starts_after)s, 1, %(actor)s, %(at)s, %(at)s)
returning {COLUMNS}
"""

SAVE = """
update webhook_endpoints set url = %(url)s, description = %(description)s, owner = %(owner)s,
       event_types = %(event_types)s, instruments = %(instruments)s, format = %(format)s, ordered = %(ordered)s,
       bulk = %(bulk)s, concurrency = %(concurrency)s, state = %(state)s, state_reason = %(state_reason)s,
       version = %(version)s, changed_at = %(changed_at)s
 where id = %(id)s
"""

LIST = f"""
select {COLUMNS} from webhook_endpoints
 where deleted_at is null and id > %(after)s and (%(owner)s::text is null or owner = %(owner)s)
 order by id limit %(limit)s
"""

HEALTH = """
insert into webhook_health as h (endpoint_id, last_success_at, failing_since, failures, warned_percent)
select endpoint_id, success_at, case when success_at is null then failure_at end,
       case when success_at is null then failures else 0 end, 0
  from unnest(%(endpoints)b::bigint[], %(successes)b::timestamptz[], %(failed)b::timestamptz[], %(failures)b::int[])
       as one (endpoint_id, success_at, failure_at, failures)
    on conflict (endpoint_id) do update set
       last_success_at = coalesce(excluded.last_success_at, h.last_success_at),
       failing_since = case when excluded.last_success_at is null then coalesce(h.failing_since, excluded.failing_since)
                       end,
       failures = case when excluded.last_success_at is null then h.failures + excluded.failures else 0 end,
       warned_percent = case when excluded.last_success_at is null then h.warned_percent else 0 end
returning endpoint_id, last_success_at, failing_since, failures, warned_percent
"""


async def add(tx: Transaction, wanted: Wanted, *, starts_after: int, actor: str, at: datetime) -> Endpoint:
    """Keep a new endpoint."""
    values = _values(wanted) | {"starts_after": starts_after, "actor": actor, "at": at}
    row = await (await tx.execute(INSERT, values)).fetchone()
    assert row is not None
    return _endpoint(row)


async def find(tx: Transaction, endpoint: int, *, locked: bool = False) -> Endpoint:
    """The endpoint with an id, its row held until the transaction ends if asked; Raises: NoSuchEndpoint."""
    statement = f"select {COLUMNS} from webhook_endpoints where id = %(id)s and deleted_at is null"
    row = await (
        await tx.execute((statement + (" for update" if locked else "")).encode(), {"id": endpoint})
    ).fetchone()
    if row is None:
        raise NoSuchEndpoint(f"No endpoint has the id {endpoint}", endpoint=endpoint)
    return _endpoint(row)


async def listed(tx: Transaction, *, after: int, limit: int, owner: str | None = None) -> list[Endpoint]:
    """Endpoints by id."""
    cursor = await tx.execute(LIST.encode(), {"after": after, "limit": limit, "owner": owner})
    return [_endpoint(row) for row in await cursor.fetchall()]


async def in_state(tx: Transaction, states: Sequence[EndpointState]) -> list[Endpoint]:
    """Every endpoint in one of these states."""
    statement = (
        f"select {COLUMNS} from webhook_endpoints where deleted_at is null and state = any(%(states)s) order by id"
    )
    cursor = await tx.execute(statement.encode(), {"states": [str(state) for state in states]})
    return [_endpoint(row) for row in await cursor.fetchall()]


async def generation(tx: Transaction) -> tuple[int, int]:
    """Another one whenever an endpoint has come, gone or changed: endpoints need not be read again until then."""
    cursor = await tx.execute(
        """select count(*), coalesce(sum(hashint8extended(id, version)), 0) from webhook_endpoints
            where deleted_at is null and state <> 'disabled'"""
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def save(tx: Transaction, endpoint: Endpoint) -> None:
    """Keep an endpoint as it is now."""
    await tx.execute(
        SAVE,
        _values(endpoint.wanted)
        | {
            "id": endpoint.id, "state": endpoint.state, "state_reason": endpoint.state_reason,
            "version": endpoint.version, "changed_at": endpoint.changed_at,
        },
    )  # fmt: skip


async def delete(tx: Transaction, endpoint: int, *, at: datetime) -> None:
    """Take an endpoint away with its secrets; what was delivered to it can still be looked up."""
    await tx.execute("update webhook_endpoints set deleted_at = %s where id = %s", (at, endpoint))
    await tx.execute("delete from webhook_secrets where endpoint_id = %s", (endpoint,))


async def add_secret(
    tx: Transaction, endpoint: Endpoint, sealed: bytes, *, public_key: str | None, at: datetime
) -> None:
    """Keep a secret that signs from this version of an endpoint on."""
    await tx.execute(
        """insert into webhook_secrets (endpoint_id, version, sealed, public_key, created_at)
           values (%s, %s, %s, %s, %s)""",
        (endpoint.id, endpoint.version, sealed, public_key, at),
    )


async def expire_secrets(tx: Transaction, endpoint: int, *, at: datetime, until: datetime) -> None:
    """Let the secrets that sign now do so until an instant at most; those whose time is over go."""
    await tx.execute("delete from webhook_secrets where endpoint_id = %s and expires_at <= %s", (endpoint, at))
    await tx.execute(
        "update webhook_secrets set expires_at = least(coalesce(expires_at, %s), %s) where endpoint_id = %s",
        (until, until, endpoint),
    )


async def secrets_of(tx: Transaction, endpoints: Sequence[int], *, at: datetime) -> list[SealedSecret]:
    """The secrets that sign for endpoints, the newest first."""
    cursor = await tx.execute(
        """select endpoint_id, version, sealed, public_key, created_at, expires_at from webhook_secrets
            where endpoint_id = any(%s) and (expires_at is null or expires_at > %s) order by id desc""",
        (list(endpoints), at),
    )
    return [
        SealedSecret(
            endpoint_id=row[0], version=row[1], sealed=bytes(row[2]), public_key=row[3], created_at=row[4],
            expires_at=row[5],
        )
        for row in await cursor.fetchall()
    ]  # fmt: skip


async def secrets_by_key(tx: Transaction, *, at: datetime) -> dict[bytes, int]:
    """How many secrets that sign at an instant or later each master key wraps."""
    cursor = await tx.execute(
        f"""select {KEY_ID}, count(*) from webhook_secrets
             where expires_at is null or expires_at > %s group by 1""".encode(),
        (at,),
    )
    return {bytes(row[0]): int(row[1]) for row in await cursor.fetchall()}


async def secrets_under(
    tx: Transaction, keys: Sequence[bytes], *, after: int, limit: int
) -> list[tuple[int, int, int, bytes]]:
    """Row, endpoint, version and sealed secret of those under some master keys, held; what others hold is passed."""
    cursor = await tx.execute(
        f"""select id, endpoint_id, version, sealed from webhook_secrets where {KEY_ID} = any(%s) and id > %s
             order by id limit %s for update skip locked""".encode(),
        (list(keys), after, limit),
    )
    return [(row[0], row[1], row[2], bytes(row[3])) for row in await cursor.fetchall()]


async def replace_sealed(tx: Transaction, sealed: Mapping[int, bytes]) -> None:
    """Let secrets lie as they are now, by row."""
    await tx.execute(
        """update webhook_secrets s set sealed = one.sealed
             from unnest(%s::bigint[], %s::bytea[]) as one (id, sealed) where s.id = one.id""",
        (list(sealed), list(sealed.values())),
    )


async def health_of(tx: Transaction, endpoints: Collection[int]) -> dict[int, Health]:
    """How endpoints have been doing; those that were never tried are not among them."""
    cursor = await tx.execute(
        """select endpoint_id, last_success_at, failing_since, failures, warned_percent from webhook_health
            where endpoint_id = any(%s)""",
        (list(endpoints),),
    )
    return {row[0]: _health(row) for row in await cursor.fetchall()}


async def note_health(
    tx: Transaction, results: Mapping[int, tuple[datetime | None, datetime | None, int]]
) -> dict[int, Health]:
    """Record the newest success, the oldest failure and the failures of endpoints; how they have been doing since."""
    endpoints = sorted(results)  # in one order, so that two writers cannot wait for each other
    values = {
        "endpoints": endpoints,
        "successes": [results[one][0] for one in endpoints],
        "failed": [results[one][1] for one in endpoints],
        "failures": [results[one][2] for one in endpoints],
    }
    return {row[0]: _health(row) for row in await (await tx.execute(HEALTH, values)).fetchall()}


async def note_warning(tx: Transaction, endpoint: int, percent: int) -> None:
    """Record that it has been told how long an endpoint has been failing."""
    await tx.execute("update webhook_health set warned_percent = %s where endpoint_id = %s", (percent, endpoint))


async def forgive(tx: Transaction, endpoint: int) -> None:
    """Count an endpoint's failures anew."""
    await tx.execute(
        "update webhook_health set failing_since = null, failures = 0, warned_percent = 0 where endpoint_id = %s",
        (endpoint,),
    )


async def position(tx: Transaction) -> int:
    """Up to where events have been handed to endpoints."""
    row = await (await tx.execute("select position from webhook_position")).fetchone()
    assert row is not None
    return int(row[0])


async def move(tx: Transaction, before: int, to: int) -> bool:
    """Record that events up to a position have been handed on; not when somebody else has done so meanwhile."""
    cursor = await tx.execute("update webhook_position set position = %s where position = %s", (to, before))
    return cursor.rowcount == 1


def _values(wanted: Wanted) -> dict[str, object]:
    return {
        "url": wanted.url, "description": wanted.description, "owner": wanted.owner,
        "event_types": list(wanted.event_types), "instruments": list(wanted.instruments), "format": wanted.format,
        "signature": wanted.signature, "ordered": wanted.ordered, "bulk": wanted.bulk,
        "concurrency": wanted.concurrency,
    }  # fmt: skip


def _endpoint(row: TupleRow) -> Endpoint:
    (id_, url, description, owner, types, instruments, form, signature, ordered, bulk, concurrency), rest = (
        row[:11],
        row[11:],
    )
    state, state_reason, starts_after, version, actor, created_at, changed_at = rest
    wanted = Wanted(
        url=url, description=description, owner=owner, event_types=tuple(types), instruments=tuple(instruments),
        format=Format(form), signature=Signature(signature), ordered=ordered, bulk=bulk, concurrency=concurrency,
    )  # fmt: skip
    return Endpoint(
        id=id_, wanted=wanted, state=EndpointState(state), state_reason=state_reason, starts_after=starts_after,
        version=version, actor=actor, created_at=created_at, changed_at=changed_at,
    )  # fmt: skip


def _health(row: TupleRow) -> Health:
    return Health(last_success_at=row[1], failing_since=row[2], failures=row[3], warned_percent=row[4])
