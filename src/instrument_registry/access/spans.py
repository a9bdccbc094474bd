"""How long and until when, in the words people type: `24h`, `90d`, `2027-01-31`."""

import re
from datetime import UTC, datetime, timedelta

from instrument_registry.errors import Invalid

SPAN = re.compile(r"([0-9]{1,9})(s|m|h|d)")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class BadSpan(Invalid):
    """Write a number and s, m, h or d, or a date."""

    title = "This is no time"


def span_of(text: str) -> timedelta:
    """A number with its unit; Raises: BadSpan."""
    match = SPAN.fullmatch(text.strip())
    if match is None:
        raise BadSpan(f"{text[:50]!r} is no span of time; write it like 30m, 24h or 7d")
    return _span(text, match)


def end_of(text: str, *, at: datetime) -> datetime:
    """An instant: so long after now, or the beginning of a date in UTC, or an instant; Raises: BadSpan."""
    match = SPAN.fullmatch(text.strip())
    try:
        if match is not None:
            return at + _span(text, match)
        end = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        raise BadSpan(f"{text[:50]!r} is no end; write it like 90d, 2027-01-31 or 2027-01-31T18:00:00Z") from error
    return end if end.tzinfo is not None else end.replace(tzinfo=UTC)


def _span(text: str, match: re.Match[str]) -> timedelta:
    try:
        return timedelta(**{UNITS[match[2]]: int(match[1])})
    except OverflowError as error:
        raise BadSpan(f"{text[:50]!r} is longer than time lasts") from error
