"""The only module that asks the system what time it is."""

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

Clock = Callable[[], datetime]

MARKET_ZONE = ZoneInfo("Asia/Kolkata")


def now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)
