"""The audit's sealer, and who tells a witness of its checkpoints, as background workers."""

from instrument_registry.events.audit import sealer, witness
from instrument_registry.events.audit.outside import Outside
from instrument_registry.events.webhooks.addresses import guard_of
from instrument_registry.wiring import Registry


async def seal_audit(registry: Registry) -> None:
    """Put audit records into the tree and sign it, for ever; of several workers one does, the others wait."""
    await sealer.run(registry.database, Outside(registry.settings.data_dir), clock=registry.clock)


async def tell_witness(registry: Registry) -> None:
    """Send checkpoints to the address of the settings, for ever; without one there is nothing to do."""
    url = registry.settings.audit_witness_url
    if url is not None:
        guard = guard_of(registry.settings.webhook_networks)
        await witness.run(registry.database, url.get_secret_value(), guard=guard, clock=registry.clock)
