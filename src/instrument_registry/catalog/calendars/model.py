"""Sessions of a market: which days it trades and when, as far as its dated file reaches."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from instrument_registry.errors import NotFound

DAY = timedelta(days=1)
SATURDAY = 5
MIDDAY = time(12)
EVENING = time(17)
CLOSE_IN_NEW_YORK_SUMMER = time(23, 30)
CLOSE_IN_NEW_YORK_WINTER = time(23, 55)
NEW_YORK = ZoneInfo("America/New_York")


class CalendarUnknown(NotFound):
    """Whether or when a market trades on a day is not written in any file of ours."""

    title = "The market calendar does not say"


@dataclass(frozen=True, slots=True)
class Spell:
    """An uninterrupted stretch of trading, in the market's own time; `closes` is not part of it."""

    opens: time
    closes: time


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One trading day of one market."""

    venue: str
    date: date
    zone: ZoneInfo
    spells: tuple[Spell, ...]  # empty: the day trades, but its hours were told by a circular we do not have
    name: str = ""  # why it is not an ordinary day

    @property
    def opens(self) -> datetime:
        """When trading starts.

        Raises: CalendarUnknown when the hours of the day are not known.
        """
        return datetime.combine(self.date, self._known_spells()[0].opens, self.zone)

    @property
    def closes(self) -> datetime:
        """When trading ends for the day.

        Raises: CalendarUnknown when the hours of the day are not known.
        """
        return datetime.combine(self.date, self._known_spells()[-1].closes, self.zone)

    def is_open(self, at: datetime) -> bool:
        """Whether the market trades at an instant of this day, breaks excluded.

        Raises: CalendarUnknown when the hours of the day are not known.
        """
        return self.open_since(at) is not None

    def open_since(self, at: datetime) -> datetime | None:
        """When the trading began that goes on at an instant of this day; None outside hours and in breaks.

        Raises: CalendarUnknown when the hours of the day are not known.
        """
        local, spells = at.astimezone(self.zone), self._known_spells()
        began = next((spell.opens for spell in spells if spell.opens <= local.time() < spell.closes), None)
        return None if began is None or local.date() != self.date else datetime.combine(self.date, began, self.zone)

    def _known_spells(self) -> tuple[Spell, ...]:
        if not self.spells:
            raise CalendarUnknown(
                f"The hours of {self.venue} on {self.date} are not known", venue=self.venue, date=self.date.isoformat()
            )
        return self.spells


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """What the dated file says about one day: closed, or open at other hours than usual."""

    spells: tuple[Spell, ...] | None  # None: closed
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The trading days of one (MIC, segment) between two dates, both included; beyond them nothing is guessed."""

    venue: str
    mic: str
    segment: str
    zone: ZoneInfo
    known_from: date
    known_until: date
    opens: time
    closes: time | None  # None: with the markets of New York
    departures: Mapping[date, Departure]

    def session(self, day: date) -> Session | None:
        """The session of a day, None when the market stays closed.

        Raises: CalendarUnknown outside the dates the file covers.
        """
        if not self.known_from <= day <= self.known_until:
            raise CalendarUnknown(
                f"The calendar of {self.venue} is known from {self.known_from} to {self.known_until}, not on {day}",
                venue=self.venue,
                date=day.isoformat(),
                known_from=self.known_from.isoformat(),
                known_until=self.known_until.isoformat(),
            )
        departure = self.departures.get(day)
        if departure is None:
            return None if day.weekday() >= SATURDAY else self._session(day, self.usual_spells(day))
        if departure.spells is None:
            return None
        return self._session(day, departure.spells, name=departure.name)

    def is_session(self, day: date) -> bool:
        """Whether the market trades on a day.

        Raises: CalendarUnknown outside the dates the file covers.
        """
        return self.session(day) is not None

    def sessions_between(self, first: date, last: date) -> list[Session]:
        """The sessions from `first` to `last`, both included, in order.

        Raises: CalendarUnknown when the range reaches outside the dates the file covers.
        """
        days = (first + DAY * offset for offset in range((last - first).days + 1))
        return [session for session in map(self.session, days) if session is not None]

    def sessions_apart(self, one: date, other: date) -> int:
        """How many sessions lie after the earlier day up to and including the later: 1 from one session to the next.

        Raises: CalendarUnknown when the range reaches outside the dates the file covers.
        """
        earlier, later = sorted((one, other))
        return len(self.sessions_between(earlier + DAY, later))

    def previous_session(self, day: date) -> Session:
        """The last session before a day.

        Raises: CalendarUnknown when the file begins later.
        """
        return self.last_session(day - DAY)

    def last_session(self, day: date) -> Session:
        """The session of a day or, when the market is closed, the last before it.

        Raises: CalendarUnknown when the file does not reach so far.
        """
        while (session := self.session(day)) is None:  # ends: the file is finite
            day -= DAY
        return session

    def next_session(self, day: date) -> Session:
        """The first session after a day.

        Raises: CalendarUnknown when the file ends before it.
        """
        day += DAY
        while (session := self.session(day)) is None:  # ends: the file is finite
            day += DAY
        return session

    def usual_spells(self, day: date) -> tuple[Spell, ...]:
        """The hours of an ordinary session, whether or not the day is one."""
        return (Spell(self.opens, self.closes or close_with_new_york(day)),)

    def _session(self, day: date, spells: tuple[Spell, ...], *, name: str = "") -> Session:
        return Session(venue=self.venue, date=day, zone=self.zone, spells=spells, name=name)


def close_with_new_york(day: date) -> time:
    """When Indian commodity markets end: 23:30 while New York has summer time, else 23:55."""
    summer = datetime.combine(day, MIDDAY, NEW_YORK).dst()
    return CLOSE_IN_NEW_YORK_SUMMER if summer else CLOSE_IN_NEW_YORK_WINTER
