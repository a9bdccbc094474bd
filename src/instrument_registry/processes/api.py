"""`api`: one process that answers HTTP, alone or among others on a socket it was handed."""

import asyncio
import contextlib
import gc
import signal
import socket

import uvicorn

from instrument_registry import telemetry
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.http.app import create_app
from instrument_registry.http.flowing import Flows
from instrument_registry.processes.control import Supervised
from instrument_registry.processes.runfile import service_database_url
from instrument_registry.settings import Settings
from instrument_registry.wiring import close_registry, open_registry

BACKLOG = 2048
GRACE_SECONDS = 8
LAST_WORDS_SECONDS = 0.3
KEEP_ALIVE_SECONDS = 30


class UnhurriedServer(uvicorn.Server):
    """Hears out the connections it has accepted before it hangs up on those that say nothing; streams end at once."""

    def __init__(self, config: uvicorn.Config, *, flows: Flows, catalogue: LiveCatalogue) -> None:
        super().__init__(config)
        self._flows, self._catalogue = flows, catalogue

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, wait for requests already on their way, then finish."""
        for server in self.servers:
            server.close()
        self._flows.end()
        self._catalogue.stop()
        await asyncio.sleep(LAST_WORDS_SECONDS)
        await super().shutdown(sockets)


def run_api(settings: Settings, *, fd: int | None = None, control: int | None = None) -> None:
    """Answer until told to stop; Raises: NotRunning, DatabaseUnavailable."""
    telemetry.configure_logging(settings.log_format, level=settings.log_level)
    with asyncio.Runner(loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()) as runner:
        runner.run(_answer(settings, fd=fd, control=control))


async def _answer(settings: Settings, *, fd: int | None, control: int | None) -> None:
    supervisor = await Supervised.by(control) if control is not None else None
    if supervisor is not None and not await supervisor.told_to_go():
        return
    registry = await open_registry(
        settings, database_url=service_database_url(settings), application="instrument-registry api"
    )
    try:
        app = create_app(registry)
        server = UnhurriedServer(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                backlog=BACKLOG,
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            ),
            flows=app.state.flows,
            catalogue=registry.catalogue,
        )
        gc.freeze()  # what has been imported stays: without it the collector walks through all of it while indexes grow
        # uvicorn puts these back when it has finished and sends itself the signal once more: then nothing is left.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        watching = asyncio.create_task(_under(supervisor, server)) if supervisor is not None else None
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket(fileno=fd))] if fd is not None else None
            await server.serve(sockets=sockets)
        if watching is not None:
            watching.cancel()
    finally:
        await close_registry(registry)


async def _under(supervisor: Supervised, server: uvicorn.Server) -> None:
    """Tell the supervisor when we answer, answer its questions, and stop when it is gone."""
    telemetry.gather.through(supervisor.gather)
    while not server.started:
        await asyncio.sleep(0.01)
    await supervisor.ready()
    await supervisor.serve_until_closed()
    server.should_exit = True
