"""The deliverer of webhooks as a background worker."""

from instrument_registry.events.webhooks import delivering
from instrument_registry.events.webhooks.addresses import guard_of
from instrument_registry.sealing import sealer_of
from instrument_registry.wiring import Registry


async def deliver(registry: Registry) -> None:
    """Hand events to webhook endpoints for ever; of several workers one does, the others wait."""
    settings = registry.settings
    await delivering.run(
        registry.database,
        sealer=sealer_of(settings),
        guard=guard_of(settings.webhook_networks),
        clock=registry.clock,
    )
