"""What the index is fed with: one row an instrument, as it is on the day of the index."""

from datetime import date
from typing import NamedTuple


class TokenRow(NamedTuple):
    """What one broker calls an instrument."""

    broker: str
    segment: str
    token: str
    exchange_token: str | None
    symbol: str | None


class IndexRow(NamedTuple):
    """One instrument with its tokens; decimals are minimal plain text, tokens are sorted by broker, segment, token."""

    id: int
    ulid: str
    key: str
    symbol: str
    name: str | None
    kind: str
    venue: str
    mic: str | None
    segment: str
    exchange: str
    series: str | None
    isin: str | None
    underlying: str | None  # of a derivative: the unescaped name its key begins with
    expiry: date | None
    strike: str | None
    option_type: str | None  # C or P
    lot_size: int | None
    tick_size: str | None
    freeze_qty: int | None
    multiplier: str | None
    status: str
    is_test: bool
    streamable: bool
    asset_class: str | None
    currency: str | None
    tokens: tuple[TokenRow, ...]
    extra: str = ""  # further JSON members of the answer, such as '"cfi":"OCEFPS"', alike over many rows
