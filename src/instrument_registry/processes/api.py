"""`api`: one process that answers HTTP, alone or among others on a socket it was handed."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI

from instrument_registry import telemetry
from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.http.app import create_app
from instrument_registry.http.flowing import Flows
from instrument_registry.processes.connections import BoundedConnection, make_room_for_connections
from instrument_registry.processes.control import Supervised
from instrument_registry.processes.master_keys import require_master_keys
from instrument_registry.processes.opening import open_as_child
from instrument_registry.processes.tls import tls_of
from instrument_registry.settings import Settings, traces_wanted
from instrument_registry.wiring import Registry, close_registry

BACKLOG = 2048
GRACE_SECONDS = 8
LAST_WORDS_SECONDS = 0.3
HEARD_SECONDS = 0.05  # what the supervisor said before the signal
KEEP_ALIVE_SECONDS = 30


CLOSE = (b"connection", b"close")


class UnhurriedServer(uvicorn.Server):
    """Hears out the connections it has accepted before it hangs up on those that say nothing; streams end at once."""

    def __init__(
        self, app: FastAPI, config: uvicorn.Config, *, registry: Registry, supervisor: Supervised | None
    ) -> None:
        super().__init__(config)
        self._app, self._registry, self._supervisor = app, registry, supervisor

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Be no longer ready, stop accepting, wait for requests already on their way, then finish.

        Whose place another process has taken is missed by nobody: the address stays ready.
        """
        await asyncio.sleep(HEARD_SECONDS)
        if self._supervisor is None or not self._supervisor.replaced:
            self._app.state.stopping = True
            await asyncio.sleep(self._registry.settings.stop_delay_seconds)
        # Whoever asks once more on an open connection is told to come by another: none is cut with a question on it.
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        for server in self.servers:
            server.close()
        flows: Flows = self._app.state.flows
        flows.end()
        self._registry.catalogue.stop()
        await asyncio.sleep(LAST_WORDS_SECONDS)
        await super().shutdown(sockets)


def run_api(
    settings: Settings, *, fd: int | None = None, control: int | None = None, without_keys: Sequence[str] = ()
) -> None:
    """Answer until told to stop; Raises: NotRunning, DatabaseUnavailable, MasterKeyMissing."""
    telemetry.configure_logging(settings.log_format, level=settings.log_level)
    loop_factory = uvicorn.Config("", log_config=None).get_loop_factory()
    with telemetry.traces_sent(traces_wanted(), process="api"), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_answer(settings, fd=fd, control=control, without_keys=without_keys))


async def _answer(settings: Settings, *, fd: int | None, control: int | None, without_keys: Sequence[str]) -> None:
    tls = tls_of(settings)
    supervisor = await Supervised.by(control) if control is not None else None
    if supervisor is not None and not await supervisor.told_to_go():
        return
    registry = await open_as_child(settings, supervisor, application="instrument-registry api")
    try:
        if supervisor is None:
            await require_master_keys(registry, given_up=without_keys)
        app = create_app(registry)
        app.state.beside = supervisor is not None and supervisor.beside
        make_room_for_connections()
        server = UnhurriedServer(
            app,
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                backlog=BACKLOG,
                http=BoundedConnection,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
                ssl_context_factory=tls,
            ),
            registry=registry,
            supervisor=supervisor,
        )
        gc.freeze()  # what has been imported stays: without it the collector walks through all of it while indexes grow
        # uvicorn puts these back when it has finished and sends itself the signal once more: then nothing is left.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        watching = (
            asyncio.create_task(_under(supervisor, server, registry.catalogue)) if supervisor is not None else None
        )
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket(fileno=fd))] if fd is not None else None
            await server.serve(sockets=sockets)
        if watching is not None:
            watching.cancel()
    finally:
        await close_registry(registry)


async def _under(supervisor: Supervised, server: uvicorn.Server, catalogue: LiveCatalogue) -> None:
    """Tell the supervisor when requests are served, answer its questions, and stop when it is gone."""
    telemetry.gather.through(supervisor.gather)
    telling = asyncio.create_task(_tell_when_ready(supervisor, server, catalogue))
    await supervisor.serve_until_closed()
    telling.cancel()
    server.should_exit = True


async def _tell_when_ready(supervisor: Supervised, server: uvicorn.Server, catalogue: LiveCatalogue) -> None:
    while not (server.started and catalogue.searchable):
        await asyncio.sleep(0.01)
    await supervisor.ready()
