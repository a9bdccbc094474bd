"""The audit's sealer as a background worker."""

from instrument_registry.events.audit import sealer
from instrument_registry.events.audit.outside import Outside
from instrument_registry.wiring import Registry


async def seal_audit(registry: Registry) -> None:
    """Put audit records into the tree and sign it, for ever; of several workers one does, the others wait."""
    await sealer.run(registry.database, Outside(registry.settings.data_dir), clock=registry.clock)
