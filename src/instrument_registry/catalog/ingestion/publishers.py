"""What is known of each broker as a publisher of dumps: its last runs, its tokens for an instrument."""

from dataclasses import dataclass
from datetime import date, datetime

from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.brokers.frame import Broker
from instrument_registry.catalog.calendars import market_today
from instrument_registry.catalog.history import InstrumentNotFound
from instrument_registry.catalog.ingestion import schedule
from instrument_registry.catalog.ingestion.applying import FRESH_DAYS
from instrument_registry.catalog.ingestion.model import RunStatus
from instrument_registry.catalog.ingestion.schedule import ScheduleState
from instrument_registry.catalog.keys import format_key, parse_key
from instrument_registry.catalog.ulid import is_ulid
from instrument_registry.database import Transaction
from instrument_registry.errors import Invalid, NotFound

SEGMENTS = """
select distinct on (s.broker, s.segment) s.broker, s.segment, s.market_date, s.rows, s.ingestion_id, i.finished_at
  from ingestion_segments s join ingestions i on i.id = s.ingestion_id
 where %(broker)s::text is null or s.broker = %(broker)s
 order by s.broker, s.segment, s.market_date desc, s.ingestion_id desc
"""

DIALECTS = """
select broker, array_agg(distinct dialect order by dialect)
  from ingestions i cross join lateral jsonb_array_elements_text(i.report -> 'dialects') dialect
 where %(broker)s::text is null or broker = %(broker)s group by broker
"""

LAST_RUNS = """
select distinct on (broker) broker, id, status, market_date, started_at from ingestions
 where %(broker)s::text is null or broker = %(broker)s order by broker, id desc
"""

# Who bears the key on the day; else who bore it last.
BEARER = """
select v.instrument_id, i.ulid, v.key from instrument_versions v join instruments i on i.id = v.instrument_id
 where v.key = %(key)s and v.known_to = 'infinity' and v.valid_from <= %(day)s
 order by (v.valid_to > %(day)s) desc, v.valid_from desc limit 1
"""

BY_ULID = """
select i.id, i.ulid, v.key from instruments i join instrument_versions v on v.instrument_id = i.id and v.known_to = 'infinity'
 where i.ulid = %(key)s order by (v.valid_from <= %(day)s) desc, v.valid_from desc limit 1
"""

TOKENS = """
select segment, token, exchange_token, symbol, key, lot_size, trim_scale(tick_size)::text, lower(valid), upper(valid), ingestion_id, known_from
  from broker_tokens
 where instrument_id = %(instrument)s and broker = %(broker)s and known_to = 'infinity'
   and (%(as_of)s::date is null or valid @> %(as_of)s::date)
 order by lower(valid) desc, segment, token
"""


class NoSuchBroker(NotFound):
    """Take the id from the list of brokers."""

    title = "There is no such broker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a broker publishes a dump."""

    url: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSegment:
    """The newest applied run of one of a broker's segments; a fresh one counts when brokers are compared."""

    segment: str
    market_date: date
    rows: int
    ingestion: int
    applied_at: datetime | None
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestRun:
    """The newest run of a broker, however it ended."""

    ingestion: int
    status: RunStatus
    market_date: date
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """A broker or exchange whose dumps are read."""

    id: str
    title: str
    official: bool
    sources: list[Address]
    dialects: list[str]  # of the dumps it was seen to publish
    segments: list[PublishedSegment]
    rows: int  # listed in the newest run of each segment
    fresh_to: date | None  # the newest market date anything was applied for
    age_days: int | None  # since then
    fresh: bool  # some segment is
    last_run: NewestRun | None
    schedule: ScheduleState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerToken:
    """What a broker calls an instrument from one market date until before another."""

    segment: str
    token: str
    exchange_token: str | None
    symbol: str
    key: str  # as this broker's row reads
    lot_size: int | None
    tick_size: str | None
    valid_from: date
    valid_to: date | None
    ingestion: int | None
    known_from: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensOfInstrument:
    """A broker's tokens for one instrument."""

    broker: str
    instrument_id: str
    key: str
    as_of: date | None
    tokens: list[BrokerToken]


def known(broker: str) -> Broker:
    """The broker with an id; Raises: NoSuchBroker."""
    if broker not in BROKERS:
        raise NoSuchBroker(f"{broker} is not a known broker; known are {', '.join(sorted(BROKERS))}", broker=broker)
    return BROKERS[broker]


async def publishers(tx: Transaction, *, now: datetime, only: str | None = None) -> list[Publisher]:
    """Every broker, or one, with its newest runs and its schedule; Raises: NoSuchBroker."""
    if only is not None:
        known(only)
    values, today = {"broker": only}, market_today(now)
    segments: dict[str, list[PublishedSegment]] = {}
    for broker, segment, day, rows, run, at in await (await tx.execute(SEGMENTS, values)).fetchall():
        fresh = (today - day).days <= FRESH_DAYS
        one = PublishedSegment(segment=segment, market_date=day, rows=rows, ingestion=run, applied_at=at, fresh=fresh)
        segments.setdefault(broker, []).append(one)
    dialects = {row[0]: row[1] for row in await (await tx.execute(DIALECTS, values)).fetchall()}
    last = {
        row[0]: NewestRun(ingestion=row[1], status=RunStatus(row[2]), market_date=row[3], started_at=row[4])
        for row in await (await tx.execute(LAST_RUNS, values)).fetchall()
    }
    schedules = {one.broker: one for one in await schedule.states(tx, now=now)}
    return [
        _publisher(
            broker, segments.get(broker.id, []), dialects.get(broker.id, []), last.get(broker.id), schedules.get(broker.id), today=today
        )
        for broker in BROKERS.values()
        if only in (None, broker.id)
    ]  # fmt: skip


async def tokens_of(tx: Transaction, broker: str, key: str, *, as_of: date | None, today: date) -> TokensOfInstrument:
    """A broker's tokens for an instrument named by its key or permanent id, on a day or ever.

    Raises: NoSuchBroker, InstrumentNotFound.
    """
    known(broker)
    name = key.strip().upper()
    by_ulid = is_ulid(name)
    if not by_ulid:
        try:
            name = format_key(parse_key(key))
        except Invalid as error:
            raise InstrumentNotFound(f"{key} is neither a key nor an id: {error}", key=key) from error
    cursor = await tx.execute(BY_ULID if by_ulid else BEARER, {"key": name, "day": as_of or today})
    row = await cursor.fetchone()
    if row is None:
        raise InstrumentNotFound(f"Nothing is called {name}" + (f" on {as_of}" if as_of else ""), key=name)
    values = {"instrument": row[0], "broker": broker, "as_of": as_of}
    tokens = [
        BrokerToken(
            segment=found[0], token=found[1], exchange_token=found[2], symbol=found[3], key=found[4], lot_size=found[5],
            tick_size=found[6], valid_from=found[7], valid_to=found[8], ingestion=found[9], known_from=found[10],
        )
        for found in await (await tx.execute(TOKENS, values)).fetchall()
    ]  # fmt: skip
    return TokensOfInstrument(broker=broker, instrument_id=row[1], key=row[2], as_of=as_of, tokens=tokens)


def _publisher(
    broker: Broker,
    segments: list[PublishedSegment],
    dialects: list[str],
    last: NewestRun | None,
    due: ScheduleState | None,
    *,
    today: date,
) -> Publisher:
    fresh_to = max((one.market_date for one in segments), default=None)
    return Publisher(
        id=broker.id, title=broker.title, official=broker.official,
        sources=[Address(url=source.url, name=source.name) for source in broker.sources], dialects=dialects, segments=segments,
        rows=sum(one.rows for one in segments), fresh_to=fresh_to,
        age_days=None if fresh_to is None else (today - fresh_to).days, fresh=any(one.fresh for one in segments), last_run=last,
        schedule=due,
    )  # fmt: skip
