"""Market calendars: sessions, hours, expiry instants; and the refusal to guess."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument_registry.catalog.calendars import CalendarUnknown, Spell, calendar_of, expiry_instant, market_today
from instrument_registry.catalog.calendars.files import calendars, markets
from instrument_registry.catalog.model import VENUES

KOLKATA = ZoneInfo("Asia/Kolkata")
KNOWN = ("NSE", "NFO", "CDS", "BSE", "BFO", "BCD", "MCX")


def at(day: str, clock: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time.fromisoformat(clock), KOLKATA)


class TestSession:
    def test_of_an_ordinary_day_has_the_hours_of_its_segment(self) -> None:
        hours = {
            venue: [(spell.opens.isoformat("minutes"), spell.closes.isoformat("minutes")) for spell in session.spells]
            for venue in KNOWN
            if (session := calendar_of(venue).session(date(2026, 8, 18)))
        }

        assert hours == {
            **{venue: [("09:15", "15:30")] for venue in ("NSE", "NFO", "BSE", "BFO")},
            **{venue: [("09:00", "17:00")] for venue in ("CDS", "BCD")},
            "MCX": [("09:00", "23:30")],
        }

    @pytest.mark.parametrize(
        ("venue", "day"),
        [
            ("NSE", "2026-08-15"),  # Saturday and Independence Day
            ("NSE", "2026-08-22"),  # Saturday
            ("NFO", "2026-11-24"),
            ("CDS", "2026-08-26"),
            ("MCX", "2026-10-02"),
        ],
    )
    def test_of_a_closed_day_is_none(self, venue: str, day: str) -> None:
        assert calendar_of(venue).session(date.fromisoformat(day)) is None

    def test_on_a_currency_holiday_shares_still_trade(self) -> None:
        day = date(2026, 2, 19)

        assert calendar_of("NSE").is_session(day)
        assert not calendar_of("CDS").is_session(day)

    @pytest.mark.parametrize("day", [date(2024, 1, 20), date(2025, 2, 1), date(2026, 2, 1)])
    def test_on_a_special_weekend_is_a_full_day(self, day: date) -> None:
        session = calendar_of("NSE").session(day)

        assert session is not None
        assert day.weekday() >= 5
        assert session.spells == (Spell(time(9, 15), time(15, 30)),)
        assert session.name

    def test_with_a_break_knows_it(self) -> None:
        session = calendar_of("NFO").session(date(2024, 3, 2))

        assert session is not None
        clocks = ("09:15", "10:00", "11:00", "12:29", "12:30")
        assert [session.is_open(at("2024-03-02", clock)) for clock in clocks] == [True, False, False, True, False]
        assert (session.opens, session.closes) == (at("2024-03-02", "09:15"), at("2024-03-02", "12:30"))

    def test_of_muhurat_lasts_an_hour(self) -> None:
        session = calendar_of("BSE").session(date(2025, 10, 21))

        assert session is not None
        assert session.closes - session.opens == timedelta(hours=1)
        assert "Muhurat" in session.name

    def test_whose_hours_were_never_told_does_not_guess_them(self) -> None:
        session = calendar_of("NSE").session(date(2026, 11, 8))

        assert session is not None
        with pytest.raises(CalendarUnknown):
            _ = session.closes

    @pytest.mark.parametrize(
        ("day", "spells"),
        [
            ("2026-03-03", [(time(17), time(23, 55))]),  # Holi: the morning is closed; winter in New York until 8 March
            ("2026-03-31", [(time(17), time(23, 30))]),
            ("2026-01-01", [(time(9), time(17))]),  # New Year: the evening is closed
            ("2026-02-01", [(time(9), time(17))]),
            ("2026-03-06", [(time(9), time(23, 55))]),
            ("2026-03-09", [(time(9), time(23, 30))]),
            ("2026-10-30", [(time(9), time(23, 30))]),
            ("2026-11-02", [(time(9), time(23, 55))]),
        ],
    )
    def test_of_commodities_has_mornings_evenings_and_new_york_hours(
        self, day: str, spells: list[tuple[time, time]]
    ) -> None:
        session = calendar_of("MCX").session(date.fromisoformat(day))

        assert session is not None
        assert session.spells == tuple(Spell(*spell) for spell in spells)


class TestUnknown:
    @pytest.mark.parametrize("venue", KNOWN)
    def test_before_and_beyond_the_file_is_said_not_guessed(self, venue: str) -> None:
        calendar = calendar_of(venue)

        for day in (calendar.known_from - timedelta(days=1), calendar.known_until + timedelta(days=1)):
            with pytest.raises(CalendarUnknown) as refusal:
                calendar.session(day)
            assert refusal.value.facts["known_until"] == calendar.known_until.isoformat()

    def test_beyond_the_file_no_walk_gets_through(self) -> None:
        calendar = calendar_of("NSE")

        with pytest.raises(CalendarUnknown):
            calendar.next_session(calendar.known_until)
        with pytest.raises(CalendarUnknown):
            calendar.previous_session(calendar.known_from)
        with pytest.raises(CalendarUnknown):
            calendar.sessions_between(date(2026, 12, 1), date(2027, 1, 1))

    @pytest.mark.parametrize("venue", ["NCO", "NCDEX", "NSEIX", "GLOBAL", "BYBIT", "NYSE"])
    def test_a_venue_without_a_file_has_no_calendar(self, venue: str) -> None:
        with pytest.raises(CalendarUnknown):
            calendar_of(venue)


class TestWalking:
    def test_the_session_before_a_long_weekend_is_the_friday(self) -> None:
        assert calendar_of("NSE").previous_session(date(2026, 1, 27)).date == date(2026, 1, 23)
        assert calendar_of("NSE").next_session(date(2026, 1, 23)).date == date(2026, 1, 27)

    def test_the_last_session_of_a_session_is_itself(self) -> None:
        calendar = calendar_of("NSE")

        assert calendar.last_session(date(2026, 11, 20)).date == date(2026, 11, 20)
        assert calendar.last_session(date(2026, 11, 22)).date == date(2026, 11, 20)

    def test_distance_counts_sessions_not_days(self) -> None:
        calendar = calendar_of("NFO")

        assert calendar.sessions_apart(date(2026, 1, 23), date(2026, 1, 27)) == 1
        assert calendar.sessions_apart(date(2026, 8, 17), date(2026, 8, 10)) == 5
        assert calendar.sessions_apart(date(2026, 8, 17), date(2026, 8, 17)) == 0

    def test_a_year_has_the_sessions_the_exchange_held(self) -> None:
        sessions = calendar_of("NSE").sessions_between(date(2025, 1, 1), date(2025, 12, 31))

        assert len(sessions) == 261 - 14 + 1 + 1  # weekdays, less holidays with Diwali, with Muhurat and the budget

    @given(
        venue=st.sampled_from(KNOWN),
        day=st.dates(date(2024, 2, 1), date(2026, 11, 30)),
    )
    def test_next_undoes_previous(self, venue: str, day: date) -> None:
        calendar = calendar_of(venue)

        assert calendar.next_session(calendar.previous_session(day).date).date >= day
        assert calendar.previous_session(day).date < day < calendar.next_session(day).date


class TestExpiryInstant:
    @pytest.mark.parametrize(
        ("venue", "underlying", "day", "clock"),
        [
            ("NFO", "NIFTY", "2026-09-01", "15:30"),
            ("BFO", "SENSEX", "2026-08-27", "15:30"),
            ("CDS", "USDINR", "2026-08-27", "12:30"),
            ("BCD", "USDINR", "2026-08-27", "12:30"),
            ("MCX", "CRUDEOIL", "2026-08-19", "23:30"),
            ("MCX", "CRUDEOIL", "2026-12-18", "23:55"),
            ("MCX", "COTTON", "2026-08-31", "21:00"),
            ("MCX", "KAPAS", "2026-11-30", "21:00"),
            ("MCX", "MENTHAOIL", "2026-08-31", "17:00"),
            ("NCO", "GOLD", "2026-10-05", "23:30"),
            ("NCDEX", "GUARSEED10", "2025-06-20", "17:00"),
            ("NFO", "NIFTY", "2029-12-24", "15:30"),  # beyond every calendar: the dump's date, the usual hour
            ("NFO", "NIFTY", "2026-11-24", "15:30"),  # closed by our file: the dump is believed
            ("MCX", "NATURALGAS", "2026-11-24", "23:55"),  # the morning is closed, the evening is not
            ("MCX", "GOLD", "2026-01-01", "17:00"),  # the evening is closed
            ("NFO", "NIFTY", "2026-11-08", "15:30"),  # hours never told
        ],
    )
    def test_is_the_end_of_the_contract_in_its_own_zone(
        self, venue: str, underlying: str, day: str, clock: str
    ) -> None:
        instant = expiry_instant(venue, underlying, date.fromisoformat(day))

        assert instant == at(day, clock)
        assert instant.tzinfo == KOLKATA

    def test_of_a_crypto_future_is_eight_in_utc(self) -> None:
        assert expiry_instant("BYBIT", "BTC", date(2026, 9, 25)) == datetime(2026, 9, 25, 8, tzinfo=UTC)

    @pytest.mark.parametrize("venue", ["GLOBAL", "NSEIX", "NYSE"])
    def test_of_a_venue_without_hours_is_unknown(self, venue: str) -> None:
        with pytest.raises(CalendarUnknown):
            expiry_instant(venue, "NIFTY", date(2026, 9, 25))


class TestMarketToday:
    def test_is_the_date_in_the_zone_of_the_exchange(self) -> None:
        late = datetime(2026, 8, 17, 19, 0, tzinfo=UTC)  # 00:30 in India

        assert market_today(late, "NSE") == date(2026, 8, 18)
        assert market_today(late) == date(2026, 8, 18)
        assert market_today(late, "NYSE") == date(2026, 8, 18)
        assert market_today(late, "BYBIT") == date(2026, 8, 17)


class TestFiles:
    def test_every_venue_of_the_model_has_a_row_that_agrees(self) -> None:
        assert {venue: (market.mic or None, market.segment) for venue, market in markets().items()} == {
            venue: (mic, segment) for venue, (mic, _, segment) in VENUES.items()
        }

    @pytest.mark.parametrize("venue", KNOWN)
    def test_every_departure_lies_in_the_known_range_and_says_something_new(self, venue: str) -> None:
        calendar = calendars()[venue]

        for day, departure in calendar.departures.items():
            assert calendar.known_from <= day <= calendar.known_until
            assert departure.name
            if departure.spells is None:
                assert day.weekday() < 5, day
            else:
                assert day.weekday() >= 5 or departure.spells != calendar.usual_spells(day)
                clocks = [clock for spell in departure.spells for clock in (spell.opens, spell.closes)]
                assert clocks == sorted(set(clocks)), day
