"""What every adapter hands to ingestion: one frame of normalised rows and one of rows set aside."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from instrument_registry.errors import Invalid

# One row is one instrument as one broker printed it on one day. Decimals travel as minimal plain text
# ("0.05", "24500"): no exponent, no trailing zero; null means "this dump does not say".
ROW_SCHEMA: dict[str, pl.DataType] = {
    "line": pl.UInt32(),  # 1-based: the line of a text file (the header is line 1), the element of a JSON array
    "segment": pl.String(),  # the broker's own segment, as needed to use its token: NFO, NSE_FO, NSE_D
    "token": pl.String(),  # the token used for subscribing: 738561, NSE_EQ|INE002A01018
    "exchange_token": pl.String(),  # the exchange's own scrip number, null where the broker has another one
    "venue": pl.String(),  # a key of model.VENUES
    "kind": pl.String(),  # a model.Kind
    "asset_class": pl.String(),  # a model.AssetClass, derivatives only
    "root": pl.String(),  # the unescaped name in the key: RELIANCE, INDIA VIX; of a derivative its underlying
    "series": pl.String(),  # as printed by the exchange: EQ, BE, W1, GB; BSE group; null for derivatives and indices
    "expiry": pl.Date(),
    "strike": pl.String(),
    "option_type": pl.String(),  # C or P
    "key": pl.String(),  # the canonical key, see catalog/keys.py
    "symbol": pl.String(),  # the broker's trading symbol, verbatim but trimmed
    "name": pl.String(),  # the descriptive name, trimmed
    "isin": pl.String(),  # only with a valid check digit
    "currency": pl.String(),  # ISO 4217, or the crypto settlement coin
    "lot_size": pl.Int64(),  # units of one order lot
    "multiplier": pl.String(),  # units of the quote per lot unit
    "quote_unit": pl.String(),  # "10 GRMS"
    "tick_size": pl.String(),  # in the instrument's currency (rupees, never paise)
    "freeze_qty": pl.Int64(),
    "face_value": pl.String(),
    "surveillance": pl.String(),  # ASM/GSM stage or flag text, null when none is told
    "is_test": pl.Boolean(),  # the exchange's test rows, e.g. 011NSETEST
    "streamable": pl.Boolean(),  # false: the broker only lets it be polled
    "suspended": pl.Boolean(),
}

REJECT_SCHEMA: dict[str, pl.DataType] = {
    "line": pl.UInt32(),
    "field": pl.String(),
    "value": pl.String(),  # cut to 200 characters
    "reason": pl.String(),  # one sentence for an operator
    "dropped": pl.Boolean(),  # True: the whole row is set aside; False: only this value, the row is kept without it
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """One decompressed file of a broker."""

    name: str  # the file name without folders: kite_2026-08-17_NFO.csv
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What an adapter read from one dump."""

    dialect: str  # which of the broker's formats it was: "kite", "upstox-json", "dhan-compact"
    rows: pl.DataFrame  # ROW_SCHEMA
    rejects: pl.DataFrame  # REJECT_SCHEMA
    read: int  # rows in the file: len(rows) + rows dropped + exact duplicates
    duplicates: int = 0  # exact duplicates of another row of this dump, dropped without a word


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What an official list declares about instruments without listing them.

    `what` and the columns of `rows`, all text but the date:
    "symbol_changes": old_symbol, new_symbol, effective_date (Date), name;
    "underlying_lots": underlying, lot_size (Int64);
    "mics": mic, operating_mic, name, country, status, acronym.
    """

    dialect: str
    what: Literal["symbol_changes", "underlying_lots", "mics"]
    rows: pl.DataFrame
    rejects: pl.DataFrame  # REJECT_SCHEMA
    read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A public address of a dump."""

    url: str
    name: str  # the file name it is stored under
    content_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A publisher of dumps: how its files are read and where they lie."""

    id: str
    title: str
    parse: Callable[[Dump], Parsed | Declared]  # raises Unreadable
    sources: tuple[Source, ...] = ()
    official: bool = False  # an exchange's own file wins over what brokers say


class Unreadable(Invalid):
    """The dump is not what this broker publishes; nothing of it can be used."""

    title = "The dump cannot be read"
