"""What brokers' connections carry, as data."""

from instrument_registry.subscriptions.capacity.model import (
    Carries,
    Certainty,
    Figure,
    FrameLimits,
    Venue,
    connection_id,
)
from instrument_registry.subscriptions.capacity.standing import AccountStanding, Health, Standing
from instrument_registry.subscriptions.capacity.venues import VENUES, venue

__all__ = [
    "VENUES",
    "AccountStanding",
    "Carries",
    "Certainty",
    "Figure",
    "FrameLimits",
    "Health",
    "Standing",
    "Venue",
    "connection_id",
    "venue",
]
