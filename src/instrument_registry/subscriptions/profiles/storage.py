"""The tables of profiles: what they are, their versions, what they want, and the users whose limits hold for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import TupleRow

from instrument_registry.database import Transaction
from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.profiles import content
from instrument_registry.subscriptions.profiles.admission import Beside
from instrument_registry.subscriptions.profiles.model import (
    VERSIONS_KEPT,
    NoSuchProfile,
    OwnLimits,
    Profile,
    ProfileType,
    Wanted,
    wants_of,
)

COLUMNS = "id, content::text, version, actor, created_at, changed_at"
OWN = "profiles_max, live_feed_max, historical_max, alerts_max, reason, set_by, set_at"

# One round trip: the profile, its version, what it wants by name.
INSERT = """
with made as (
    insert into subscription_profiles (id, user_id, name, type, priority, instruments, version, content, expires_at,
                                       actor, created_at, changed_at)
    values (%(id)s, %(user_id)s, %(name)s, %(type)s, %(priority)s, %(counted)s, 1, %(content)s, %(expires_at)s,
            %(actor)s, %(at)s, %(at)s)
    returning id
), kept as (
    insert into subscription_profile_versions (profile_id, version, change, content, actor, correlation_id, at)
    select id, 1, 'created', %(content)s, %(actor)s, %(correlation_id)s, %(at)s from made
)
insert into subscription_wants (source, owner, rule, instrument_id, user_id, mode, priority, copies, pinned, expires_at)
select %(type)s, made.id, 0, one.number, %(user_id)s, one.mode, %(priority)s, %(copies)s, one.pinned, one.expires_at
  from made, unnest(%(numbers)s::bigint[], %(modes)s::smallint[], %(pins)s::boolean[], %(ends)s::timestamptz[])
       as one (number, mode, pinned, expires_at)
"""

SAVE = """
update subscription_profiles
   set name = %(name)s, type = %(type)s, priority = %(priority)s, instruments = %(counted)s, version = %(version)s,
       content = %(content)s, expires_at = %(expires_at)s, changed_at = %(at)s
 where id = %(id)s
"""
KEEP = """
with forgotten as (
    delete from subscription_profile_versions where profile_id = %(id)s and version <= %(version)s - %(kept)s
)
insert into subscription_profile_versions (profile_id, version, change, content, actor, correlation_id, at)
values (%(id)s, %(version)s, %(change)s, %(content)s, %(actor)s, %(correlation_id)s, %(at)s)
"""
# Exactly the rows of the profile as it is now: what is no longer wanted goes, the rest is brought in line.
UNWANT = """
delete from subscription_wants
 where owner = %(id)s and source = any(%(types)s) and rule = 0
   and not (source = %(type)s and instrument_id = any(%(numbers)s::bigint[]))
"""
WANT = """
insert into subscription_wants as w
       (source, owner, rule, instrument_id, user_id, mode, priority, copies, pinned, expires_at)
select %(type)s, %(id)s, 0, one.number, %(user_id)s, one.mode, %(priority)s, %(copies)s, one.pinned, one.expires_at
  from unnest(%(numbers)s::bigint[], %(modes)s::smallint[], %(pins)s::boolean[], %(ends)s::timestamptz[])
       as one (number, mode, pinned, expires_at)
    on conflict (source, owner, rule, instrument_id) do update
   set mode = excluded.mode, priority = excluded.priority, copies = excluded.copies, pinned = excluded.pinned,
       expires_at = excluded.expires_at
 where (w.mode, w.priority, w.copies, w.pinned, w.expires_at) is distinct from
       (excluded.mode, excluded.priority, excluded.copies, excluded.pinned, excluded.expires_at)
"""
SITUATION = """
select (select count(*) from subscription_profiles where user_id = %(user_id)s and deleted_at is null),
       (select id from subscription_profiles
         where user_id = %(user_id)s and name = %(name)s and deleted_at is null and id <> %(except)s),
       (select array_agg(array[w.instrument_id::text, w.owner, w.mode::text] order by w.owner desc)
          from subscription_wants w
         where w.user_id = %(user_id)s and w.source = %(type)s and w.rule = 0
           and w.instrument_id = any(%(numbers)s::bigint[]) and w.owner <> %(except)s
           and (w.expires_at is null or w.expires_at > %(at)s))
"""
# A rule counts for all that it can bring: what it brings later is not asked for anew.
TIER_0 = """
select coalesce(sum(w.count), 0), coalesce(sum(w.count) filter (where w.owner = %(profile)s), 0)
  from (select owner, 1 as count from subscription_wants where rule = 0
        union all
        select owner, most from subscription_rules) w
  join subscription_profiles p on p.id = w.owner
 where p.actor = any(%(actors)s) and p.deleted_at is null and p.priority >= %(least)s
"""
HELD = f"""
insert into subscription_users as u (user_id) values (%(user_id)s)
    on conflict (user_id) do update set user_id = excluded.user_id
returning {OWN}
"""
SET_LIMITS = """
update subscription_users
   set profiles_max = %(profiles)s, live_feed_max = %(live_feed)s, historical_max = %(historical)s,
       alerts_max = %(alerts)s, reason = %(reason)s, set_by = %(set_by)s, set_at = %(set_at)s
 where user_id = %(user_id)s
"""
STATS = """
select type, case when priority >= 75 then 0 when priority >= 50 then 1 when priority >= 25 then 2 else 3 end as tier,
       expires_at <= %(at)s as expired, count(*), sum(instruments)
  from subscription_profiles where deleted_at is null group by 1, 2, 3 order by 1, 2, 3
"""
TOTALS = """
select (select count(distinct user_id) from subscription_profiles where deleted_at is null),
       (select count(*) from subscription_profiles where deleted_at is not null),
       (select count(*) from subscription_wants), (select count(distinct instrument_id) from subscription_wants),
       (select count(*) from subscription_users where set_at is not null)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """How many profiles a user has, which other one has the name, which have the same instruments for the same type."""

    profiles: int
    namesake: str | None
    beside: Mapping[int, Beside]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A profile as it was for a while."""

    version: int
    change: str
    content: str  # JSON text
    actor: str
    correlation_id: str
    at: datetime


async def hold_user(tx: Transaction, user_id: str) -> OwnLimits:
    """The user's own limits; whoever writes one of the user's profiles meanwhile waits until the transaction ends."""
    statement = f"select {OWN} from subscription_users where user_id = %s for update".encode()
    row = await (await tx.execute(statement, (user_id,))).fetchone()
    if row is None:
        row = await (await tx.execute(HELD, {"user_id": user_id})).fetchone()
    assert row is not None
    return _own(row)


async def own_limits(tx: Transaction, user_id: str) -> OwnLimits:
    """The user's own limits, as anybody may read them."""
    statement = f"select {OWN} from subscription_users where user_id = %s".encode()
    row = await (await tx.execute(statement, (user_id,))).fetchone()
    return OwnLimits() if row is None else _own(row)


async def set_limits(tx: Transaction, user_id: str, own: OwnLimits) -> None:
    """Keep a user's own limits; the user is held."""
    values = {name: getattr(own, name) for name in ("profiles", "live_feed", "historical", "alerts")}
    said = {"reason": own.reason, "set_by": own.set_by, "set_at": own.set_at, "user_id": user_id}
    await tx.execute(SET_LIMITS, values | said)


async def hold_key(tx: Transaction, actor: str) -> None:
    """Let nobody else count the tier 0 of a key until the transaction ends."""
    await tx.execute("select pg_advisory_xact_lock(hashtextextended('profiles tier 0 ' || %s, 0))", (actor,))


async def tier_0_of(tx: Transaction, profile: Profile, *, actors: Sequence[str], least: int) -> tuple[int, int]:
    """How many instruments all profiles that some actors made want in tier 0, and how many of them this one."""
    values = {"actors": list(actors), "profile": profile.id, "least": least}
    row = await (await tx.execute(TIER_0, values)).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def situation(
    tx: Transaction, wanted: Wanted, numbers: Sequence[int], *, but: str = "", at: datetime
) -> Situation:
    """What of a user stands beside a profile as it is wanted, with some instruments; `but` is the profile itself."""
    values = {
        "user_id": wanted.user_id, "name": wanted.name, "type": wanted.type, "numbers": list(numbers), "except": but,
        "at": at,
    }  # fmt: skip
    row = await (await tx.execute(SITUATION, values)).fetchone()
    assert row is not None
    profiles, namesake, others = row
    beside = {int(number): Beside(profile_id=owner, mode=Mode(int(mode))) for number, owner, mode in others or ()}
    return Situation(profiles=int(profiles), namesake=namesake, beside=beside)


async def add(tx: Transaction, profile: Profile, *, correlation_id: str) -> None:
    """Keep a new profile, its first version and what it wants."""
    values = _values(profile) | {"at": profile.created_at, "correlation_id": correlation_id}
    await tx.execute(INSERT, values | {"actor": profile.actor})


async def save(tx: Transaction, profile: Profile, *, change: str, actor: str, correlation_id: str) -> None:
    """Keep a profile as it is now; its rows of wants become exactly those it wants."""
    values = _values(profile) | {"at": profile.changed_at, "types": list(ProfileType)}
    await tx.execute(SAVE, values)
    await tx.execute(UNWANT, values)
    await tx.execute(WANT, values)
    await _keep(tx, profile, values, change=change, actor=actor, correlation_id=correlation_id)


async def delete(tx: Transaction, profile: Profile, *, actor: str, correlation_id: str) -> None:
    """Let a profile be gone: nothing is wanted by it any more, its versions stay."""
    values = _values(profile) | {"at": profile.changed_at}
    await tx.execute(
        "update subscription_profiles set deleted_at = %(at)s, changed_at = %(at)s, version = %(version)s"
        " where id = %(id)s",
        values,
    )
    types = [str(one) for one in ProfileType]
    await tx.execute("delete from subscription_wants where owner = %s and source = any(%s)", (profile.id, types))
    await _keep(tx, profile, values, change="deleted", actor=actor, correlation_id=correlation_id)


async def find(tx: Transaction, profile_id: str, *, held: bool = False) -> Profile:
    """The profile with an id, its row held until the transaction ends if asked; Raises: NoSuchProfile."""
    statement = f"select {COLUMNS} from subscription_profiles where id = %s and deleted_at is null"
    row = await (await tx.execute((statement + (" for update" if held else "")).encode(), (profile_id,))).fetchone()
    if row is None:
        raise NoSuchProfile(f"No profile has the id {profile_id[:40]}", profile=profile_id[:40])
    return _profile(row)


async def user_of(tx: Transaction, profile_id: str) -> str:
    """Whose profile it is, or was; Raises: NoSuchProfile."""
    row = await (await tx.execute("select user_id from subscription_profiles where id = %s", (profile_id,))).fetchone()
    if row is None:
        raise NoSuchProfile(f"No profile has the id {profile_id[:40]}", profile=profile_id[:40])
    return str(row[0])


async def of_user(
    tx: Transaction, user_id: str, *, kind: ProfileType | None = None, after: str = "", limit: int
) -> list[Profile]:
    """A user's profiles by id, which is the order in which they were made."""
    statement = f"""select {COLUMNS} from subscription_profiles
        where user_id = %s and deleted_at is null and id > %s and (%s::text is null or type = %s)
        order by id limit %s""".encode()
    rows = await (await tx.execute(statement, (user_id, after, kind, kind, limit))).fetchall()
    return [_profile(row) for row in rows]


async def versions(tx: Transaction, profile_id: str, *, before: int | None, limit: int) -> list[Version]:
    """The versions of a profile, the newest first, also of one that was deleted."""
    cursor = await tx.execute(
        """select version, change, content::text, actor, correlation_id, at from subscription_profile_versions
            where profile_id = %s and (%s::int is null or version < %s) order by version desc limit %s""",
        (profile_id, before, before, limit),
    )
    return [
        Version(version=version, change=change, content=text, actor=actor, correlation_id=correlation, at=at)
        for version, change, text, actor, correlation, at in await cursor.fetchall()
    ]


async def used(tx: Transaction, user_id: str) -> tuple[int, Mapping[str, int]]:
    """How many profiles a user has, and how many instruments the largest of each type counts."""
    cursor = await tx.execute(
        """select type, count(*), max(instruments) from subscription_profiles
            where user_id = %s and deleted_at is null group by type""",
        (user_id,),
    )
    rows = await cursor.fetchall()
    return sum(int(row[1]) for row in rows), {row[0]: int(row[2]) for row in rows}


async def stats(tx: Transaction, *, at: datetime) -> tuple[list[TupleRow], TupleRow]:
    """Counted: profiles by type, tier and whether they have expired; then users, deleted ones, wants, instruments."""
    groups = await (await tx.execute(STATS, {"at": at})).fetchall()
    totals = await (await tx.execute(TOTALS)).fetchone()
    assert totals is not None
    return groups, totals


async def _keep(
    tx: Transaction, profile: Profile, values: Mapping[str, object], *, change: str, actor: str, correlation_id: str
) -> None:
    said = {"change": change, "actor": actor, "correlation_id": correlation_id, "kept": VERSIONS_KEPT}
    await tx.execute(KEEP, {**values, **said})


def _values(profile: Profile) -> dict[str, object]:
    wanted, wants = profile.wanted, wants_of(profile.wanted, at=profile.changed_at)
    return {
        "id": profile.id, "user_id": wanted.user_id, "name": wanted.name, "type": wanted.type,
        "priority": wanted.priority, "counted": wanted.counted, "version": profile.version,
        "content": content.encode(wanted).decode(), "expires_at": wanted.expires_at, "copies": wanted.copies,
        "numbers": [want.number for want in wants], "modes": [int(want.mode) for want in wants],
        "pins": [want.pinned for want in wants], "ends": [want.expires_at for want in wants],
    }  # fmt: skip


def _profile(row: TupleRow) -> Profile:
    id_, text, version, actor, created_at, changed_at = row
    return Profile(
        id=id_, wanted=content.decode(text), version=version, actor=actor, created_at=created_at, changed_at=changed_at
    )


def _own(row: TupleRow) -> OwnLimits:
    profiles, live_feed, historical, alerts, reason, set_by, set_at = row
    return OwnLimits(
        profiles=profiles, live_feed=live_feed, historical=historical, alerts=alerts, reason=reason, set_by=set_by,
        set_at=set_at,
    )  # fmt: skip
