"""A small market that never was: well-known names, invented companies, and contracts on the real calendars."""

import csv
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import Final

from instrument_registry.catalog.demo import expiries
from instrument_registry.catalog.demo.fiction import companies, debts
from instrument_registry.catalog.demo.listing import Contract, Index, Listing, Market, Name, Product

FAR_DAYS: Final = 100
STOCK_WEEKDAY: Final = 1  # Tuesday, as NSE's
STOCK_REACH: Final = (6, 5, 3)  # strikes on each side, by month
STOCK_MONTHS: Final = len(STOCK_REACH)
STOCK_TICK: Final = Decimal("0.05")

FIRST_TOKENS: Final = {"NFO": 35_000, "BFO": 820_000, "CDS": 2_400, "MCX": 480_000}


def market_on(day: date, *, expiring: date, seed: int) -> Market:
    """The market of one day; the options on one commodity end on `expiring`."""
    return Market(
        day=day,
        indices=[Index(**row) for row in _rows("indices.csv")],
        listings=[*_known_listings(), *companies(seed), *debts(day)],
        contracts=numbered(contract_names(day, expiring=expiring), taken={}, free={}, following=dict(FIRST_TOKENS)),
    )


def contract_names(day: date, *, expiring: date) -> list[Name]:
    """Every contract listed on a day."""
    found = [name for row in _rows("products.csv") for name in _of_product(row, day, expiring)]
    return found + [name for row in _rows("listings.csv") if row["step"] for name in _of_share(row, day)]


def numbered(
    names: list[Name], *, taken: dict[Name, int], free: dict[str, list[int]], following: dict[str, int]
) -> list[Contract]:
    """Give every contract its token: the one it has, then one that has become free, then the next of its venue."""
    contracts = []
    for name in names:
        venue = name.product.venue
        token = taken.get(name)
        if token is None and free.get(venue):
            token = free[venue].pop()
        if token is None:
            token = following[venue]
            following[venue] += 1
        contracts.append(Contract(name, token))
    return contracts


def first_tokens(contracts: list[Contract]) -> dict[str, int]:
    """The next token of every venue."""
    following = dict(FIRST_TOKENS)
    for name, token in contracts:
        following[name.product.venue] = max(following[name.product.venue], token + 1)
    return following


def _known_listings() -> Iterator[Listing]:
    for row in _rows("listings.csv"):
        tick = Decimal(row["tick"])
        symbol, name, isin = row["symbol"], row["name"], row["isin"]
        yield Listing("NSE", symbol, name, row["series"], isin, row["nse_token"], 1, tick)
        if row["bse_code"]:
            yield Listing("BSE", symbol, name, "A", isin, row["bse_code"], 1, tick)


def _of_share(row: dict[str, str], day: date) -> Iterator[Name]:
    product = Product(
        "NFO", row["symbol"], "EQUITY", row["isin"], int(row["lot"]), STOCK_TICK, STOCK_TICK, Decimal(1), ""
    )
    centre, step = Decimal(row["price"]), Decimal(row["step"])
    months = expiries.monthly("NFO", STOCK_WEEKDAY, day, STOCK_MONTHS)
    for expiry, reach in zip(months, STOCK_REACH, strict=True):
        yield Name(product, expiry, None, "FUT", weekly=False)
        yield from _options(product, expiry, centre=centre, step=step, reach=reach, weekly=False)


def _of_product(row: dict[str, str], day: date, expiring: date) -> Iterator[Name]:
    product = Product(
        row["venue"], row["root"], row["asset"], None, int(row["lot"]), Decimal(row["option_tick"]),
        Decimal(row["future_tick"]), Decimal(row["multiplier"]), row["unit"],
    )  # fmt: skip
    for expiry in _future_expiries(row, day):
        yield Name(product, expiry, None, "FUT", weekly=False)
    reach = int(row["reach"])
    option_expiries = _option_expiries(row, day, expiring)
    for expiry in option_expiries:
        near = reach if (expiry - day).days <= FAR_DAYS else reach // 2
        weekly = any(other > expiry and other.replace(day=1) == expiry.replace(day=1) for other in option_expiries)
        yield from _options(
            product, expiry, centre=Decimal(row["price"]), step=Decimal(row["step"]), reach=near, weekly=weekly
        )


def _options(
    product: Product, expiry: date, *, centre: Decimal, step: Decimal, reach: int, weekly: bool
) -> Iterator[Name]:
    for away in range(-reach, reach + 1):
        strike = centre + step * away
        if strike > 0:
            yield Name(product, expiry, strike, "CE", weekly)
            yield Name(product, expiry, strike, "PE", weekly)


def _future_expiries(row: dict[str, str], day: date) -> list[date]:
    venue, wanted = row["venue"], int(row["futures"])
    if row["asset"] == "CURRENCY":
        return expiries.currency(venue, day, wanted)
    if row["future_day"]:
        return expiries.on_day(venue, int(row["future_day"]), day, wanted)
    return expiries.monthly(venue, int(row["weekday"]), day, wanted)


def _option_expiries(row: dict[str, str], day: date, expiring: date) -> list[date]:
    venue, months = row["venue"], int(row["months"])
    if not months:
        return []
    if row["option_day"] == "yesterday":
        later = expiries.on_day(venue, 23, max(day, expiring + expiries.DAY), months)
        return [*([expiring] if day <= expiring else []), *later]
    if row["option_day"]:
        return expiries.on_day(venue, int(row["option_day"]), day, months)
    weekday = int(row["weekday"])
    weeklies = expiries.weekly(venue, weekday, day, int(row["weeklies"]))
    if row["asset"] == "CURRENCY":
        return sorted({*weeklies, *expiries.currency(venue, day, months)})
    quarters = expiries.quarterly(venue, weekday, day, int(row["quarters"]))
    return sorted({*weeklies, *quarters, *expiries.monthly(venue, weekday, day, months)})


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines())
