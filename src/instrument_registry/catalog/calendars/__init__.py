"""Market calendars: the days each market trades, its hours, and when contracts end."""

from instrument_registry.catalog.calendars.expiry import calendar_of, expiry_instant, market_today
from instrument_registry.catalog.calendars.model import Calendar, CalendarUnknown, Session, Spell

__all__ = [
    "Calendar",
    "CalendarUnknown",
    "Session",
    "Spell",
    "calendar_of",
    "expiry_instant",
    "market_today",
]
