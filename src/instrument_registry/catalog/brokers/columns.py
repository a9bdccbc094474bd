"""Values as brokers print them: numbers, days, sides, series, names of indices; all column by column."""

import csv
import re
from decimal import Decimal
from functools import cache
from pathlib import Path

import polars as pl

NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{0,30})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
NSE_SERIES = r"(?:EQ|BE|BZ|BL|T0|SM|ST|SZ|SG|GS|GB|TB|SF|MF|IV|RR|RL|RE|IT|ID|[EXDPWMR][0-9]|[NYZ][0-9A-Z]|[AB][A-Z])"
DIGITS = pl.Int64()


def decimals(texts: pl.Series, *, divisor: int = 1) -> pl.Series:
    """Plain minimal decimals of a column of printed numbers, divided; null where it is no finite number >= 0."""
    distinct = texts.drop_nulls().unique().to_list()
    return texts.replace_strict(distinct, [_decimal(text, divisor) for text in distinct], return_dtype=pl.String)


def integers(texts: pl.Series) -> pl.Series:
    """Whole numbers >= 0 of a column of printed numbers ("65.0" is 65); null where it is none."""
    return decimals(texts).cast(DIGITS, strict=False)


def split_series(symbol: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Name and NSE series of symbols such as BAJAJ-AUTO-BE; the tail counts only if it is a series, else it is EQ."""
    tail = symbol.str.extract(rf"^.+-({NSE_SERIES})$", 1)
    name = symbol.str.replace(rf"-{NSE_SERIES}$", "")
    return pl.when(tail.is_null()).then(symbol).otherwise(name), tail.fill_null("EQ")


def contract_root(symbol: pl.Expr, *, expiry: pl.Expr, strike: pl.Expr, side: pl.Expr) -> pl.Expr:
    """The underlying in front of a symbol such as NIFTY26AUG24450CE, NIFTY2690124450CE or GOLD26OCTFUT.

    `strike` is minimal decimal text and `side` C or P, both null for a future. Null where the symbol does not end in
    what the other columns say: a name is never guessed from the shape of the digits.
    """
    tail = pl.when(side.is_null()).then(pl.lit("FUT")).otherwise(pl.concat_str(strike, side, pl.lit("E")))
    year = expiry.dt.strftime("%y")
    month = expiry.dt.strftime("%b").str.to_uppercase()
    letter = expiry.dt.month().cast(pl.String).replace({"10": "O", "11": "N", "12": "D"})
    monthly = pl.concat_str(year, month, tail)
    weekly = pl.concat_str(year, letter, expiry.dt.strftime("%d"), tail)
    return (
        pl.when(symbol.str.ends_with(monthly))
        .then(symbol.str.strip_suffix(monthly))
        .when(symbol.str.ends_with(weekly))
        .then(symbol.str.strip_suffix(weekly))
    )


def ist_date(epoch: pl.Expr, *, unit: str) -> pl.Expr:
    """The calendar day in India of an epoch, a column of numbers or of their text; `unit` is "ms" or "s"."""
    offset = 19_800 * (1_000 if unit == "ms" else 1)
    return pl.from_epoch(epoch.cast(DIGITS, strict=False) + offset, time_unit="ms" if unit == "ms" else "s").dt.date()


def sides(text: pl.Expr) -> pl.Expr:
    """C or P of an option type printed CE, PE, C or P in either case; null for anything else."""
    return text.str.to_uppercase().replace_strict({"CE": "C", "PE": "P", "C": "C", "P": "P"}, default=None)


def index_name(venue: str, printed: str) -> str:
    """The name an index has in our keys: that of its derivatives if it has any, else what the exchange prints."""
    return _index_names().get((venue, _folded(printed)), " ".join(printed.upper().split()))


@cache
def _index_names() -> dict[tuple[str, str], str]:
    names: dict[tuple[str, str], str] = {}
    with (Path(__file__).parent / "indices.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for printed in (row["name"], *filter(None, row["also"].split("|"))):
                names[row["venue"], _folded(printed)] = row["name"]
    return names


def _folded(printed: str) -> str:
    return re.sub(r"[^A-Z0-9^]", "", printed.upper())


def _decimal(text: str, divisor: int) -> str | None:
    if not NUMBER.fullmatch(text):
        return None
    value = Decimal(text) / divisor
    if value < 0 or value.adjusted() > 18:
        return None
    plain = f"{value:f}"
    return (plain.rstrip("0").rstrip(".") if "." in plain else plain).lstrip("-") or "0"
