"""The days on which contracts of the demo universe end, laid on the real calendars as far as these reach."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import count, islice
from typing import Final

from instrument_registry.catalog.calendars import CalendarUnknown, calendar_of

DAY: Final = timedelta(days=1)
WEEK: Final = timedelta(weeks=1)
SATURDAY: Final = 5
LAST_DAY: Final = 31
QUARTER_MONTHS: Final = (3, 6, 9, 12)

Month = tuple[int, int]


def trades(venue: str, day: date) -> bool:
    """Whether a venue trades; past the end of its calendar the demo, which is fiction anyway, takes weekdays."""
    try:
        return calendar_of(venue).is_session(day)
    except CalendarUnknown:
        return day.weekday() < SATURDAY


def session_until(venue: str, day: date) -> date:
    """The day itself or, when the market is closed, the session before it."""
    while not trades(venue, day):
        day -= DAY
    return day


def session_before(venue: str, day: date) -> date:
    """The session before a day."""
    return session_until(venue, day - DAY)


def weekly(venue: str, weekday: int, start: date, wanted: int) -> list[date]:
    """The next expiries on a weekday, moved back where it is a holiday."""
    first = start + DAY * ((weekday - start.weekday()) % 7)
    days = (session_until(venue, first + WEEK * week) for week in count())
    return list(islice((day for day in days if day >= start), wanted))


def monthly(venue: str, weekday: int, start: date, wanted: int) -> list[date]:
    """The next expiries on the last such weekday of a month."""
    return _from_months(lambda month: session_until(venue, _last_weekday(month, weekday)), start, wanted)


def quarterly(venue: str, weekday: int, start: date, wanted: int) -> list[date]:
    """The next monthly expiries of the months that end a quarter."""
    months = monthly(venue, weekday, start, 3 * wanted + 2)
    return [day for day in months if day.month in QUARTER_MONTHS][:wanted]


def currency(venue: str, start: date, wanted: int) -> list[date]:
    """The next expiries two sessions before the last of a month."""

    def day(month: Month) -> date:
        last = session_until(venue, _day_of(month, LAST_DAY))
        return session_before(venue, session_before(venue, last))

    return _from_months(day, start, wanted)


def on_day(venue: str, day_of_month: int, start: date, wanted: int) -> list[date]:
    """The next expiries on a day of the month or, in a shorter one, its last; moved back where it is a holiday."""
    return _from_months(lambda month: session_until(venue, _day_of(month, day_of_month)), start, wanted)


def _from_months(day_in: Callable[[Month], date], start: date, wanted: int) -> list[date]:
    days = (day_in(month) for month in _months(start))
    return list(islice((day for day in days if day >= start), wanted))


def _months(start: date) -> Iterator[Month]:
    year, month = start.year, start.month
    while True:
        yield year, month
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)


def _day_of(month: Month, day: int) -> date:
    following = date(month[0] + month[1] // 12, month[1] % 12 + 1, 1)
    return min(date(*month, 1) + DAY * (day - 1), following - DAY)


def _last_weekday(month: Month, weekday: int) -> date:
    last = _day_of(month, LAST_DAY)
    return last - DAY * ((last.weekday() - weekday) % 7)
