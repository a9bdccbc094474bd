"""`worker`: one process for everything opened by time or by a fact."""

import asyncio
import contextlib
import signal
from collections.abc import Sequence

from instrument_registry import telemetry
from instrument_registry.database import DatabaseUnavailable
from instrument_registry.operations.caches import actions_of, caches_of
from instrument_registry.operations.orders import Orders
from instrument_registry.processes.control import Supervised
from instrument_registry.processes.master_keys import require_master_keys
from instrument_registry.processes.opening import open_as_child
from instrument_registry.settings import Settings, traces_wanted
from instrument_registry.wiring import close_registry
from instrument_registry.workers import WORKERS
from instrument_registry.workers.board import Board
from instrument_registry.workers.tending import tend_all


def run_background(settings: Settings, *, control: int | None = None, without_keys: Sequence[str] = ()) -> None:
    """Work until told to stop; Raises: NotRunning, DatabaseUnavailable, MasterKeyMissing."""
    telemetry.configure_logging(settings.log_format, level=settings.log_level)
    with telemetry.traces_sent(traces_wanted(), process="worker"):
        asyncio.run(_work(settings, control=control, without_keys=without_keys))


async def _work(settings: Settings, *, control: int | None, without_keys: Sequence[str]) -> None:
    supervisor = await Supervised.by(control) if control is not None else None
    if supervisor is not None and not await supervisor.told_to_go():
        return
    registry = await open_as_child(settings, supervisor, application="instrument-registry worker")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        if supervisor is None:
            await require_master_keys(registry, given_up=without_keys)
        board = Board(registry.clock)
        registry.configuration.read_beside(board.hear)
        registry.configuration.read_beside(Orders(actions_of(caches_of(registry.catalogue))).follow)
        workers = {**WORKERS, "board": board.keep}
        tasks = {asyncio.create_task(stop.wait()), asyncio.create_task(tend_all(registry, workers, board=board))}
        if supervisor is not None:
            tasks.add(asyncio.create_task(_under(supervisor)))
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        await asyncio.wait(tasks)
        with contextlib.suppress(DatabaseUnavailable):
            await board.leave(registry)
        for task in done:
            task.result()
    finally:
        await close_registry(registry)


async def _under(supervisor: Supervised) -> None:
    telemetry.gather.through(supervisor.gather)
    await supervisor.ready()
    await supervisor.serve_until_closed()
