"""What a feed has to know of instruments: whether they live, until when, and what each broker calls them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from instrument_registry.database import Transaction

ROWS = """
    select v.instrument_id, i.ulid, v.key, v.venue, v.root, v.expiry, v.streamable, v.suspended
      from instrument_versions v join instruments i on i.id = v.instrument_id
     where v.known_to = 'infinity' and v.valid_from <= %(day)s and v.valid_to > %(day)s
       and v.instrument_id = any(%(ids)s)
"""
MARKETS = """
    select instrument_id, venue, root from instrument_versions
     where known_to = 'infinity' and valid_from <= %(day)s and valid_to > %(day)s and instrument_id = any(%(ids)s)
"""
NAMES = "select id, ulid from instruments where id = any(%(ids)s)"
# Of several tokens at one broker the first is meant, as everywhere: ordinary series first.
TOKENS = """
    select distinct on (instrument_id, broker) instrument_id, broker, segment, token
      from broker_tokens
     where known_to = 'infinity' and valid @> %(day)s::date and streamable and not suspended
       and instrument_id = any(%(ids)s) and broker = any(%(brokers)s)
     order by instrument_id, broker, segment, (series is distinct from 'EQ'), token
"""
MANY = 100
JOINED = "set local enable_nestloop = off"


class WireToken(NamedTuple):
    """What a broker calls an instrument, and in which part of its feed."""

    segment: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRow:
    """An instrument as a feed sees it on a day; one that has ended is not `listed`."""

    id: int
    ulid: str
    key: str | None
    venue: str | None
    root: str | None
    expiry: date | None
    listed: bool
    streamable: bool
    suspended: bool
    tokens: dict[str, WireToken]  # by broker


async def markets(tx: Transaction, ids: Collection[int], *, day: date) -> dict[int, tuple[str | None, str | None]]:
    """Venue and underlying of instruments by their numbers, as they are on a market date."""
    cursor = await tx.execute(MARKETS, {"ids": list(ids), "day": day}, binary=True)
    return {identifier: (venue, root) for identifier, venue, root in await cursor.fetchall()}


async def rows(tx: Transaction, ids: Collection[int], *, day: date, brokers: Iterable[str]) -> dict[int, WireRow]:
    """Instruments by their numbers, as they are on a market date; numbers that stand for nothing are left out."""
    asked = {"ids": list(ids), "day": day, "brokers": list(brokers)}
    if len(ids) > MANY:
        await tx.execute(JOINED)
    cursor = await tx.execute(TOKENS, asked, binary=True)
    tokens: dict[int, dict[str, WireToken]] = {}
    for identifier, broker, segment, token in await cursor.fetchall():
        tokens.setdefault(identifier, {})[broker] = WireToken(segment, token)
    cursor = await tx.execute(ROWS.encode(), asked, binary=True)
    found = {
        row[0]: WireRow(
            id=row[0], ulid=row[1], key=row[2], venue=row[3], root=row[4], expiry=row[5], listed=True,
            streamable=row[6], suspended=row[7], tokens=tokens.get(row[0], {}),
        )
        for row in await cursor.fetchall()
    }  # fmt: skip
    if ended := [one for one in ids if one not in found]:
        cursor = await tx.execute(NAMES, {"ids": ended})
        for identifier, ulid in await cursor.fetchall():
            found[identifier] = WireRow(
                id=identifier, ulid=ulid, key=None, venue=None, root=None, expiry=None, listed=False,
                streamable=False, suspended=False, tokens={},
            )  # fmt: skip
    return found
