"""Work that changes the catalogue waits while the registry is read-only; what it had begun, it ends first."""

import structlog

from instrument_registry.configuration.parameters import MAINTENANCE
from instrument_registry.wiring import Registry
from instrument_registry.workers.turns import current

log = structlog.get_logger("worker")


async def outside_maintenance(registry: Registry) -> None:
    """Come back when the registry may be written to."""
    configuration = registry.configuration
    if not configuration.now[MAINTENANCE]:
        return
    current().paused()
    log.warning("worker.paused", work=current().state.name)
    while configuration.now[MAINTENANCE]:
        await configuration.changed()
    current().idle()
    log.warning("worker.resumed", work=current().state.name)
