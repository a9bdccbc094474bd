"""What a dump's file name tells: the market date written in it, and the feed it belongs to."""

import re
from datetime import date
from pathlib import PurePosixPath

from instrument_registry.errors import Invalid

PACKED_SUFFIXES = (".gz", ".gzip", ".zip")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
YEAR = r"(?P<year>(?:19|20)\d\d)"
MONTH = r"(?P<month>0[1-9]|1[0-2])"
MONTH_WORD = rf"(?P<month>{'|'.join(MONTHS)})[a-z]{{0,6}}"
DAY = r"(?P<day>0[1-9]|[12]\d|3[01])"
GAP = r"(?P<gap>[-_. ]?)"
CLOCK = r"(?:T\d{4,6}Z?)?"
DATES = [
    re.compile(rf"(?<!\d){form}{CLOCK}(?!\d)", re.IGNORECASE)
    for form in (
        rf"{YEAR}{GAP}{MONTH}(?P=gap){DAY}",
        rf"{DAY}{GAP}{MONTH}(?P=gap){YEAR}",
        rf"{DAY}{GAP}{MONTH_WORD}(?P=gap){YEAR}",
        rf"{YEAR}{GAP}{MONTH_WORD}(?P=gap){DAY}",
    )
]
MONTH_ONLY = re.compile(rf"(?<!\d){YEAR}-{MONTH}(?![-\d])")
COPY = re.compile(r" ?\(\d{1,3}\)(?=\.[a-z]|$)", re.IGNORECASE)  # what a browser adds to a second download


class DateAmbiguous(Invalid):
    """A file name carries two different dates."""

    title = "The file name has more than one date"


def date_in_name(name: str) -> date | None:
    """The day written in a file name, whichever way round; None without one.

    Raises: DateAmbiguous when two different days are written.
    """
    days = {day for _, _, day in _dates(name)}
    if len(days) > 1:
        raise DateAmbiguous(
            f"{name} names {len(days)} dates; say which one is meant",
            file=name,
            dates=sorted(day.isoformat() for day in days),
        )
    return days.pop() if days else None


def feed_of(name: str) -> str:
    """What a file is called every day: its name with the date, the packing and a browser's copy number taken out."""
    text = COPY.sub("", unpacked_name(name))
    for start, end, _ in sorted(_dates(text), reverse=True):
        text = f"{text[:start]}*{text[end:]}"
    return MONTH_ONLY.sub("*", text)


def unpacked_name(name: str) -> str:
    """The name without `.gz` or `.zip`."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in PACKED_SUFFIXES else name


def _dates(text: str) -> list[tuple[int, int, date]]:
    """Where dates stand; of forms that overlap, the first in the list counts: 20260817 is read year first."""
    found: list[tuple[int, int, date]] = []
    for form in DATES:
        for match in form.finditer(text):
            day = _day(match)
            if day is not None and all(match.end() <= start or end <= match.start() for start, end, _ in found):
                found.append((match.start(), match.end(), day))
    return found


def _day(match: re.Match[str]) -> date | None:
    month = match["month"].lower()
    try:
        return date(
            int(match["year"]), MONTHS.index(month[:3]) + 1 if month.isalpha() else int(month), int(match["day"])
        )
    except ValueError:
        return None  # 2026-02-30 is digits, not a day
