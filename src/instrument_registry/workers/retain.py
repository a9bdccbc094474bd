"""Retention as a background worker."""

import structlog

from instrument_registry.events import Metadata
from instrument_registry.operations.retention import service
from instrument_registry.operations.retention.service import AlreadyApplied
from instrument_registry.wiring import Registry
from instrument_registry.workers.expire import seconds_to_midnight
from instrument_registry.workers.turns import turns

# At night, when dumps are neither published nor read.
AFTER_MIDNIGHT_SECONDS = 2 * 3600
FIRST_AFTER_SECONDS = 60.0

log = structlog.get_logger("retention")


async def retain_daily(registry: Registry) -> None:
    """Let go of what has been kept long enough, a minute after the start and every night, for ever."""

    def till_the_night() -> float:
        return seconds_to_midnight(registry.clock()) + AFTER_MIDNIGHT_SECONDS

    async for _ in turns(till_the_night, first_after_seconds=FIRST_AFTER_SECONDS):
        now = registry.clock()
        metadata = Metadata(actor="system", correlation_id=f"retention-{now:%Y-%m-%d}", source="retention")
        try:
            async for step in service.apply(
                registry.database, registry.settings.data_dir, metadata=metadata, clock=registry.clock
            ):
                if step.done and step.rows:
                    log.info("retention.applied", kind=step.kind.value, what=step.what, rows=step.rows)
                elif step.reasons_to_keep:
                    log.warning("retention.stays", what=step.what, reasons=list(step.reasons_to_keep))
        except AlreadyApplied:
            log.info("retention.by_another")
