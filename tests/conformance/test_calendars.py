"""Our calendars against two public libraries and against the expiries of real dumps; every difference is named."""

import csv
import io
import json
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from dumps import dump
from instrument_registry.catalog.calendars import calendar_of
from instrument_registry.clock import MARKET_ZONE

FIRST, LAST = date(2024, 1, 1), date(2026, 12, 31)

# Sessions we have and the library has not, with the reason; what it has and we have not is listed the same way.
WEEKENDS = {
    date(2024, 1, 20): "special Saturday before the holiday of 22 January",
    date(2024, 3, 2): "special Saturday from the disaster recovery site",
    date(2024, 5, 18): "special Saturday from the disaster recovery site",
    date(2025, 2, 1): "Union Budget on a Saturday",
    date(2026, 2, 1): "Union Budget on a Sunday",
    date(2026, 11, 8): "Diwali Muhurat on a Sunday",
}
MUHURAT = {
    date(2024, 11, 1): "Diwali Muhurat: an hour in the evening",
    date(2025, 10, 21): "Diwali Muhurat: an hour in the afternoon",
}


def ours(venue: str) -> set[date]:
    return {session.date for session in calendar_of(venue).sessions_between(FIRST, LAST)}


@pytest.mark.parametrize("venue", ["NSE", "NFO", "BSE", "BFO"])
class TestAgainstLibraries:
    def test_exchange_calendars_lacks_only_weekends_and_muhurat(self, venue: str) -> None:
        exchange_calendars = pytest.importorskip("exchange_calendars")
        bombay = exchange_calendars.get_calendar("XBOM", start="2023-12-01", end=LAST.isoformat())
        theirs = {session.date() for session in bombay.sessions_in_range(FIRST.isoformat(), LAST.isoformat())}

        assert theirs - ours(venue) == set()
        assert ours(venue) - theirs == WEEKENDS.keys() | MUHURAT.keys()

    @pytest.mark.parametrize(("name", "lacks"), [("NSE", set[date]()), ("BSE", set(MUHURAT))])
    def test_pandas_market_calendars_lacks_weekends(self, venue: str, name: str, lacks: set[date]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            library = pytest.importorskip("pandas_market_calendars")
            days = library.get_calendar(name).valid_days(FIRST.isoformat(), LAST.isoformat())
        theirs = {day.date() for day in days}

        assert theirs - ours(venue) == set()
        assert ours(venue) - theirs == WEEKENDS.keys() | lacks


class TestAgainstPandasHours:
    def test_ordinary_days_and_muhurat_have_the_same_hours(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            library = pytest.importorskip("pandas_market_calendars")
            schedule = library.get_calendar("NSE").schedule(FIRST.isoformat(), LAST.isoformat(), tz="Asia/Kolkata")
        calendar = calendar_of("NSE")

        for day, opens, closes in zip(schedule.index, schedule.market_open, schedule.market_close, strict=True):
            session = calendar.session(day.date())
            assert session is not None
            assert (session.opens, session.closes) == (opens.to_pydatetime(), closes.to_pydatetime()), day

    def test_beyond_its_list_the_library_guesses_and_we_do_not(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            library = pytest.importorskip("pandas_market_calendars")
            days = library.get_calendar("NSE").valid_days("2027-01-01", "2027-12-31")

        assert date(2027, 1, 26) in {day.date() for day in days}  # Republic Day: never a session
        assert calendar_of("NSE").known_until < date(2027, 1, 1)


def dumped_expiries() -> Iterator[tuple[date, str, date]]:
    """(made on, venue, expiry) of two real dumps."""
    segments = {"NSE_FO": "NFO", "BSE_FO": "BFO", "NCD_FO": "CDS", "MCX_FO": "MCX"}
    rows = json.loads(dump("upstox/upstox_2026-08-18_complete.json.gz").content)
    for segment, epoch in {(row["segment"], row["expiry"]) for row in rows if row["segment"] in segments}:
        expiry = datetime.fromtimestamp(epoch / 1000, UTC).astimezone(MARKET_ZONE).date()
        yield date(2026, 8, 18), segments[segment], expiry
    nuvama = io.StringIO(dump("nuvama/nuvama_2025-02-14_instruments.csv.gz").content.decode())
    contracts = {(row["exchange"], row["expiry"]) for row in csv.DictReader(nuvama) if row["expiry"]}
    for exchange, text in contracts:
        if exchange in segments.values():
            yield date(2025, 2, 14), exchange, datetime.strptime(text, "%d/%b/%y").replace(tzinfo=UTC).date()


class TestAgainstDumps:
    def test_every_expiry_of_the_next_two_months_falls_on_a_session(self) -> None:
        near = [(venue, day) for made, venue, day in dumped_expiries() if timedelta() <= day - made < timedelta(60)]

        assert len(near) > 60
        assert [(venue, day) for venue, day in near if not calendar_of(venue).is_session(day)] == []
