"""What is derived from facts and kept in tables: each has a position, and is built anew beside itself."""

from instrument_registry.events.projections import daily
from instrument_registry.events.projections.model import Projection

PROJECTIONS: dict[str, Projection] = {one.name: one for one in (daily.DAILY_FACTS,)}
