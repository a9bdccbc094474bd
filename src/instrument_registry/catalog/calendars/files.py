"""The committed calendar files: one row a market, one file of departures from the ordinary week per (MIC, segment)."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from zoneinfo import ZoneInfo

from instrument_registry.catalog.calendars.model import (
    EVENING,
    Calendar,
    Departure,
    Spell,
    close_with_new_york,
)

WITH_NEW_YORK = "new-york"


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One row of markets.csv: the ordinary hours of a venue, as far as they are known."""

    venue: str
    mic: str
    segment: str
    zone: ZoneInfo
    opens: time | None
    closes: time | None  # None also for a market that closes with New York
    expires: time | None  # when contracts end on their last day; None also for one that ends with New York
    with_new_york: bool
    known_from: date | None
    known_until: date | None


@cache
def markets() -> MappingProxyType[str, Market]:
    """Every venue by its code."""
    return MappingProxyType({row["venue"]: _market(row) for row in _rows("markets.csv")})


@cache
def product_closes() -> MappingProxyType[tuple[str, str], time]:
    """The products that end their day earlier than their market: (venue, underlying) -> close."""
    rows = _rows("products.csv")
    return MappingProxyType({(row["venue"], row["underlying"]): time.fromisoformat(row["closes"]) for row in rows})


@cache
def calendars() -> MappingProxyType[str, Calendar]:
    """The calendars we keep, by venue."""
    known = (_calendar(market) for market in markets().values())
    return MappingProxyType({calendar.venue: calendar for calendar in known if calendar is not None})


def _market(row: dict[str, str]) -> Market:
    def clock(text: str) -> time | None:
        return time.fromisoformat(text) if text and text != WITH_NEW_YORK else None

    return Market(
        venue=row["venue"],
        mic=row["mic"],
        segment=row["segment"],
        zone=ZoneInfo(row["zone"]),
        opens=clock(row["opens"]),
        closes=clock(row["closes"]),
        expires=clock(row["expires"]),
        with_new_york=row["closes"] == WITH_NEW_YORK,
        known_from=date.fromisoformat(row["known_from"]) if row["known_from"] else None,
        known_until=date.fromisoformat(row["known_until"]) if row["known_until"] else None,
    )


def _calendar(market: Market) -> Calendar | None:
    if market.known_from is None or market.known_until is None or market.opens is None:
        return None
    rows = _rows(f"{market.mic}_{market.segment}.csv".lower())
    return Calendar(
        venue=market.venue,
        mic=market.mic,
        segment=market.segment,
        zone=market.zone,
        known_from=market.known_from,
        known_until=market.known_until,
        opens=market.opens,
        closes=market.closes,
        departures=MappingProxyType(dict(_departure(market, row) for row in rows)),
    )


def _departure(market: Market, row: dict[str, str]) -> tuple[date, Departure]:
    day = date.fromisoformat(row["date"])
    return day, Departure(spells=_spells(market, day, row["session"]), name=row["name"])


def _spells(market: Market, day: date, text: str) -> tuple[Spell, ...] | None:
    """Read `closed`, `unannounced`, `morning`, `evening` or hours such as `09:15-10:00 11:30-12:30`."""
    match text:
        case "closed":
            return None
        case "unannounced":
            return ()
        case "morning":
            return (Spell(market.opens or time.min, EVENING),)
        case "evening":
            return (Spell(EVENING, market.closes or close_with_new_york(day)),)
        case _:
            return tuple(Spell(*map(time.fromisoformat, spell.split("-"))) for spell in text.split())


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines())
