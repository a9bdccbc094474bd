# ruff: noqa: E501 - SQL reads better in its own lines
"""Catalogues for tests: fresh ones filled with dumps as the door would fill them, and what must hold of any."""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from instrument_registry.catalog.brokers.frame import Dump
from instrument_registry.catalog.ingestion.intake import sessions_between
from instrument_registry.catalog.ingestion.model import Order, Outcome
from instrument_registry.catalog.ingestion.service import ingest
from instrument_registry.catalog.keys import format_key, parse_key
from instrument_registry.database import Database
from keeper import Template

LOCK = 0x6361_7461  # "cata"
NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)

# Every one lists what breaks it; none may.
INVARIANTS = {
    "two instruments bear one key on one day, as known at one moment": """
        select a.key, a.instrument_id, b.instrument_id from instrument_versions a join instrument_versions b
            on b.key = a.key and b.instrument_id > a.instrument_id
           and a.valid_from < b.valid_to and b.valid_from < a.valid_to and greatest(a.known_from, b.known_from) < least(a.known_to, b.known_to)""",
    "an instrument has two versions on one day, as known at one moment": """
        select a.key, a.valid_from, b.valid_from from instrument_versions a join instrument_versions b
            on b.instrument_id = a.instrument_id and b.ctid > a.ctid
           and a.valid_from < b.valid_to and b.valid_from < a.valid_to and greatest(a.known_from, b.known_from) < least(a.known_to, b.known_to)""",
    "a token means two instruments on one day, as known at one moment": """
        select a.broker, a.segment, a.token from broker_tokens a join broker_tokens b
            on b.token_key = a.token_key and b.ctid > a.ctid and a.valid && b.valid
           and greatest(a.known_from, b.known_from) < least(a.known_to, b.known_to)""",
    "two tokens share their integer": """
        select token_key from broker_tokens group by 1 having count(distinct (broker, segment, token)) > 1""",
    "a token or a version belongs to no instrument": """
        select instrument_id from (select instrument_id from broker_tokens union select instrument_id from instrument_versions) x
         where not exists (select 1 from instruments i where i.id = x.instrument_id)""",
    "an instrument has no version": """
        select i.ulid from instruments i
         where not exists (select 1 from instrument_versions v where v.instrument_id = i.id and v.known_to = 'infinity')""",
    "a version begins before its instrument was listed": """
        select v.key, v.valid_from, i.listed_on from instrument_versions v join instruments i on i.id = v.instrument_id
         where v.known_to = 'infinity' and v.valid_from < i.listed_on""",
    "an instrument was listed on a day on which it has no version": """
        select i.ulid, i.listed_on from instruments i where not exists (
            select 1 from instrument_versions v where v.instrument_id = i.id and v.known_to = 'infinity' and v.valid_from = i.listed_on)""",
    "a version outlives its instrument": """
        select v.key, v.valid_from, v.valid_to, i.ended_on, i.ended_as from instrument_versions v join instruments i on i.id = v.instrument_id
         where v.known_to = 'infinity' and i.ended_on is not null and v.valid_to > i.ended_on""",
    "a version outlives its contract": """
        select key, valid_from, valid_to, expiry from instrument_versions
         where known_to = 'infinity' and expiry is not null and valid_to > expiry + 1""",
    "a live instrument does not have one version with an open end": """
        select i.ulid, count(v.key) from instruments i left join instrument_versions v
            on v.instrument_id = i.id and v.known_to = 'infinity' and v.valid_to = coalesce(v.expiry + 1, 'infinity')
         where i.ended_on is null group by 1 having count(v.key) <> 1""",
    "a live contract's expiry is not that of its last version": """
        select v.key, i.expiry from instruments i join instrument_versions v on v.instrument_id = i.id and v.known_to = 'infinity'
         where i.ended_on is null and v.valid_to = coalesce(v.expiry + 1, 'infinity') and v.expiry is distinct from i.expiry""",
    "a live instrument is past its expiry": """
        select ulid, expiry from instruments where ended_on is null and expiry < (select max(market_date) from ingestion_segments)""",
    "two adjacent versions do not differ": """
        select a.key, a.valid_from, b.valid_from from instrument_versions a join instrument_versions b
            on b.instrument_id = a.instrument_id and b.valid_from = a.valid_to and b.known_to = 'infinity'
         where a.known_to = 'infinity'
           and (a.key, a.kind, a.series, a.name, a.isin, a.lot_size, a.multiplier, a.quote_unit, a.tick_size, a.freeze_qty, a.face_value,
                a.surveillance, a.is_test, a.streamable, a.suspended, a.currency, a.asset_class) is not distinct from
               (b.key, b.kind, b.series, b.name, b.isin, b.lot_size, b.multiplier, b.quote_unit, b.tick_size, b.freeze_qty, b.face_value,
                b.surveillance, b.is_test, b.streamable, b.suspended, b.currency, b.asset_class)""",
    "a token is valid on a day on which its instrument is not": """
        select b.broker, b.segment, b.token, b.key, b.valid from broker_tokens b
         where b.known_to = 'infinity' and b.valid <@ any (array(
               select range_agg(daterange(v.valid_from, nullif(v.valid_to, 'infinity'))) from instrument_versions v
                where v.instrument_id = b.instrument_id and v.known_to = 'infinity')) is not true""",
    "a run's counts are not its facts": """
        select i.id, c.key, c.value, t.told from ingestions i cross join lateral jsonb_each_text(i.report -> 'counts') c
          left join (select a.stream, replace(e.type, 'instrument.', '') as fact, count(*) as told
                       from appends a join events e on e.number between a.number and a.number + a.facts - 1 group by 1, 2) t
            on t.stream = 'ingestion-' || i.id and t.fact = c.key
         where i.status = 'applied' and c.key not like 'declared%' and c.value::bigint is distinct from t.told""",
}  # fmt: skip

# All that a reader of the catalogue can see, without what differs from run to run by nature.
SEEN = {
    "versions": "select i.ulid, v.* from instrument_versions v join instruments i on i.id = v.instrument_id",
    "instruments": "select * from instruments",
    "tokens": "select * from broker_tokens",
    "segments": "select * from ingestion_segments",
    "aside": "select r.* from rows_set_aside r join ingestions i on i.id = r.ingestion_id where i.status = 'applied'",
    "events": "select a.stream, e.number - a.number, e.type, e.data from appends a join events e on e.number between a.number and a.number + a.facts - 1",
    "aliases": "select alias, target, reason, valid_from, valid_to from aliases",
    "declared": "select what, exchange, old_symbol, new_symbol, effective_date from declared_changes",
}

# What an instrument is called and what means it, on every day, without the ids that order decides.
IDENTITY = """
select array_agg(distinct b.broker || ':' || b.segment || ':' || b.token || '@' || d.day order by b.broker || ':' || b.segment || ':' || b.token || '@' || d.day)
  from broker_tokens b cross join unnest(%s::date[]) d (day)
 where b.known_to = 'infinity' and b.valid @> d.day group by b.instrument_id order by 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One run: a broker's dumps of one day."""

    broker: str
    day: date
    dumps: tuple[Dump, ...]
    allow_older: bool = False
    dry_run: bool = False
    scope: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A database of its own with what was loaded into it."""

    owner_url: str
    service_url: str
    outcomes: tuple[Outcome, ...] = ()

    def rows(self, statement: str, *values: object) -> list[tuple]:
        with psycopg.connect(
            self.owner_url, options="-c search_path=instrument_registry", autocommit=True
        ) as connection:
            return connection.execute(statement, values or None).fetchall()

    def one(self, statement: str, *values: object) -> tuple:
        (row,) = self.rows(statement, *values)
        return row

    def load(self, *loads: Load) -> list[Outcome]:
        return asyncio.run(fill(self.service_url, loads))

    def run(self, broker: str, day: date | str) -> int:
        """The applied run of a broker and day."""
        return int(
            self.one(
                "select id from ingestions where broker = %s and market_date = %s and status = 'applied'", broker, day
            )[0]
        )

    def facts(self, run: int, kind: str) -> list[dict]:
        """What a run told of one kind of change, in order."""
        found = self.rows(
            """select e.data::jsonb from appends a join events e on e.number between a.number and a.number + a.facts - 1
                where a.stream = 'ingestion-' || %s::text and e.type = 'instrument.' || %s order by e.number""", run, kind,
        )  # fmt: skip
        return [data for (data,) in found]

    def counts(self, run: int) -> dict[str, int]:
        """Facts by kind of a run."""
        return dict(self.one("select report -> 'counts' from ingestions where id = %s", run)[0])

    def holder(self, broker: str, segment: str, token: str, day: date | str) -> tuple[str, str] | None:
        """Permanent id and key of what a broker's token means on a day."""
        found = self.rows(
            """select i.ulid, v.key from broker_tokens b join instruments i on i.id = b.instrument_id
                 left join instrument_versions v on v.instrument_id = i.id and v.known_to = 'infinity' and v.valid_from <= %s and v.valid_to > %s
                where b.known_to = 'infinity' and b.broker = %s and b.segment = %s and b.token = %s and b.valid @> %s::date""",
            day, day, broker, segment, token, day,
        )  # fmt: skip
        return found[0] if found else None

    def bearer(self, key: str, day: date | str) -> str | None:
        """Permanent id of what bears a key on a day."""
        found = self.rows(
            """select i.ulid from instrument_versions v join instruments i on i.id = v.instrument_id
                where v.known_to = 'infinity' and v.key = %s and v.valid_from <= %s and v.valid_to > %s""",
            key, day, day,
        )  # fmt: skip
        return found[0][0] if found else None


async def fill(
    service_url: str, loads: Sequence[Load], *, clock: Callable[[], datetime] = lambda: NOW
) -> list[Outcome]:
    """Ingest one load after the other."""
    database = await Database(service_url, application="test", pool_size=2).open()
    try:
        return [await take(database, load, clock=clock) for load in loads]
    finally:
        await database.close()


async def take(database: Database, load: Load, *, clock: Callable[[], datetime] = lambda: NOW) -> Outcome:
    """Ingest one load."""
    order = Order(
        broker=load.broker, market_date=load.day, date_known_by="given", actor="tests", correlation_id="c-1",
        scope=load.scope, allow_older=load.allow_older, dry_run=load.dry_run,
    )  # fmt: skip
    return await ingest(database, order, list(load.dumps), clock=clock, sessions_between=sessions_between)


@contextmanager
def clone(template: Template) -> Iterator[tuple[str, str]]:
    """The owner's and the service's URL of a fresh, migrated database."""
    name = f"{template.name}_{secrets.token_hex(4)}"
    with psycopg.connect(template.admin_url, autocommit=True) as admin:
        made = sql.SQL("create database {} template {} strategy wal_log")
        admin.execute(made.format(sql.Identifier(name), sql.Identifier(template.name)))
        granted = sql.SQL("grant temporary on database {} to {}")
        admin.execute(granted.format(sql.Identifier(name), sql.Identifier(template.rights)))
    try:
        yield (
            make_conninfo(template.admin_url, dbname=name),
            make_conninfo(template.admin_url, dbname=name, user=template.service, password=template.service_password),
        )
    finally:
        with psycopg.connect(template.admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@contextmanager
def catalogue(template: Template, *loads: Load) -> Iterator[Catalogue]:
    """A fresh catalogue with some loads in it."""
    with clone(template) as (owner, service):
        outcomes = asyncio.run(fill(service, loads))
        yield Catalogue(owner_url=owner, service_url=service, outcomes=tuple(outcomes))


def shared(template: Template, name: str, build: Callable[[str], None]) -> Catalogue:
    """A catalogue that many tests read and none changes: built by whoever needs it first, in whichever process."""
    database = f"{template.name}_{name}"
    made = Catalogue(
        owner_url=make_conninfo(template.admin_url, dbname=database),
        service_url=make_conninfo(
            template.admin_url, dbname=database, user=template.service, password=template.service_password
        ),
    )
    with psycopg.connect(template.admin_url, autocommit=True) as admin:
        admin.execute("select pg_advisory_lock(%s, hashtext(%s))", (LOCK, name))  # others are built beside it
        built = admin.execute(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = %s", (database,)
        ).fetchone()
        if built is None:
            admin.execute(
                sql.SQL("create database {} template {} strategy wal_log").format(
                    sql.Identifier(database), sql.Identifier(template.name)
                )
            )
            admin.execute(
                sql.SQL("grant temporary on database {} to {}").format(
                    sql.Identifier(database), sql.Identifier(template.rights)
                )
            )
            build(made.service_url)
            admin.execute(sql.SQL("comment on database {} is 'built'").format(sql.Identifier(database)))
        elif built[0] != "built":
            raise RuntimeError(f"{name} could not be built; the test that tried says why")
    return made


def broken(one: Catalogue) -> dict[str, list[tuple]]:
    """What of the catalogue breaks which invariant, a few examples each."""
    found = {name: one.rows(f"{statement} limit 5") for name, statement in INVARIANTS.items()}
    keys = [key for (key,) in one.rows("select distinct key from instrument_versions")]
    found["a key does not read back"] = [(key,) for key in keys if format_key(parse_key(key)) != key][:5]
    return {name: rows for name, rows in found.items() if rows}


def digest(owner_url: str) -> dict[str, str]:
    """One short text for all that is in each part of the catalogue."""
    whole = "select coalesce(md5(string_agg(md5(part::text), '' order by md5(part::text))), '') from ({}) part"
    with psycopg.connect(owner_url, options="-c search_path=instrument_registry", autocommit=True) as connection:
        return {name: connection.execute(whole.format(statement)).fetchall()[0][0] for name, statement in SEEN.items()}
