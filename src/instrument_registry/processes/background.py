"""`worker`: one process for everything opened by time or by a fact."""

import asyncio
import signal

from instrument_registry import telemetry
from instrument_registry.processes.control import Supervised
from instrument_registry.processes.runfile import service_database_url
from instrument_registry.settings import Settings
from instrument_registry.wiring import close_registry, open_registry
from instrument_registry.workers import WORKERS
from instrument_registry.workers.tending import tend_all


def run_background(settings: Settings, *, control: int | None = None) -> None:
    """Work until told to stop; Raises: NotRunning, DatabaseUnavailable."""
    telemetry.configure_logging(settings.log_format, level=settings.log_level)
    asyncio.run(_work(settings, control=control))


async def _work(settings: Settings, *, control: int | None) -> None:
    supervisor = await Supervised.by(control) if control is not None else None
    if supervisor is not None and not await supervisor.told_to_go():
        return
    registry = await open_registry(
        settings, database_url=service_database_url(settings), application="instrument-registry worker"
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        tasks = {asyncio.create_task(stop.wait()), asyncio.create_task(tend_all(registry, WORKERS))}
        if supervisor is not None:
            tasks.add(asyncio.create_task(_under(supervisor)))
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        await asyncio.wait(tasks)
        for task in done:
            task.result()
    finally:
        await close_registry(registry)


async def _under(supervisor: Supervised) -> None:
    telemetry.gather.through(supervisor.gather)
    await supervisor.ready()
    await supervisor.serve_until_closed()
