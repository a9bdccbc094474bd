"""What an identifier means now, meant on another day, or was known to mean: memory first, the database for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from instrument_registry.catalog.keys import InvalidKey, format_key, parse_key
from instrument_registry.catalog.model import VENUES
from instrument_registry.catalog.ulid import is_ulid
from instrument_registry.database import Transaction

# Where a token, a key, an ISIN or an id points to over time; `meant` is half-open.
TOKENS = """
select a.place, i.id, i.ulid, v.key, lower(b.valid), upper(b.valid)
  from unnest(%(places)s::int[], %(brokers)s::text[], %(segments)s::text[], %(tokens)s::text[]) as a (place, broker, segment, token)
  join broker_tokens b on b.broker = a.broker and (b.token = a.token or b.exchange_token = a.token)
   and (a.segment is null or b.segment = a.segment)
   and b.known_from <= %(known_at)s and b.known_to > %(known_at)s
  join instruments i on i.id = b.instrument_id
  join lateral (select key from instrument_versions v where v.instrument_id = b.instrument_id and v.known_from <= %(known_at)s
                   and v.known_to > %(known_at)s order by v.valid_from <= lower(b.valid) desc, v.valid_from desc limit 1) v on true
 order by a.place, lower(b.valid)
"""

NAMES = """
select a.place, i.id, i.ulid, v.key, v.valid_from, nullif(v.valid_to, 'infinity')
  from unnest(%(places)s::int[], %(names)s::text[]) as a (place, name)
  join instrument_versions v on {matches} and v.known_from <= %(known_at)s and v.known_to > %(known_at)s
  join instruments i on i.id = v.instrument_id
 order by a.place, v.valid_from
"""
BY_KEY, BY_ISIN = NAMES.format(matches="v.key = a.name"), NAMES.format(matches="v.isin = a.name")
BY_ULID = NAMES.format(matches="v.instrument_id = (select x.id from instruments x where x.ulid = a.name)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What an identifier meant during some time."""

    id: int
    ulid: str
    key: str
    valid_from: date
    valid_to: date | None  # half-open; None: no end is known

    def at(self, day: date) -> bool:
        """Whether it meant that on a day."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


async def meanings(
    tx: Transaction, identifiers: Sequence[str], *, brokers: Sequence[str], known_at: datetime
) -> list[list[Meaning]]:
    """Everything each identifier ever meant, as far as was known at an instant, by time."""
    found: list[list[Meaning]] = [[] for _ in identifiers]
    tokens: list[tuple[int, str, str | None, str]] = []
    names: dict[str, list[tuple[int, str]]] = {BY_KEY: [], BY_ISIN: [], BY_ULID: []}
    for place, text in enumerate(identifiers):
        head, colon, rest = text.strip().partition(":")
        if head.upper() in VENUES and (key := _key(text)):
            names[BY_KEY].append((place, key))
        elif colon and head.lower() == "isin":
            names[BY_ISIN].append((place, rest.strip().upper()))
        elif colon and head.lower() in brokers:
            segment, second, token = rest.partition(":")
            tokens.append((place, head.lower(), segment if second else None, token if second else rest))
        elif not colon and is_ulid(text.strip().upper()):
            names[BY_ULID].append((place, text.strip().upper()))
        elif not colon:
            names[BY_ISIN].append((place, text.strip().upper()))
    if tokens:
        columns = dict(
            zip(("places", "brokers", "segments", "tokens"), map(list, zip(*tokens, strict=True)), strict=True)
        )
        _collect(found, await (await tx.execute(TOKENS, columns | {"known_at": known_at})).fetchall())
    for statement, asked in names.items():
        if asked:
            values = {
                "places": [place for place, _ in asked],
                "names": [name for _, name in asked],
                "known_at": known_at,
            }
            _collect(found, await (await tx.execute(statement.encode(), values)).fetchall())
    return found


async def numbers_of(tx: Transaction, ids: Sequence[str]) -> dict[str, int]:
    """The catalogue's own numbers of instruments by their ids; an id that is nobody's is left out."""
    rows = await (await tx.execute("select ulid, id from instruments where ulid = any(%s)", (list(ids),))).fetchall()
    return dict(rows)


async def ids_of(tx: Transaction, numbers: Sequence[int]) -> dict[int, str]:
    """The ids of instruments by the catalogue's own numbers."""
    statement = "select id, ulid from instruments where id = any(%s)"
    return dict(await (await tx.execute(statement, (list(numbers),))).fetchall())


def joined(meanings_: Sequence[Meaning]) -> list[Meaning]:
    """The same with neighbouring times of one instrument and key as one."""
    told: list[Meaning] = []
    for one in sorted(meanings_, key=lambda meaning: (meaning.valid_from, meaning.key)):
        last = told[-1] if told else None
        if (
            last is not None
            and (last.id, last.key) == (one.id, one.key)
            and (last.valid_to is None or one.valid_from <= last.valid_to)
        ):
            end = None if last.valid_to is None or one.valid_to is None else max(last.valid_to, one.valid_to)
            told[-1] = Meaning(id=one.id, ulid=one.ulid, key=one.key, valid_from=last.valid_from, valid_to=end)
        else:
            told.append(one)
    return told


def _collect(found: list[list[Meaning]], rows: Sequence[tuple]) -> None:  # type: ignore[type-arg]
    for place, identifier, ulid, key, valid_from, valid_to in rows:
        meaning = Meaning(id=identifier, ulid=ulid, key=key, valid_from=valid_from, valid_to=valid_to)
        found[place].append(meaning)


def _key(text: str) -> str | None:
    try:
        return format_key(parse_key(text))
    except InvalidKey:
        return None
