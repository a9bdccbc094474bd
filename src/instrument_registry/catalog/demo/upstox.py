"""The demo universe as Upstox prints it: one json array of all exchanges, whose rows have the fields they need."""

from collections.abc import Iterator
from datetime import date, datetime, time
from functools import cache
from typing import Final

import msgspec

from instrument_registry.catalog.demo.listing import Contract, Index, Listing, Market
from instrument_registry.catalog.demo.texts import MONTHS, plain
from instrument_registry.clock import MARKET_ZONE

SEGMENTS: Final = {"NFO": "NSE_FO", "BFO": "BSE_FO", "CDS": "NCD_FO", "MCX": "MCX_FO"}
EXCHANGES: Final = {"NFO": "NSE", "BFO": "BSE", "CDS": "NSE", "MCX": "MCX"}
ASSETS: Final = {"EQUITY": "EQUITY", "INDEX": "INDEX", "CURRENCY": "CUR", "COMMODITY": "COM"}
NAME_CHARACTERS: Final = 25
FREEZE_LOTS: Final = 27
CASH_FREEZE: Final = 100_000.0
PAISE: Final = 100
LAST_SECOND: Final = time(23, 59, 59)


class Row(msgspec.Struct, gc=False, omit_defaults=True, kw_only=True):
    """One element of the array; what a row does not need is left out of it."""

    segment: str
    name: str
    exchange: str
    instrument_type: str
    instrument_key: str
    exchange_token: str
    trading_symbol: str
    isin: str | None = None
    weekly: bool | None = None
    expiry: int | None = None
    last_trading_date: int | None = None
    strike_price: float | None = None
    underlying_symbol: str | None = None
    asset_symbol: str | None = None
    underlying_key: str | None = None
    asset_key: str | None = None
    underlying_type: str | None = None
    asset_type: str | None = None
    lot_size: int | None = None
    minimum_lot: int | None = None
    freeze_quantity: float | None = None
    tick_size: float | None = None
    qty_multiplier: float | None = None
    price_quote_unit: str | None = None
    security_type: str | None = None


def upstox(market: Market) -> dict[str, bytes]:
    """Everything, in one file."""
    return {f"upstox_{market.day}_complete.json": msgspec.json.encode(list(_rows(market)))}


def _rows(market: Market) -> Iterator[Row]:
    keys = {row.symbol: _index_key(row) for row in market.indices}
    yield from map(_index, market.indices)
    yield from (_listing(row) for row in market.listings if row.isin)
    yield from (_contract(row, keys) for row in market.contracts)


def _index_key(row: Index) -> str:
    return f"{row.exchange}_INDEX|{row.name if row.exchange == 'NSE' else row.symbol}"


def _index(row: Index) -> Row:
    return Row(
        segment=f"{row.exchange}_INDEX",
        name=row.name,
        exchange=row.exchange,
        instrument_type="INDEX",
        instrument_key=_index_key(row),
        exchange_token=row.token,
        trading_symbol=row.symbol,
    )


def _listing(row: Listing) -> Row:
    return Row(
        segment=f"{row.exchange}_EQ",
        name=row.name.upper().replace("LIMITED", "LTD")[:NAME_CHARACTERS],
        exchange=row.exchange,
        isin=row.isin,
        instrument_type=row.series,
        instrument_key=f"{row.exchange}_EQ|{row.isin}",
        lot_size=row.lot,
        freeze_quantity=CASH_FREEZE,
        exchange_token=row.token,
        tick_size=float(row.tick * PAISE),
        trading_symbol=row.symbol,
        qty_multiplier=1.0,
        security_type="NORMAL",
    )


def _contract(row: Contract, keys: dict[str, str]) -> Row:
    name, product = row.name, row.name.product
    segment, asset, commodity = SEGMENTS[product.venue], ASSETS[product.asset], product.venue == "MCX"
    underlying = f"NSE_EQ|{product.isin}" if product.isin else keys.get(product.root)
    tick = product.future_tick if name.strike is None else product.option_tick
    what = "FUT" if name.strike is None else f"{plain(name.strike)} {name.side}"
    return Row(
        weekly=None if commodity else name.weekly,
        segment=segment,
        name=product.root,
        exchange=EXCHANGES[product.venue],
        expiry=_last_moment(name.expiry),
        last_trading_date=_last_moment(name.expiry) if commodity else None,
        instrument_type=name.side,
        asset_symbol=product.root,
        underlying_symbol=product.root,
        instrument_key=f"{segment}|{row.token}",
        lot_size=product.lot,
        minimum_lot=product.lot,
        freeze_quantity=float(product.lot * FREEZE_LOTS),
        exchange_token=str(row.token),
        asset_key=underlying,
        underlying_key=underlying,
        tick_size=float(tick * PAISE),
        asset_type=asset,
        underlying_type=asset,
        trading_symbol=f"{product.root} {what} {_day(name.expiry)}",
        strike_price=float(name.strike or 0),
        qty_multiplier=float(product.multiplier * product.lot if commodity else product.multiplier),
        price_quote_unit=product.unit or None,
    )


@cache
def _last_moment(expiry: date) -> int:
    return int(datetime.combine(expiry, LAST_SECOND, MARKET_ZONE).timestamp()) * 1000


@cache
def _day(expiry: date) -> str:
    return f"{expiry:%d} {MONTHS[expiry.month - 1]} {expiry:%y}"
