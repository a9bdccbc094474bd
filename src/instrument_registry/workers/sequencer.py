"""The sequencer as a background worker."""

from instrument_registry.events import sequencer
from instrument_registry.wiring import Registry


async def sequence(registry: Registry) -> None:
    """Give events their positions for ever; of several workers one does, the others wait."""
    await sequencer.run(registry.database)
