"""The tables of conflicts and of requests that named themselves."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from psycopg.rows import TupleRow

from instrument_registry.database import Transaction
from instrument_registry.subscriptions.profiles import content
from instrument_registry.subscriptions.profiles.admission import Verdict
from instrument_registry.subscriptions.profiles.conflicts import Conflict, ConflictKind, ConflictStrategy, Found, Limit
from instrument_registry.subscriptions.profiles.model import (
    CONFLICTS_KEPT,
    NoSuchConflict,
    RequestNamedOtherwise,
)

REMEMBERED_FOR = timedelta(days=7)
FORGOTTEN_AT_ONCE = 20
VERDICTS = {Verdict.ACCEPT: "accepted", Verdict.DROP: "dropped", Verdict.REFUSE: "refused"}
OF_WORDS = {word: verdict for verdict, word in VERDICTS.items()}

COLUMNS = """id, user_id, kind, verdict, profile_id, other_id, items::text, facts::text, request::text, actor, at,
       strategy, outcome, resolved_by, resolved_at"""
ADD = """
with forgotten as (
    delete from subscription_conflicts where user_id = %(user_id)s and id <= (
        select id from subscription_conflicts where user_id = %(user_id)s order by id desc offset %(kept)s limit 1)
)
insert into subscription_conflicts (id, user_id, kind, verdict, profile_id, other_id, items, facts, request, actor,
                                    correlation_id, at)
values (%(id)s, %(user_id)s, %(kind)s, %(verdict)s, %(profile_id)s, %(other_id)s, %(items)s, %(facts)s, %(request)s,
        %(actor)s, %(correlation_id)s, %(at)s)
"""
# What else stood against a request that has been carried out since, without what it is about.
CARRIED_OUT = """
update subscription_conflicts set verdict = 'dropped', profile_id = %(profile_id)s, request = null
 where user_id = %(user_id)s and id <> %(id)s and resolved_at is null and verdict = 'refused'
   and (correlation_id, at) = (select correlation_id, at from subscription_conflicts where id = %(id)s)
"""
RESOLVED = """
update subscription_conflicts set strategy = %(strategy)s, outcome = %(outcome)s, resolved_by = %(by)s,
       resolved_at = %(at)s, profile_id = coalesce(%(profile_id)s, profile_id), request = null
 where id = %(id)s
"""
NAMED = """
with forgotten as (
    delete from subscription_requests where (actor, key) in (
        select actor, key from subscription_requests where at < %(before)s order by at limit %(few)s
           for update skip locked)
)
insert into subscription_requests (actor, key, digest, at) values (%(actor)s, %(key)s, %(digest)s, %(at)s)
    on conflict (actor, key) do nothing
"""


async def add(tx: Transaction, conflict: Conflict, *, correlation_id: str) -> None:
    """Keep a conflict; of a user the newest stay."""
    found = conflict.found
    facts: dict[str, int | str] = dict(found.facts)
    if found.limit is not None:
        facts["of"] = found.limit.value
    values = {
        "id": conflict.id, "user_id": conflict.user_id, "kind": found.kind, "verdict": VERDICTS[found.verdict],
        "profile_id": found.profile_id, "other_id": found.other_id,
        "items": content.encode_items(found.items).decode(), "facts": msgspec.json.encode(facts).decode(),
        "request": None if conflict.request is None else content.encode(conflict.request).decode(),
        "actor": conflict.actor, "correlation_id": correlation_id, "at": conflict.at, "kept": CONFLICTS_KEPT - 1,
    }  # fmt: skip
    await tx.execute(ADD, values)


async def find(tx: Transaction, conflict_id: str, *, held: bool = False) -> Conflict:
    """The conflict with an id, its row held until the transaction ends if asked; Raises: NoSuchConflict."""
    statement = f"select {COLUMNS} from subscription_conflicts where id = %s" + (" for update" if held else "")
    row = await (await tx.execute(statement.encode(), (conflict_id,))).fetchone()
    if row is None:
        raise NoSuchConflict(f"No conflict has the id {conflict_id[:40]}", conflict=conflict_id[:40])
    return _conflict(row)


async def of_user(
    tx: Transaction, user_id: str, *, open_: bool | None, before: str | None, limit: int
) -> list[Conflict]:
    """A user's conflicts, the newest first: all, those that are open, or those that are settled."""
    statement = f"""select {COLUMNS} from subscription_conflicts
        where user_id = %(user_id)s and (%(open)s::boolean is null or (resolved_at is null) = %(open)s)
          and (%(before)s::text is null or id < %(before)s) order by id desc limit %(limit)s""".encode()
    values = {"user_id": user_id, "open": open_, "before": before, "limit": limit}
    return [_conflict(row) for row in await (await tx.execute(statement, values)).fetchall()]


async def carried_out(tx: Transaction, conflict: Conflict, *, profile_id: str) -> None:
    """Let what else stood against the same request be about the profile it has become."""
    values = {"id": conflict.id, "user_id": conflict.user_id, "profile_id": profile_id}
    await tx.execute(CARRIED_OUT, values)


async def resolved(
    tx: Transaction,
    conflict: Conflict,
    strategy: ConflictStrategy,
    *,
    outcome: str,
    profile_id: str | None,
    by: str,
    at: datetime,
) -> None:
    """Keep how a conflict was settled."""
    values = {"id": conflict.id, "strategy": strategy, "outcome": outcome, "profile_id": profile_id, "by": by, "at": at}
    await tx.execute(RESOLVED, values)


async def counted(tx: Transaction) -> Mapping[str, tuple[int, int]]:
    """By kind, how many conflicts are kept and how many of them are open."""
    cursor = await tx.execute(
        "select kind, count(*), count(*) filter (where resolved_at is null) from subscription_conflicts group by kind"
    )
    return {kind: (int(kept), int(still)) for kind, kept, still in await cursor.fetchall()}


async def name_request(tx: Transaction, actor: str, key: str, *, digest: bytes, at: datetime) -> str | None:
    """Keep that a caller names a request so; the answer it had where it came before. Whoever sends it at the same time
    waits for the outcome.

    Raises: RequestNamedOtherwise.
    """
    values = {"actor": actor, "key": key, "digest": digest, "at": at, "before": at - REMEMBERED_FOR,
              "few": FORGOTTEN_AT_ONCE}  # fmt: skip
    cursor = await tx.execute(NAMED, values)
    if cursor.rowcount:
        return None
    statement = "select digest, answer from subscription_requests where actor = %s and key = %s"
    row = await (await tx.execute(statement, (actor, key))).fetchone()
    assert row is not None
    if row[0] != digest:
        raise RequestNamedOtherwise("This key came before with another body; send a new one", key=key)
    return str(row[1])


async def remember_answer(tx: Transaction, actor: str, key: str, answer: str) -> None:
    """Keep what a named request was answered."""
    statement = "update subscription_requests set answer = %s where actor = %s and key = %s"
    await tx.execute(statement, (answer, actor, key))


def _conflict(row: TupleRow) -> Conflict:
    (id_, user_id, kind, verdict, profile_id, other_id, items, facts, request, actor, at, strategy, outcome,
     resolved_by, resolved_at) = row  # fmt: skip
    told = msgspec.json.decode(facts)
    of = told.pop("of", None)
    found = Found(
        kind=ConflictKind(kind), verdict=OF_WORDS[verdict], items=content.decode_items(items), profile_id=profile_id,
        other_id=other_id, limit=Limit(of) if of else None, facts=told,
    )  # fmt: skip
    return Conflict(
        id=id_, user_id=user_id, found=found, request=None if request is None else content.decode(request),
        actor=actor, at=at, strategy=ConflictStrategy(strategy) if strategy else None, outcome=outcome,
        resolved_by=resolved_by, resolved_at=resolved_at,
    )  # fmt: skip
