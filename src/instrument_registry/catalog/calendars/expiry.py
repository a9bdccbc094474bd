"""The instant at which a contract ends, and the date it is at a market."""

from datetime import date, datetime, time

from instrument_registry.catalog.calendars.files import Market, calendars, markets, product_closes
from instrument_registry.catalog.calendars.model import Calendar, CalendarUnknown, close_with_new_york
from instrument_registry.clock import MARKET_ZONE


def calendar_of(venue: str) -> Calendar:
    """The calendar of a venue such as NSE, NFO or MCX.

    Raises: CalendarUnknown when none is kept.
    """
    try:
        return calendars()[venue]
    except KeyError as error:
        raise CalendarUnknown(f"No calendar is kept for {venue}", venue=venue) from error


def market_today(now: datetime, venue: str | None = None) -> date:
    """The date it is at a venue; in India when no venue is given or it has no hours of its own."""
    market = markets().get(venue) if venue else None
    return now.astimezone(market.zone if market else MARKET_ZONE).date()


def expiry_instant(venue: str, underlying: str, day: date) -> datetime:
    """When a contract that expires on a day ends, in the market's own zone.

    The day is the dump's fact and is believed even where the calendar is silent or says closed; a shortened session
    ends its contracts early.

    Raises: CalendarUnknown when the venue's hours are not known.
    """
    market = markets().get(venue)
    if market is None:
        raise CalendarUnknown(f"No hours are kept for {venue}", venue=venue)
    usual = product_closes().get((venue, underlying)) or _usual_end(market, day)
    return datetime.combine(day, min(usual, _session_end(venue, day)), market.zone)


def _usual_end(market: Market, day: date) -> time:
    if market.with_new_york:
        return close_with_new_york(day)
    if market.expires is None:
        raise CalendarUnknown(f"When contracts of {market.venue} end is not known", venue=market.venue)
    return market.expires


def _session_end(venue: str, day: date) -> time:
    calendar = calendars().get(venue)
    if calendar is None or not calendar.known_from <= day <= calendar.known_until:
        return time.max
    session = calendar.session(day)
    return session.spells[-1].closes if session and session.spells else time.max
