"""The canonical key: one readable, dated name for every listing, and our own compact symbol made from it.

    NSE:RELIANCE  NSE:ELECTCAST;W1  NSE:NIFTY;IDX  NCO:NATURALGAS;SPOT
    NFO:BANKNIFTY;F;2026-08-25  NFO:NIFTY;2026-09-01;24500;C
    BYBIT:BTC/USDT  BYBIT:BTC/USDT:USDT;PERP  BYBIT:BTC/USDT:USDT;F;2026-09-25

A name is written with A-Z 0-9 & - . _ and every other character percent-escaped, so that `;`, `:` and `/` are free
to separate the parts.
"""

import re
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal
from urllib.parse import quote, unquote

import polars as pl

from instrument_registry.catalog.model import NSE_SERIES_FAMILIES, Kind
from instrument_registry.errors import Invalid

Marker = Literal["IDX", "SPOT", "PERP"]
Side = Literal["C", "P"]

MARKERS: dict[str, Marker] = {"IDX": "IDX", "SPOT": "SPOT", "PERP": "PERP"}
SIDES: dict[str, Side] = {"C": "C", "P": "P", "CE": "C", "PE": "P"}
FUTURE = "F"

VENUE = re.compile(r"[A-Z][A-Z0-9]*")
SERIES = re.compile(r"[A-Z0-9]+")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
DECIMAL = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
UNSAFE = r"[^A-Z0-9&._-]"
BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
MONTHS = (
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
)

BSE_SERIES_IN_KEY = ("F", "G")


class InvalidKey(Invalid):
    """The text is not a canonical key."""

    title = "This is not an instrument key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The parts of a canonical key; `name` is unescaped and upper case, `strike` is minimal plain decimal text."""

    venue: str
    name: str
    quote: str | None = None  # crypto only: what the base `name` is priced in
    settle: str | None = None  # crypto only: what a contract is settled in
    series: str | None = None
    marker: Marker | None = None
    expiry: date | None = None
    strike: str | None = None
    side: Side | None = None

    def __post_init__(self) -> None:
        if not VENUE.fullmatch(self.venue):
            raise InvalidKey("A venue is written with letters and digits", venue=self.venue)
        for part in (self.name, self.quote, self.settle):
            if part is not None and (not part.strip() or part != part.upper() or not part.isprintable()):
                raise InvalidKey("A name in a key is upper case, printable and not blank", name=part)
        if self.settle is not None and self.quote is None:
            raise InvalidKey("Only a name with a quote has a settlement", settle=self.settle)
        if self.series is not None and (not SERIES.fullmatch(self.series) or self.series in MARKERS):
            raise InvalidKey("A series is written with letters and digits", series=self.series)
        if self.series is not None and (self.marker or self.expiry or self.quote):
            raise InvalidKey("Only a cash listing has a series", series=self.series)
        if self.marker is not None and (self.expiry or self.marker not in MARKERS):
            raise InvalidKey(
                "An index, a spot row or a perpetual does not expire",
                marker=self.marker,
            )
        if (self.strike is None) != (self.side is None) or (self.strike is not None and self.expiry is None):
            raise InvalidKey(
                "An option has an expiry, a strike and a side",
                strike=self.strike,
                side=self.side,
            )
        if self.strike is not None and self.strike != minimal_decimal(self.strike):
            raise InvalidKey("A strike is a plain decimal without needless zeros", strike=self.strike)

    def __str__(self) -> str:
        return format_key(self)


def parse_key(text: str) -> Key:
    """Read a key in either case; numbers and sides are brought to their shortest form.

    Raises:
        InvalidKey: the text does not follow the grammar.
    """
    venue, colon, body = text.strip().partition(":")
    if not colon:
        raise InvalidKey("A key begins with a venue and a colon", key=text)
    name, *rest = body.split(";")
    base, quote_, settle = _names(name, key=text)
    key = Key(venue=venue.upper(), name=base, quote=quote_, settle=settle)
    match [part.upper() for part in rest]:
        case []:
            return key
        case [marker] if marker in MARKERS:
            return replace(key, marker=MARKERS[marker])
        case [series]:
            return replace(key, series=series)
        case ["F", day]:
            return replace(key, expiry=_day(day, key=text))
        case [day, strike, side] if side in SIDES:
            return replace(
                key,
                expiry=_day(day, key=text),
                strike=_strike(strike, key=text),
                side=SIDES[side],
            )
    raise InvalidKey("The parts after the name are not those of any kind of instrument", key=text)


def format_key(key: Key) -> str:
    """The one text of a key: `parse_key(format_key(key)) == key`."""
    name = escape(key.name)
    if key.quote is not None:
        name += "/" + escape(key.quote)
    if key.settle is not None:
        name += ":" + escape(key.settle)
    parts = [f"{key.venue}:{name}"]
    if key.strike is not None and key.expiry is not None and key.side is not None:
        parts += [key.expiry.isoformat(), key.strike, key.side]
    elif key.expiry is not None:
        parts += [FUTURE, key.expiry.isoformat()]
    elif key.marker or key.series:
        parts.append(key.marker or key.series or "")
    return ";".join(parts)


def symbol_of(key: Key) -> str:
    """Our compact symbol: the name, with day, strike and CE, PE or FUT behind it for a contract."""
    name = key.name + (key.quote or "")
    if key.expiry is None:
        return name + "PERP" if key.marker == "PERP" else name
    day = f"{key.expiry.day:02}{MONTHS[key.expiry.month - 1]}{key.expiry.year % 100:02}"
    return f"{name}{day}{key.strike}{key.side}E" if key.side else f"{name}{day}FUT"


def escape(name: str) -> str:
    """A name as it stands in a key."""
    return quote(name, safe="&").replace("~", "%7E")


def minimal_decimal(text: str) -> str | None:
    """A non-negative plain decimal without needless zeros; None if the text is not one."""
    if not DECIMAL.fullmatch(text):
        return None
    whole, _, fraction = text.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def key_expr() -> pl.Expr:
    """The key of each row, from venue, kind, root, series, expiry, strike and option_type; crypto rows excepted."""
    kind, day = pl.col("kind"), pl.col("expiry").dt.strftime("%Y-%m-%d")
    return pl.concat_str(
        pl.col("venue"),
        pl.lit(":"),
        pl.col("root").map_batches(escape_series, return_dtype=pl.String),
        pl.when(kind == Kind.OPTION)
        .then(pl.concat_str(pl.lit(";"), day, pl.lit(";"), "strike", pl.lit(";"), "option_type"))
        .when(kind == Kind.FUTURE)
        .then(pl.concat_str(pl.lit(f";{FUTURE};"), day))
        .when(kind == Kind.INDEX)
        .then(pl.lit(";IDX"))
        .when(kind.is_in([Kind.SPOT_COMMODITY, Kind.SPOT_CURRENCY]))
        .then(pl.lit(";SPOT"))
        .when(series_in_key())
        .then(pl.concat_str(pl.lit(";"), "series"))
        .otherwise(pl.lit("")),
    )


def series_in_key() -> pl.Expr:
    """Whether the series tells this cash listing from another of the same name."""
    series, venue = pl.col("series"), pl.col("venue")
    nse = (venue == "NSE") & ~series.is_in(list(NSE_SERIES_FAMILIES))
    bse = (venue == "BSE") & series.is_in(list(BSE_SERIES_IN_KEY))
    return (series.is_not_null() & (nse | bse)).fill_null(value=False)


def symbol_expr() -> pl.Expr:
    """`symbol_of` for each row, from kind, root, expiry, strike and option_type; crypto rows excepted."""
    day = pl.col("expiry").dt.strftime("%d%b%y").str.to_uppercase()
    return (
        pl.when(pl.col("kind") == Kind.OPTION)
        .then(pl.concat_str("root", day, "strike", "option_type", pl.lit("E")))
        .when(pl.col("kind") == Kind.FUTURE)
        .then(pl.concat_str("root", day, pl.lit("FUT")))
        .otherwise(pl.col("root"))
    )


def escape_series(names: pl.Series) -> pl.Series:
    """`escape` over a column; only the few distinct names that need it are touched one by one."""
    odd = names.filter(names.str.contains(UNSAFE)).unique().to_list()
    return names.replace(odd, [escape(name) for name in odd]) if odd else names


def _names(text: str, *, key: str) -> tuple[str, str | None, str | None]:
    base, slash, pair = text.partition("/")
    quoted, colon, settle = pair.partition(":")
    return (
        _name(base, key=key),
        _name(quoted, key=key) if slash else None,
        _name(settle, key=key) if colon else None,
    )


def _name(text: str, *, key: str) -> str:
    if BROKEN_ESCAPE.search(text):
        raise InvalidKey(
            "A per cent sign in a key begins an escape of two hexadecimal digits",
            key=key,
        )
    try:
        return unquote(text, errors="strict").upper()
    except UnicodeDecodeError as error:
        raise InvalidKey("An escaped name in a key is UTF-8", key=key) from error


def _day(text: str, *, key: str) -> date:
    try:
        if DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidKey("The expiry is not a day of the calendar", key=key) from error
    raise InvalidKey("An expiry is written as year-month-day", key=key)


def _strike(text: str, *, key: str) -> str:
    strike = minimal_decimal(text)
    if strike is None:
        raise InvalidKey("A strike is a plain decimal", key=key)
    return strike
