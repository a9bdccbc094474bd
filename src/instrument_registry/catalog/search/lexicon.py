"""The words of the market: kinds of contracts, months, venues, series and nearness."""

import re
from datetime import date
from enum import StrEnum, auto
from functools import lru_cache
from typing import NamedTuple

from instrument_registry.catalog.model import VENUES, Kind

MONTHS: dict[str, int] = {
    month: number
    for number, forms in enumerate(
        (
            "JAN JANUARY", "FEB FEBRUARY", "MAR MARCH", "APR APRIL", "MAY", "JUN JUNE", "JUL JULY",
            "AUG AUGUST", "SEP SEPT SEPTEMBER", "OCT OCTOBER", "NOV NOVEMBER", "DEC DECEMBER",
        ),
        start=1,
    )
    for month in forms.split()
}  # fmt: skip

FUTURE, CALL, PUT, OPTION = "F", "C", "P", "O"
CONTRACTS: dict[str, str] = {
    **dict.fromkeys(("FUT", "FUTS", "FUTURE", "FUTURES"), FUTURE),
    **dict.fromkeys(("CE", "CALL", "CALLS"), CALL),
    **dict.fromkeys(("PE", "PUT", "PUTS"), PUT),
    **dict.fromkeys(("OPT", "OPTS", "OPTION", "OPTIONS"), OPTION),
}
SHORT_CONTRACTS: dict[str, str] = {"F": FUTURE, "C": CALL, "P": PUT}  # only beside a number

KINDS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("INDEX", "IDX", "INDICES"), frozenset({Kind.INDEX})),
    **dict.fromkeys(("ETF", "ETFS"), frozenset({Kind.ETF})),
    **dict.fromkeys(("EQ", "EQUITY", "STOCK", "SHARE", "SHARES", "CASH"), frozenset({Kind.EQUITY, Kind.ETF})),
    **dict.fromkeys(("BOND", "BONDS"), frozenset({Kind.BOND, Kind.GSEC, Kind.SDL, Kind.SGB})),
    **dict.fromkeys(("NCD", "DEBENTURE"), frozenset({Kind.BOND})),
    **dict.fromkeys(("REIT", "REITS"), frozenset({Kind.REIT})),
    **dict.fromkeys(("INVIT", "INVITS"), frozenset({Kind.INVIT})),
    **dict.fromkeys(("WARRANT", "WARRANTS"), frozenset({Kind.WARRANT})),
    **dict.fromkeys(("PERP", "PERPETUAL", "SWAP"), frozenset({Kind.CRYPTO_PERPETUAL})),
    "SPOT": frozenset({Kind.SPOT_COMMODITY, Kind.SPOT_CURRENCY, Kind.CRYPTO_SPOT}),
    "SGB": frozenset({Kind.SGB}),
    "TBILL": frozenset({Kind.TBILL}),
    "SDL": frozenset({Kind.SDL}),
    "GSEC": frozenset({Kind.GSEC}),
}
NOISE = frozenset({"PRICE", "QUOTE", "LIVE", "CHART", "LTP", "CONTRACT", "CONTRACTS", "EXPIRY", "EXPIRING", "STRIKE"})

# An exchange named alone means all its venues; cash comes first in them anyway.
VENUE_WORDS: dict[str, frozenset[str]] = {venue: frozenset({venue}) for venue in VENUES}
for _exchange in ("NSE", "BSE"):
    VENUE_WORDS[_exchange] = frozenset(venue for venue, (_, exchange, _) in VENUES.items() if exchange == _exchange)
VENUE_WORDS |= {
    "FNO": frozenset({"NFO", "BFO"}), "F&O": frozenset({"NFO", "BFO"}), "BSX": VENUE_WORDS["BSE"],
    "GIFT": frozenset({"NSEIX", "GLOBAL"}),
}  # fmt: skip
CONTRACT_VENUES = frozenset({"NFO", "BFO", "CDS", "BCD", "MCX", "NCO", "NCDEX", "NSEIX"})

SERIES = re.compile(r"EQ|B[EZL]|S[MTZGF]|T[0B]|G[BSC]|N[0-9A-Z]|[YZ][0-9A-Z]|[WPED]\d|IV|RR|RE|MF|IL|INDEX")
CASH_SERIES = frozenset({"EQ", "BE", "BZ", "BL", "T0", "SM", "ST", "SZ"})
INTEGER = re.compile(r"\d{1,9}")
NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{2,3})+|\d{1,12})(?:\.\d{1,6})?|\.\d{1,6}")
THOUSANDS = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)K")
ORDINAL = re.compile(r"(\d{1,2})(?:ST|ND|RD|TH)")
ISO_DATE = re.compile(r"(20\d\d)-(\d\d)-(\d\d)")
DAY_FIRST_DATE = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](20\d\d|\d\d)")


class Sort(StrEnum):
    """What a word of a query can be."""

    NAME = auto()
    NUMBER = auto()
    MONTH = auto()
    DAY = auto()  # a day of the month said as such: 25th
    DATE = auto()
    CONTRACT = auto()
    KIND = auto()
    SERIES = auto()
    VENUE = auto()
    NOISE = auto()


class Word(NamedTuple):
    """One word of a query with the meaning it has by itself."""

    sort: Sort
    text: str
    number: float = 0.0

    @property
    def whole(self) -> int:
        """The number if it is a whole one written without a point, else -1."""
        return int(self.number) if INTEGER.fullmatch(self.text) else -1


@lru_cache(maxsize=4_096)  # the words of the market are few, those of traders repeat
def meaning(text: str) -> Word | None:
    """The meaning a word has by itself; None where it can only be part of a name."""
    if number := plain_number(text):
        return Word(Sort.NUMBER, text, number)
    if text in MONTHS:
        return Word(Sort.MONTH, text, MONTHS[text])
    if text in CONTRACTS:
        return Word(Sort.CONTRACT, CONTRACTS[text])
    if text in KINDS:
        return Word(Sort.KIND, text)
    if text in VENUE_WORDS:
        return Word(Sort.VENUE, text)
    if text in NOISE:
        return Word(Sort.NOISE, text)
    if match := ORDINAL.fullmatch(text):
        return Word(Sort.DAY, text, int(match[1]))
    if day := plain_date(text):
        return Word(Sort.DATE, day.isoformat(), day.toordinal())
    return None


def plain_number(text: str) -> float:
    """A positive number, 0 if the text is none: 24500, 24,500, 24.5K."""
    if NUMBER.fullmatch(text):
        return float(text.replace(",", ""))
    if match := THOUSANDS.fullmatch(text):
        return round(float(match[1]) * 1_000, 6)
    return 0.0


def plain_date(text: str) -> date | None:
    """A date written in figures, year first or day first."""
    if match := ISO_DATE.fullmatch(text):
        year, month, day = map(int, match.groups())
    elif match := DAY_FIRST_DATE.fullmatch(text):
        day, month, year = map(int, match.groups())
        year += 2_000 if year < 100 else 0
    else:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None
