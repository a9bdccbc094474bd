"""Which publisher a stored file belongs to, how its market date is known, and whether it is read at all."""

import csv
import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import PurePath

MONTH = re.compile(r"(?<!\d)(20\d{2})-(\d{2})(?![-\d])")


class DateFrom(StrEnum):
    """Where the market date of a file is found."""

    NAME = "name"  # a day in its name
    MONTH = "month"  # only a month in its name: known by the last day of it
    OVERRIDE = "override"  # the name misleads; the day was read from the rows, once, by a person
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """What is known of every file whose path ends in `pattern`."""

    pattern: str
    broker: str | None
    date_from: DateFrom
    date_override: date | None
    in_scope: bool
    reason: str | None  # why it is not read, or why its date is not the one in its name


def match(path: str | PurePath) -> ManifestRow | None:
    """The first row whose pattern the path ends in; None for a file nobody has judged yet."""
    return next((row for row in rows() if PurePath(path).match(row.pattern)), None)


def market_date(path: str | PurePath, row: ManifestRow) -> date | None:
    """The day the rows of a file describe, None where it is the one in the name or nobody has said."""
    return month_end_in(PurePath(path).name) if row.date_from is DateFrom.MONTH else row.date_override


def month_end_in(name: str) -> date | None:
    """The last day of the first month written in a file name."""
    for found in MONTH.finditer(name):
        year, month = map(int, found.groups())
        if 1 <= month <= 12:
            return date(year, month, monthrange(year, month)[1])
    return None


@cache
def rows() -> tuple[ManifestRow, ...]:
    """Every row in order: what is said of one file stands before what is said of its family."""
    text = resources.files(__package__).joinpath("manifest.csv").read_text(encoding="utf-8")
    return tuple(
        ManifestRow(
            pattern=row["pattern"],
            broker=row["broker"] or None,
            date_from=DateFrom(row["date_from"]),
            date_override=date.fromisoformat(row["date_override"]) if row["date_override"] else None,
            in_scope=row["in_scope"] == "yes",
            reason=row["reason"] or None,
        )
        for row in csv.DictReader(text.splitlines())
    )
