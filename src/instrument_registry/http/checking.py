"""What the checks of health find, as numbers: looked at by every worker itself, whoever else asks."""

import asyncio

from prometheus_client import Gauge

from instrument_registry.http.health import NOTED, READY, Verdict, run_check
from instrument_registry.wiring import Registry

EVERY_SECONDS = 15.0
CHECKED = Gauge(
    "instrument_registry_health_check",
    "1 when a check passed, 0 when it failed or could not tell; requests wait for those that gate",
    ["check", "gates"],
)


async def keep_checking(registry: Registry, *, every_seconds: float = EVERY_SECONDS) -> None:
    """Run every check every few seconds, for ever."""
    while True:
        await asyncio.sleep(every_seconds)
        await check_once(registry)


async def check_once(registry: Registry) -> None:
    """Run every check once, one after another: nobody waits for it."""
    for name in (*READY, *NOTED):
        report = await run_check(name, registry)
        CHECKED.labels(name, "yes" if name in READY else "no").set(report.verdict is Verdict.PASSED)
