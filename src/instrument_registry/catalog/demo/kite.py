"""The demo universe as Zerodha's Kite prints it: one csv of all exchanges."""

from datetime import date
from decimal import Decimal
from functools import cache
from typing import Final

from instrument_registry.catalog.demo.listing import Contract, Index, Listing, Market, Name
from instrument_registry.catalog.demo.texts import MONTHS, lines, plain

HEADER: Final = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,"
    "instrument_type,segment,exchange"
)
CODES: Final = {"NSE": 1, "NFO": 2, "CDS": 3, "BSE": 4, "BFO": 5, "MCX": 7}
INDEX_CODE: Final = 9
LEFT_OUT: Final = ("SG", "T")  # a series and a group which this broker does not carry
NAME_CHARACTERS: Final = 25
WEEKLY_MONTHS: Final = "123456789OND"


def kite(market: Market) -> dict[str, bytes]:
    """One csv of all exchanges."""
    rows = [
        *(_index(row) for row in market.indices if row.kite_token),
        *(_listing(row) for row in market.listings if row.series not in LEFT_OUT),
        *(_contract(row) for row in market.contracts),
    ]
    return {f"kite_{market.day}_instruments.csv": lines([HEADER, *rows])}


def _index(row: Index) -> str:
    token = int(row.kite_token) * 256 + INDEX_CODE
    return f"{token},{row.kite_token},{row.kite_name},{row.kite_name},0.0,,0.0,0.0,0,EQ,INDICES,{row.exchange}"


def _listing(row: Listing) -> str:
    symbol = row.symbol if row.series == "EQ" or row.exchange == "BSE" else f"{row.symbol}-{row.series}"
    name = row.name.upper().removesuffix(" LIMITED")[:NAME_CHARACTERS]
    token = int(row.token) * 256 + CODES[row.exchange]
    return f"{token},{row.token},{symbol},{name},0.0,,0.0,{row.tick},{row.lot},EQ,{row.exchange},{row.exchange}"


def _contract(row: Contract) -> str:
    name, product = row.name, row.name.product
    venue, token = product.venue, row.token * 256 + CODES[product.venue]
    if name.strike is None:
        strike, tick, segment = "0.0", product.future_tick, f"{venue}-FUT"
    else:
        strike, tick, segment = _strike(name.strike), product.option_tick, f"{venue}-OPT"
    return (
        f"{token},{row.token},{kite_symbol(name)},{product.root},0.0,{name.expiry},{strike},{tick},{product.lot},"
        f"{name.side},{segment},{venue}"
    )


def _strike(strike: Decimal) -> str:
    text = plain(strike)
    return text if "." in text else f"{text}.0"


def kite_symbol(name: Name) -> str:
    """NIFTY26AUG24500CE for the last expiry of a month, NIFTY2690124500CE for another."""
    return f"{name.product.root}{_day(name.expiry, weekly=name.weekly)}{plain(name.strike)}{name.side}"


@cache
def _day(expiry: date, *, weekly: bool) -> str:
    month = WEEKLY_MONTHS[expiry.month - 1] if weekly else MONTHS[expiry.month - 1]
    return f"{expiry:%y}{month}{expiry:%d}" if weekly else f"{expiry:%y}{month}"
