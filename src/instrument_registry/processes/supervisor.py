"""`serve`: one process that owns the embedded server, the listening socket and the children that do the work."""

import asyncio
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

import structlog
from prometheus_client import Counter

from instrument_registry import clock, telemetry
from instrument_registry.access import service as access
from instrument_registry.breakers import Breakers
from instrument_registry.database import login_of, migrations
from instrument_registry.errors import Unavailable
from instrument_registry.outbound.trust import unverified
from instrument_registry.processes.children import spawn
from instrument_registry.processes.control import BESIDE, Line, LineClosed
from instrument_registry.processes.embedded import EmbeddedServer, EmbeddedServerFailed
from instrument_registry.processes.master_keys import require_master_keys
from instrument_registry.processes.runfile import RunFile, hold
from instrument_registry.processes.tls import as_certified, tls_of
from instrument_registry.settings import Settings, child_environment
from instrument_registry.wiring import close_registry, open_registry

BACKLOG = 2048
DATABASE_TIMEOUT_SECONDS = 120.0
READY_TIMEOUT_SECONDS = 120.0
TERM_TIMEOUT_SECONDS = 10.0
METRICS_TIMEOUT_SECONDS = 1.0
# It answers as soon as it can, to say how far things are. The others begin when somebody serves, and take requests when
# they can serve them: whoever was answered once is not told afterwards that things are being read.
FIRST = "api-1"
SERVES_POLL_SECONDS = 0.02
BACKOFF_SECONDS = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0)
STEADY_AFTER_SECONDS = 30.0
CRASHES_ALLOWED = 5
CRASHES_WITHIN_SECONDS = 60.0
API_PREFIX = "/api/v1/internal/instrument-registry"

log = structlog.get_logger("supervisor")
RESTARTS = Counter("instrument_registry_process_restarts", "Processes started again after they crashed", ["process"])
T = TypeVar("T")


class TooManyCrashes(Unavailable):
    """Starting again does not help."""

    title = "The registry keeps crashing"


class PortTaken(Unavailable):
    """Somebody else listens there."""

    title = "The port is taken"


@dataclass(slots=True, eq=False)
class Child:
    """One process at work, and what it last told us."""

    name: str
    process: subprocess.Popen[bytes]
    line: Line
    started: float
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    said: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: bytes = b""


def serve(settings: Settings, *, say: Callable[[str], None], without_keys: Sequence[str] = ()) -> None:
    """Run everything in this process's foreground until it is told to stop; master keys may be given up.

    Raises: AlreadyRunning, PortTaken, TooManyCrashes, MasterKeyMissing, and whatever keeps the database from starting.
    """
    tls_of(settings)  # what cannot be used is said at once
    with hold(settings.data_dir), _listening(settings) as listener:
        Breakers(settings.data_dir).reset()
        asyncio.run(Supervisor(settings, listener, say=say, without_keys=without_keys).run())


class Supervisor:
    """Starts things in order, keeps them running, stops them in the opposite order."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        *,
        say: Callable[[str], None],
        without_keys: Sequence[str] = (),
    ) -> None:
        self._settings, self._without_keys = settings, without_keys
        self._listener = listener
        self._say = say
        self._server: EmbeddedServer | None = None
        self._database_ready = False
        self._made = False  # the tables, by this start
        self._children: dict[str, Child] = {}
        self._everyone: set[Child] = set()
        self._ended_sums = b""
        self._crashes: deque[float] = deque(maxlen=CRASHES_ALLOWED)
        self._tasks: set[asyncio.Task[None]] = set()
        host, port = listener.getsockname()[:2]
        shown = _reachable(host)
        scheme = "http" if settings.tls_certificate is None else "https"
        self._url = f"{scheme}://[{shown}]:{port}" if ":" in shown else f"{scheme}://{shown}:{port}"

    async def run(self) -> None:
        """Start, watch, stop."""
        stop, restart = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        # In a terminal a hang-up means that the window was closed; under a service manager it means "read again".
        if os.isatty(0):
            loop.add_signal_handler(signal.SIGHUP, _window_closed, stop, [fd for fd in (1, 2) if os.isatty(fd)])
        else:
            loop.add_signal_handler(signal.SIGHUP, restart.set)
        working = asyncio.create_task(self._work(restart))
        told = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            told.cancel()
            await asyncio.wait({working})
            await self._stop()
        if not working.cancelled():
            working.result()  # raises what went wrong

    async def _work(self, restart: asyncio.Event) -> None:
        settings = self._settings
        # The first one imports what it needs while the database starts: half of a warm start.
        self._children[FIRST] = await self._start(FIRST)
        owner_url, service_url = await self._database()
        await self._migrate(owner_url)
        await self._keys(service_url)
        RunFile(
            pid=os.getpid(),
            url=self._url,
            started_at=clock.now().isoformat(),
            database_url=service_url,
            owner_database_url=owner_url,
            certificate=str(settings.tls_certificate) if settings.tls_certificate else None,
        ).write(settings.data_dir)
        self._listener.listen(BACKLOG)
        self._database_ready = True
        await self._go(self._children[FIRST])
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(1, settings.workers + 1):
                    group.create_task(self._tend(f"api-{number}"))
                group.create_task(self._tend("worker"))
                if self._server is not None:
                    group.create_task(self._tend_database(self._server))
                group.create_task(self._restart_when(restart))
                group.create_task(self._welcome())
        except BaseExceptionGroup as group_of_one:
            raise group_of_one.exceptions[0] from None

    async def _database(self) -> tuple[str, str]:
        settings = self._settings
        if settings.database_url is not None:
            service_url = settings.database_url.get_secret_value()
            owner = settings.owner_database_url
            return (owner.get_secret_value() if owner else service_url), service_url
        server = EmbeddedServer(settings.data_dir)
        if not server.folder.exists():
            self._say("Making a database …")
        await _in_thread(server.prepare)
        self._server = server
        await self._start_database(server)
        return server.owner_url, server.service_url

    async def _start_database(self, server: EmbeddedServer) -> None:
        server.launch()  # here and not in a thread: the child dies with the thread that forked it
        deadline = time.monotonic() + DATABASE_TIMEOUT_SECONDS
        while not await _in_thread(server.answers):
            if time.monotonic() > deadline:
                raise EmbeddedServerFailed(f"PostgreSQL did not answer within {DATABASE_TIMEOUT_SECONDS:.0f} s")
            await asyncio.sleep(0.02)

    async def _migrate(self, owner_url: str) -> None:
        known = await _in_thread(lambda: migrations.current_revision(owner_url))
        todo = migrations.pending(known)
        if todo and self._server is None and known is not None:
            # Older instances may still work on an outside database: what they need stays until `migrate --half post`.
            todo = migrations.of_half(todo, "pre")
        if not todo:
            return
        self._say(f"Preparing the tables ({len(todo)} steps) …")
        self._made = known is None
        half: migrations.Half = "all" if self._server is not None or known is None else "pre"
        login = self._service_login()
        await _in_thread(lambda: migrations.migrate(owner_url, half=half, service_login=login))

    def _service_login(self) -> str | None:
        """Who shall be allowed to work as the service, where that is somebody else than the owner."""
        if self._server is not None:
            return self._server.service_login
        url, owner = self._settings.database_url, self._settings.owner_database_url
        if url is None or owner is None:
            return None
        return login_of(url.get_secret_value())

    async def _keys(self, service_url: str) -> None:
        """See that the master keys are those of what is stored, and that an operator has a key."""
        registry = await open_registry(
            self._settings, database_url=service_url, application="instrument-registry serve"
        )
        try:
            await require_master_keys(registry, given_up=self._without_keys)
            async with registry.database.transaction() as tx:
                await access.ensure_operator_key(tx, self._key_path, at=registry.clock())
        finally:
            await close_registry(registry)

    @property
    def _key_path(self) -> Path:
        return self._settings.data_dir / "operator.key"

    async def _tend(self, name: str) -> None:
        """Keep one place filled: whoever crashes is replaced, a little later each time."""
        child = self._children[name] = self._children.get(name) or await self._start(name)
        failures = 0
        while True:
            await child.gone.wait()
            if self._children[name] is not child:  # a rolling restart has put another one here
                child = self._children[name]
                continue
            log.error("process.crashed", process=name, exit_code=child.process.returncode)
            failures = 0 if time.monotonic() - child.started > STEADY_AFTER_SECONDS else failures + 1
            self._count_crash(name, child.process.returncode)
            await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
            child = self._children[name] = await self._start(name)

    async def _tend_database(self, server: EmbeddedServer) -> None:
        while True:
            await asyncio.sleep(0.2)
            code = server.exit_code()
            if code is None:
                continue
            log.error("database.crashed", exit_code=code)
            self._count_crash("database", code)
            await asyncio.sleep(BACKOFF_SECONDS[0])
            with contextlib.suppress(EmbeddedServerFailed):  # ended again: counted on the next round
                await self._start_database(server)

    def _count_crash(self, name: str, code: int | None) -> None:
        RESTARTS.labels(process=name).inc()
        now = time.monotonic()
        self._crashes.append(now)
        if len(self._crashes) == CRASHES_ALLOWED and now - self._crashes[0] < CRASHES_WITHIN_SECONDS:
            raise TooManyCrashes(
                f"{CRASHES_ALLOWED} crashes within a minute, the last of {name} (exit code {code}): see the log above"
            )

    async def _restart_when(self, restart: asyncio.Event) -> None:
        while True:
            await restart.wait()
            restart.clear()
            log.info("restart.begun")
            for name in sorted(self._children):
                await self._replace(name)
            log.info("restart.done")

    async def _replace(self, name: str) -> None:
        """Put a new process into a place, and only when it works let the old one finish."""
        new = await self._start(name)
        waits = [asyncio.create_task(event.wait()) for event in (new.ready, new.gone)]
        await asyncio.wait(waits, timeout=READY_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not new.ready.is_set() or new.gone.is_set():
            log.error("restart.kept_the_old_one", process=name)
            await self._end(new)
            return
        old, self._children[name] = self._children[name], new
        with contextlib.suppress(LineClosed):
            await old.line.send("replaced")
        await self._end(old)

    async def _start(self, name: str) -> Child:
        ours, theirs = socket.socketpair()
        line = await Line.over(ours)
        command = [sys.executable, "-m", "instrument_registry", name.partition("-")[0]]
        passed = [theirs.fileno()]
        if name != "worker":
            passed.append(self._listener.fileno())
            command += ["--fd", str(self._listener.fileno())]
        process = spawn(
            [*command, "--control", str(theirs.fileno())],
            on_parent_death=signal.SIGTERM,
            environment=child_environment(INSTRUMENT_REGISTRY_DATA_DIR=str(self._settings.data_dir)),
            pass_fds=passed,
        )
        theirs.close()
        child = Child(name, process, line, time.monotonic())
        self._everyone.add(child)
        self._keep(self._listen(child))
        if self._database_ready:
            await self._go(child)
        return child

    async def _go(self, child: Child) -> None:
        if child.name not in (FIRST, "worker"):
            while not (self._served() or child.gone.is_set()):
                await asyncio.sleep(SERVES_POLL_SECONDS)
        with contextlib.suppress(LineClosed):  # it is gone already, which is noticed elsewhere
            await child.line.send("go", BESIDE if self._served() else b"")

    def _served(self) -> bool:
        """Whether somebody answers who has read the catalogue."""
        return any(
            child.ready.is_set() and not child.gone.is_set()
            for child in self._children.values()
            if child.name != "worker"
        )

    def _keep(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, child: Child) -> None:
        """Hear a child out until its line closes, which is when it ends."""
        with contextlib.suppress(LineClosed):
            while True:
                kind, body = await child.line.receive()
                if kind == "ready":
                    child.ready.set()
                elif kind == "metrics":
                    child.metrics = body
                    child.said.set()
                elif kind == "gather":
                    self._keep(self._answer(child))
        while child.process.poll() is None:
            await asyncio.sleep(0.02)
        child.line.close()
        self._everyone.discard(child)
        self._ended_sums = telemetry.only_sums([self._ended_sums, child.metrics])
        child.gone.set()

    async def _answer(self, asker: Child) -> None:
        with contextlib.suppress(LineClosed):
            await asker.line.send("gathered", await self._gather())

    async def _gather(self) -> bytes:
        """Ask everyone at once; who does not answer in time is left out of the gauges but keeps its sums."""
        asked = list(self._everyone)
        answered = await asyncio.gather(*(self._ask(child) for child in asked))
        texts = {child.name: child.metrics for child, fresh in zip(asked, answered, strict=True) if fresh}
        silent = [child.metrics for child, fresh in zip(asked, answered, strict=True) if not fresh]
        texts["supervisor"] = telemetry.own_metrics()
        return telemetry.merge(texts, ended=[self._ended_sums, *silent])

    async def _ask(self, child: Child) -> bool:
        child.said.clear()
        try:
            await child.line.send("metrics")
            await asyncio.wait_for(child.said.wait(), METRICS_TIMEOUT_SECONDS)
        except (LineClosed, TimeoutError):
            return False
        return True

    async def _welcome(self) -> None:
        """Say what a newcomer needs as soon as it works as printed."""
        self._say("Starting, and loading the demo universe …" if self._made and self._settings.demo else "Starting …")
        host, port = self._listener.getsockname()[:2]
        certificate = self._settings.tls_certificate
        while not await _answers(_reachable(host), port, "/health", tls=certificate is not None):
            await asyncio.sleep(0.1)
        self._say(_greeting(self._url, self._key_path, certificate=certificate))

    async def _end(self, child: Child) -> None:
        """Ask a child to finish; insist after a while."""
        if child.process.poll() is None:
            child.process.terminate()
            wait_seconds = TERM_TIMEOUT_SECONDS + self._settings.stop_delay_seconds
            try:
                await asyncio.wait_for(child.gone.wait(), wait_seconds)
            except TimeoutError:
                log.error("process.killed", process=child.name, waited_seconds=wait_seconds)
                child.process.kill()
        await child.gone.wait()

    async def _stop(self) -> None:
        """Those who answer first, then those who work in the background, then the database."""
        everyone = list(self._everyone)
        await asyncio.gather(*(self._end(child) for child in everyone if child.name != "worker"))
        await asyncio.gather(*(self._end(child) for child in everyone if child.name == "worker"))
        if self._server is not None:
            await _in_thread(self._server.stop)
        RunFile.remove(self._settings.data_dir)
        self._say("Stopped.")


def _window_closed(stop: asyncio.Event, outputs: Sequence[int]) -> None:
    """Stop, and say the rest to nobody: a terminal that is gone refuses every word."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in outputs:
        os.dup2(nowhere, output)
    os.close(nowhere)
    stop.set()


async def _in_thread(work: Callable[[], T]) -> T:
    """Run blocking work aside; when cancelled, wait for its end all the same, since it cannot be interrupted."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """The address, taken at once and listened to when there is somebody to answer."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        with contextlib.closing(listener):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            yield listener
    except OSError as error:
        raise PortTaken(f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}") from error


def _reachable(host: str) -> str:
    """Where somebody on this machine reaches who listens there: everywhere is also here."""
    address = ip_address(host.partition("%")[0])
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


async def _answers(host: str, port: int, path: str, *, tls: bool) -> bool:
    """Whether a GET is answered with 200."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, port, ssl=unverified() if tls else None)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            status = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split()[1:2] == [b"200"]


def _greeting(url: str, key_path: Path, *, certificate: Path | None) -> str:
    """What a newcomer needs; the lines work as printed."""
    if certificate is not None:
        url, trust = as_certified(url, certificate)
    else:
        trust = ""
    curl = f'curl -s {trust}-H "X-Internal-API-Key: $(cat {shlex.quote(str(key_path))})"'
    return f"""
Instrument Registry answers at {url}   (pages: {url}/docs)
The operator's key is in {key_path}

  {curl} "{url}{API_PREFIX}/search?query=reliance&limit=3"
  {curl} "{url}{API_PREFIX}/instruments/NSE:RELIANCE"
  {curl} "{url}{API_PREFIX}/chains/NIFTY?expiry=nearest"

Take in a real dump (without a file: today's, from the broker):
  .venv/bin/instrument-registry ingest zerodha [FILE or URL]

Stop with Ctrl-C."""
