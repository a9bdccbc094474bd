"""One instrument over time: its versions, its broker tokens, what brokers disagree on, its facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from psycopg.rows import class_row

from instrument_registry.catalog.model import DERIVATIVES, Kind, Status
from instrument_registry.database import Transaction
from instrument_registry.errors import NotFound

FACTS_MAX = 1_000
# Whatever is known by now: the database's clock, which dates what it learns, may be ahead of ours.
LATEST = datetime.max.replace(tzinfo=UTC)

LIFE = "select id, ulid, listed_on, ended_on, ended_as from instruments where id = %(id)s"

VERSIONS = """
select key, root, kind, asset_class, venue, series, isin, expiry, trim_scale(strike) as strike, option_type, name, currency, lot_size,
       trim_scale(multiplier) as multiplier, quote_unit, trim_scale(tick_size) as tick_size, freeze_qty, trim_scale(face_value) as face_value,
       surveillance, is_test, streamable, suspended, valid_from, nullif(valid_to, 'infinity') as valid_to, known_from,
       nullif(known_to, 'infinity') as known_to
  from instrument_versions
 where instrument_id = %(id)s and (%(known_at)s::timestamptz is null or (known_from <= %(known_at)s and known_to > %(known_at)s))
 order by valid_from, known_from
"""

TOKENS = """
select broker, segment, token, exchange_token, symbol, lower(valid) as valid_from, upper(valid) as valid_to, lot_size,
       trim_scale(tick_size) as tick_size, name, isin, key
  from broker_tokens
 where instrument_id = %(id)s and known_from <= %(known_at)s and known_to > %(known_at)s
   and (%(broker)s::text is null or broker = %(broker)s)
 order by broker, segment, lower(valid), token
"""


# The last expiry that a chain has in a month, of what lives on a day: what ends then is monthly, what ends before is weekly.
LAST_OF_MONTH = """
select max(expiry) from instrument_versions
 where root = %(root)s and venue = %(venue)s and kind = %(kind)s and asset_class is not null and not is_test
   and expiry >= %(day)s and date_trunc('month', expiry) = date_trunc('month', %(expiry)s::date)
   and valid_from <= %(day)s and valid_to > %(day)s and known_from <= %(known_at)s and known_to > %(known_at)s
"""


class InstrumentNotFound(NotFound):
    """Look at the suggestions, or ask as of another date."""

    title = "No instrument is meant by that"


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """When an instrument entered and left the market."""

    id: int
    ulid: str
    listed_on: date
    ended_on: date | None
    ended_as: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The attributes of an instrument during some market dates, as known during some time."""

    key: str
    root: str
    kind: str
    asset_class: str | None
    venue: str
    series: str | None
    isin: str | None
    expiry: date | None
    strike: Decimal | None
    option_type: str | None
    name: str | None
    currency: str | None
    lot_size: int | None
    multiplier: Decimal | None
    quote_unit: str | None
    tick_size: Decimal | None
    freeze_qty: int | None
    face_value: Decimal | None
    surveillance: str | None
    is_test: bool
    streamable: bool
    suspended: bool
    valid_from: date
    valid_to: date | None
    known_from: datetime
    known_to: datetime | None

    def at(self, day: date) -> bool:
        """Whether it describes a day."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerToken:
    """What a broker called an instrument during some market dates."""

    broker: str
    segment: str
    token: str
    exchange_token: str | None
    symbol: str
    valid_from: date
    valid_to: date | None
    lot_size: int | None
    tick_size: Decimal | None
    name: str | None
    isin: str | None
    key: str

    def at(self, day: date) -> bool:
        """Whether it was so on a day."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


async def life(tx: Transaction, identifier: int) -> Life:
    """When an instrument began and ended; Raises: InstrumentNotFound."""
    async with tx.cursor(row_factory=class_row(Life)) as cursor:
        await cursor.execute(LIFE, {"id": identifier})
        found = await cursor.fetchone()
    if found is None:
        raise InstrumentNotFound("No instrument has this id", id=identifier)
    return found


async def versions(tx: Transaction, identifier: int, *, known_at: datetime | None) -> list[Version]:
    """Its versions as known at an instant, or every one there ever was."""
    async with tx.cursor(row_factory=class_row(Version)) as cursor:
        await cursor.execute(VERSIONS, {"id": identifier, "known_at": known_at})
        return await cursor.fetchall()


async def tokens(
    tx: Transaction, identifier: int, *, known_at: datetime, broker: str | None = None
) -> list[BrokerToken]:
    """Its broker tokens over time as known at an instant."""
    async with tx.cursor(row_factory=class_row(BrokerToken)) as cursor:
        await cursor.execute(TOKENS, {"id": identifier, "known_at": known_at, "broker": broker})
        return await cursor.fetchall()


async def cycle_on(tx: Transaction, version: Version, day: date, *, known_at: datetime) -> str | None:
    """Which cycle a contract belongs to on a day on which it lives, as known at an instant; None for anything else."""
    if Kind(version.kind) not in DERIVATIVES or version.is_test or not version.at(day):
        return None
    values = {"root": version.root, "venue": version.venue, "kind": version.kind, "expiry": version.expiry}
    cursor = await tx.execute(LAST_OF_MONTH, values | {"day": day, "known_at": known_at})
    return "monthly" if await cursor.fetchone() == (version.expiry,) else "weekly"


def version_on(found: list[Version], day: date) -> Version | None:
    """The version of a day, else the last before it, else the first after it."""
    if not found:
        return None
    covering = [version for version in found if version.at(day)]
    earlier = [version for version in found if version.valid_from <= day]
    return (covering or earlier or found[:1])[-1]


def status_on(version: Version, life_: Life, day: date) -> Status:
    """Where in its life the instrument is on a day."""
    if version.at(day):
        return Status.SUSPENDED if version.suspended else Status.ACTIVE
    if version.expiry is not None and version.expiry < day:
        return Status.EXPIRED
    return Status(life_.ended_as) if life_.ended_as else Status.DELISTED


def disagreements(found: list[BrokerToken], day: date) -> Mapping[str, dict[str, str]]:
    """Where brokers say different things on a day: attribute, then broker, then what it says."""
    told: dict[str, dict[str, str]] = {}
    for token in found:
        if token.at(day):
            for attribute in ("lot_size", "tick_size", "name", "isin", "key"):
                value = getattr(token, attribute)
                if value is not None:
                    told.setdefault(attribute, {})[token.broker] = str(value)
    return {attribute: said for attribute, said in told.items() if len(set(said.values())) > 1}
