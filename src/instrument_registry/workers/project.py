"""Projections as background workers."""

from instrument_registry.events.projections import PROJECTIONS
from instrument_registry.events.projections.service import keep_up
from instrument_registry.wiring import Registry


async def project_daily_facts(registry: Registry) -> None:
    """Count facts day by day, for ever."""
    await keep_up(registry.database, PROJECTIONS["daily_facts"])
