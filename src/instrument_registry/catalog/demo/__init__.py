"""The demo universe: two market days of an invented market, written in three brokers' own file"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from instrument_registry.catalog.demo.expiries import session_before, session_until
from instrument_registry.catalog.demo.kite import kite
from instrument_registry.catalog.demo.listing import Market
from instrument_registry.catalog.demo.overnight import next_day, story
from instrument_registry.catalog.demo.shoonya import shoonya
from instrument_registry.catalog.demo.universe import market_on
from instrument_registry.catalog.demo.upstox import upstox

__all__ = ["FORMATS", "DemoFile", "write_demo"]

SEED: Final = 20260817
VENUE: Final = "NSE"
FORMATS: Final[dict[str, Callable[[Market], dict[str, bytes]]]] = {
    "upstox": upstox,
    "zerodha": kite,
    "shoonya": shoonya,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFile:
    """One written dump and what ingestion has to know of it."""

    broker: str
    path: Path
    date: date


def write_demo(folder: Path, today: date, *, seed: int = SEED) -> list[DemoFile]:
    """Write the dumps of two consecutive sessions, the later one today or the last before it, in order of their days.

    The same date and seed give the same bytes.
    """
    second = session_until(VENUE, today)
    first = session_before(VENUE, second)
    folder.mkdir(parents=True, exist_ok=True)
    before = market_on(first, expiring=first, seed=seed)
    after = next_day(before, second)
    return [
        DemoFile(broker=broker, path=_written(folder / name, content), date=market.day)
        for market in (before, after)
        for broker, printed in FORMATS.items()
        for name, content in printed(_as_known_to(broker, market, before)).items()
    ]


def _as_known_to(broker: str, market: Market, before: Market) -> Market:
    """Shoonya has not heard yet that one lot has doubled: brokers disagree, and the catalogue shows it."""
    if broker != "shoonya" or market is before:
        return market
    late = story(before).grown
    return replace(market, listings=[late if row.isin == late.isin else row for row in market.listings])


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
