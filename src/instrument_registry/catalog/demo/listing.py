"""The nouns of the demo universe."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple


class Index(NamedTuple):
    """An index; every broker has its own name and number for it."""

    exchange: str
    name: str
    symbol: str
    token: str
    kite_name: str
    kite_token: str
    shoonya_name: str
    shoonya_symbol: str


class Listing(NamedTuple):
    """A cash row: share, fund, trust or bond."""

    exchange: str
    symbol: str
    name: str
    series: str  # of NSE, or group of BSE
    isin: str
    token: str
    lot: int
    tick: Decimal


class Product(NamedTuple):
    """What derivatives are written on, and in which sizes."""

    venue: str
    root: str
    asset: str  # EQUITY, INDEX, CURRENCY, COMMODITY
    isin: str | None  # of an underlying share
    lot: int
    option_tick: Decimal
    future_tick: Decimal
    multiplier: Decimal  # of the quote per unit of the lot
    unit: str


class Name(NamedTuple):
    """What makes a contract the one it is, before it has a token; a future has no strike."""

    product: Product
    expiry: date
    strike: Decimal | None
    side: str  # FUT, CE, PE
    weekly: bool  # not the last expiry of its month


class Contract(NamedTuple):
    """A named contract with the exchange's number for it."""

    name: Name
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Everything listed on one day."""

    day: date
    indices: list[Index]
    listings: list[Listing]
    contracts: list[Contract]
