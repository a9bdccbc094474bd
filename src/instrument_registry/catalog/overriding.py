"""Overrides: an operator's word against the files, for one field of one instrument, with a reason and an end."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from psycopg.rows import class_row

from instrument_registry import events
from instrument_registry.catalog import feed, history
from instrument_registry.catalog.calendars import market_today
from instrument_registry.catalog.events import InstrumentOverridden, InstrumentOverrideWithdrawn
from instrument_registry.database import Transaction
from instrument_registry.errors import Conflict, Invalid, NotFound

LONGEST_REASON = 500
LONGEST_NAME = 200
LARGEST_COUNT = 10**12
DECIMAL_PLACES, WHOLE_DIGITS = 12, 12
SOURCE = "operator"

COLUMNS = """
o.id, o.instrument_id, i.ulid, v.key, o.field, o.value, o.reason, o.valid_from, o.valid_to, o.actor, o.created_at,
o.withdrawn_at, o.withdrawn_by
"""

READ = f"""
select {COLUMNS} from overrides o join instruments i on i.id = o.instrument_id
  left join lateral (select key from instrument_versions v
                      where v.instrument_id = o.instrument_id and v.known_to = 'infinity'
                      order by v.valid_from desc limit 1) v on true
 where (%(instrument)s::bigint is null or o.instrument_id = %(instrument)s)
   and (%(id)s::bigint is null or o.id = %(id)s)
   and (%(day)s::date is null or (o.withdrawn_at is null and o.valid_from <= %(day)s and o.valid_to > %(day)s))
   and (%(before)s::bigint is null or o.id < %(before)s)
 order by o.id desc limit %(limit)s
"""

ADD = """
insert into overrides (instrument_id, field, value, reason, valid_from, valid_to, actor, created_at)
values (%(instrument)s, %(field)s, %(value)s, %(reason)s, %(valid_from)s, %(valid_to)s, %(actor)s, %(at)s) returning id
"""

OVERLAPPING = """
select id, valid_from, valid_to from overrides
 where instrument_id = %(instrument)s and field = %(field)s and withdrawn_at is null
   and valid_from < %(valid_to)s and valid_to > %(valid_from)s order by id limit 1
"""

WITHDRAW = "update overrides set withdrawn_at = %(at)s, withdrawn_by = %(actor)s where id = %(id)s"


class Field(StrEnum):
    """What may be overridden."""

    LOT_SIZE = "lot_size"
    TICK_SIZE = "tick_size"
    FREEZE_QTY = "freeze_qty"
    MULTIPLIER = "multiplier"
    NAME = "name"


class OverrideExists(Conflict):
    """Withdraw the one that is there first."""

    title = "The field is overridden already"


class OverrideNotFound(NotFound):
    """List the overrides of the instrument to see their ids."""

    title = "There is no such override"


class AlreadyWithdrawn(Conflict):
    """Nothing is left to do."""

    title = "The override is already withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One field of one instrument as an operator says it is, from one market date until before another."""

    id: int
    instrument_id: int
    ulid: str
    key: str | None
    field: str
    value: str
    reason: str
    valid_from: date
    valid_to: date
    actor: str
    created_at: datetime
    withdrawn_at: datetime | None
    withdrawn_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an operator asks for."""

    field: Field
    value: str
    reason: str
    valid_from: date
    valid_to: date


async def add(tx: Transaction, instrument: int, wanted: Wanted, *, metadata: events.Metadata, at: datetime) -> Override:
    """Set a field of an instrument against the files, and tell it.

    Raises: Invalid, OverrideExists, InstrumentNotFound.
    """
    value = read_value(wanted.field, wanted.value)
    check_reason(wanted.reason)
    if wanted.valid_to <= wanted.valid_from:
        raise Invalid(f"It ends on {wanted.valid_to}, before it begins", field="valid_to", value=str(wanted.valid_to))
    await _hold(tx, instrument)
    values: dict[str, object] = {
        "instrument": instrument, "field": wanted.field.value, "value": value, "reason": wanted.reason.strip(),
        "valid_from": wanted.valid_from, "valid_to": wanted.valid_to, "actor": metadata.actor, "at": at,
    }  # fmt: skip
    there = await (await tx.execute(OVERLAPPING, values)).fetchone()
    if there is not None:
        problem = f"Override {there[0]} holds from {there[1]} until before {there[2]}"
        raise OverrideExists(problem, override=there[0], field=wanted.field)
    row = await (await tx.execute(ADD, values)).fetchone()
    assert row is not None
    made = await get(tx, row[0])
    before = await _said_by_files(tx, made)
    fact = InstrumentOverridden(
        occurred_at=at, instrument_id=made.ulid, key=made.key, effective_date=made.valid_from.isoformat(),
        source=SOURCE, ingestion=None, evidence=None, old={made.field: before}, new=_terms(made, reason=made.reason),
    )  # fmt: skip
    await events.append(tx, fact, stream=f"instrument-{made.ulid}", metadata=metadata)
    return made


async def withdraw(
    tx: Transaction, instrument: int, override: int, *, reason: str, metadata: events.Metadata, at: datetime
) -> Override:
    """Take an override back, and tell it; Raises: OverrideNotFound, AlreadyWithdrawn, Invalid."""
    check_reason(reason)
    await _hold(tx, instrument)
    there = await get(tx, override)
    if there.instrument_id != instrument:
        raise OverrideNotFound(f"{override} is no override of this instrument", override=override)
    if there.withdrawn_at is not None:
        when = f"{there.withdrawn_at:%Y-%m-%d %H:%M}"
        raise AlreadyWithdrawn(f"{there.withdrawn_by} withdrew it at {when}", override=override)
    await tx.execute(WITHDRAW, {"id": override, "at": at, "actor": metadata.actor})
    before = await _said_by_files(tx, there)
    fact = InstrumentOverrideWithdrawn(
        occurred_at=at, instrument_id=there.ulid, key=there.key, source=SOURCE, ingestion=None, evidence=None,
        effective_date=max(there.valid_from, market_today(at)).isoformat(), old=_terms(there, reason=there.reason),
        new={there.field: before, "override": there.id, "reason": reason.strip()},
    )  # fmt: skip
    await events.append(tx, fact, stream=f"instrument-{there.ulid}", metadata=metadata)
    return await get(tx, override)


async def get(tx: Transaction, override: int) -> Override:
    """One override; Raises: OverrideNotFound."""
    found = await _read(tx, id=override, limit=1)
    if not found:
        raise OverrideNotFound(f"No override has the id {override}", override=override)
    return found[0]


async def listed(
    tx: Transaction, *, instrument: int | None = None, day: date | None = None, before: int | None = None, limit: int
) -> list[Override]:
    """Overrides, the newest first: of one instrument or of all, all ever made or those in force on a day."""
    return await _read(tx, instrument=instrument, day=day, before=before, limit=limit)


def read_value(field: Field, text: str) -> str:
    """A value as it is kept; Raises: Invalid for what the field cannot be."""
    text = text.strip()
    if field is Field.NAME:
        if not 1 <= len(text) <= LONGEST_NAME or not text.isprintable():
            problem = f"A name has 1 to {LONGEST_NAME} printable characters"
            raise Invalid(problem, field="value", value=text[:LONGEST_NAME])
        return text
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise Invalid(f"{field.value} is a number, not {text[:40]!r}", field="value", value=text[:40]) from error
    if field in (Field.LOT_SIZE, Field.FREEZE_QTY):
        if not number.is_finite() or not 1 <= number <= LARGEST_COUNT or number != number.to_integral_value():
            raise Invalid(f"{field.value} is a whole number from 1 to {LARGEST_COUNT}", field="value", value=text[:40])
        return str(int(number))
    smallest, largest = Decimal(1).scaleb(-DECIMAL_PLACES), Decimal(10) ** WHOLE_DIGITS
    if not number.is_finite() or not smallest <= number < largest or number != round(number, DECIMAL_PLACES):
        problem = f"{field.value} is a number above 0 with at most {DECIMAL_PLACES} decimals"
        raise Invalid(problem, field="value", value=text[:40])
    return format(number.normalize(), "f")


def check_reason(reason: str) -> None:
    """Whether a reason says something; Raises: Invalid."""
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise Invalid(f"A reason has 1 to {LONGEST_REASON} characters", field="reason")


async def _read(
    tx: Transaction,
    *,
    limit: int,
    instrument: int | None = None,
    id: int | None = None,  # noqa: A002 - the column's own name
    day: date | None = None,
    before: int | None = None,
) -> list[Override]:
    values = {"instrument": instrument, "id": id, "day": day, "before": before, "limit": limit}
    async with tx.cursor(row_factory=class_row(Override)) as cursor:
        await cursor.execute(READ.encode(), values)
        return await cursor.fetchall()


async def _hold(tx: Transaction, instrument: int) -> None:
    """Let no two changes of one instrument's overrides meet; Raises: InstrumentNotFound."""
    await history.life(tx, instrument)
    await tx.execute("select 1 from instruments where id = %s for no key update", (instrument,))


async def _said_by_files(tx: Transaction, override: Override) -> str | int | None:
    version = history.version_on(
        await history.versions(tx, override.instrument_id, known_at=history.LATEST), override.valid_from
    )
    said = None if version is None else feed.plain(getattr(version, override.field))
    assert said is None or isinstance(said, str | int)
    return said


def _terms(override: Override, *, reason: str) -> dict[str, str | int | bool | None]:
    return {
        override.field: override.value,
        "override": override.id,
        "valid_from": override.valid_from.isoformat(),
        "valid_to": override.valid_to.isoformat(),
        "reason": reason,
    }
