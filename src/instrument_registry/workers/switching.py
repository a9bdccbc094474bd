"""Background work that operators turn off and on: stopped where it is safe to stop, resumed where it was."""

import asyncio
from functools import partial

import structlog

from instrument_registry.configuration.toggles import Toggle
from instrument_registry.wiring import Registry
from instrument_registry.workers.kind import Worker
from instrument_registry.workers.turns import current

log = structlog.get_logger("worker")


def while_on(toggle: Toggle, work: Worker) -> Worker:
    """A worker that works while its feature is on for everybody or for some, and waits while it is off."""
    return partial(_switched, toggle=toggle, work=work)


async def _switched(registry: Registry, *, toggle: Toggle, work: Worker) -> None:
    configuration = registry.configuration
    while True:
        while not configuration.now[toggle.enabled]:
            current().off(toggle.name)
            await configuration.changed()
        current().at_work()
        working = asyncio.ensure_future(work(registry))
        try:
            while configuration.now[toggle.enabled]:
                changed = asyncio.ensure_future(configuration.changed())
                await asyncio.wait({working, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if working.done():
                    return working.result()
        finally:
            working.cancel()
            await asyncio.wait({working})
        log.warning("worker.turned_off", toggle=toggle.name)
