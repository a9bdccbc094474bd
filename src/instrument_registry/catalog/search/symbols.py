"""The compact contract symbols that exchanges, brokers and we write."""

import re
from collections.abc import Callable, Iterator

from instrument_registry.catalog.search.dates import CENTURY, FIRST_YEAR, LAST_YEAR, MONTHLY
from instrument_registry.catalog.search.lexicon import CALL, FUTURE, MONTHS, PUT
from instrument_registry.catalog.search.reading import Reading

MONTH = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
STRIKE = r"(?P<strike>\d{1,9}(?:\.\d{1,6})?)"
SIDE = r"(?P<side>CE|PE|CALL|PUT)"
LETTER = r"(?P<side>[CP])"
YY, DD = r"(?P<year>\d\d)", r"(?P<day>\d\d)"
YEAR = r"(?P<year>20\d\d|\d\d)"
MMM = f"(?P<month>{MONTH})"
LETTER_MONTHS = {"O": 10, "N": 11, "D": 12}

# What may stand behind the name, tried in this order; the catalogue decides between two that fit.
TAILS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(tail)
    for tail in (
        rf"{YY}(?P<month>[1-9OND]){DD}{STRIKE}{SIDE}",  # NIFTY2690124500CE
        rf"{YY}(?P<month>[1-9OND]){DD}(?P<future>FUT)",  # USDINR25313FUT
        rf"{YY}{MMM}(?P<monthly>){STRIKE}{SIDE}",  # NIFTY26AUG24500CE
        rf"{YY}{MMM}(?P<monthly>)(?P<future>FUT)",  # NIFTY26AUGFUT
        rf"{DD}{MMM}{YEAR}{STRIKE}{SIDE}",  # NIFTY01SEP2624500CE
        rf"{DD}{MMM}{YEAR}{LETTER}{STRIKE}",  # NIFTY13FEB25C21100
        rf"{DD}{MMM}{YEAR}(?P<future>F|FUT)?",  # NIFTY27FEB25F, GOLD05OCT26
        rf"{MMM}(?P<year>20\d\d){STRIKE}{SIDE}",  # NIFTY-Feb2026-25000-CE
        rf"{MMM}(?P<year>20\d\d)(?P<future>FUT)",  # NIFTY-Feb2026-FUT
        rf"{DD}{MMM}{STRIKE}{SIDE}",  # NIFTY25AUG24500CE
        rf"{DD}{MMM}(?P<future>FUT)",
        rf"{STRIKE}{SIDE}{DD}{MMM}(?P<year>20\d\d|\d\d)?",  # NIFTY24500CE01SEP26
        rf"FUT{DD}{MMM}(?P<year>20\d\d|\d\d)(?P<future>)",  # NIFTYFUT25AUG26
        rf"{MMM}{STRIKE}{SIDE}",  # NIFTYAUG24500CE
        rf"{MMM}(?P<year>\d\d)?(?P<future>FUT)",  # NIFTYAUGFUT
        rf"{STRIKE}(?P<side>CE|PE|CALL|PUT|C|P)",  # NIFTY24500CE
        rf"(?P<side>CE|PE|C|P){STRIKE}",
        r"(?P<future>FUT|FUTURE)",  # NIFTYFUT
    )
)
SHORTEST_NAME, LONGEST = 2, 48
YEARS = frozenset({0, *range(CENTURY + FIRST_YEAR, CENTURY + LAST_YEAR + 1)})


def contract_readings(text: str, *, tradable: Callable[[str], bool]) -> Iterator[Reading]:
    """Every way to read a compact text as a contract symbol; `tradable` knows the names contracts are written on."""
    if len(text) > LONGEST:
        return
    for cut in range(len(text) - 1, SHORTEST_NAME - 1, -1):
        name, tail = text[:cut], text[cut:]
        if not tradable(name):
            continue
        for pattern in TAILS:
            if (match := pattern.fullmatch(tail)) and (reading := _reading(name, match)).year in YEARS:
                yield reading


def _reading(name: str, match: re.Match[str]) -> Reading:
    parts = match.groupdict()
    reading = Reading(words=(name,), contract=FUTURE)
    if parts.get("side"):
        side = CALL if parts["side"].startswith("C") else PUT
        reading = reading._replace(contract=side, strike=float(parts["strike"]))
    elif parts.get("future") is None:
        reading = reading._replace(contract="D")
    if month := parts.get("month"):
        number = MONTHS.get(month) or LETTER_MONTHS.get(month) or int(month)
        reading = reading._replace(month=number, day=int(parts.get("day") or 0))
    if year := parts.get("year"):
        reading = reading._replace(year=int(year) % 100 + CENTURY)
    return reading if parts.get("monthly") is None else reading._replace(cycle=MONTHLY)
