"""What the frame around every request costs: our frame against bare FastAPI, both answering the same prepared bytes.

Counted in requests per second of the server's own CPU time, which a busy machine disturbs less than wall-clock time.
Run: python bench/http_frame.py [--seconds 3] [--rounds 5] [--bodies 300 8000]
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).parent))

from reports import keep

CONNECTIONS = 16
KINDS = ("bare", "frame", "frame, no log line", "frame, no limit")
TARGET = 0.60
MIDDLE_MS = (
    0.15  # what key, limits, correlation, numbers, bounds and codings may add to the processor time of a request
)
KEY = f"irk_{'a' * 16}_{'A' * 43}1Vqqe7"  # the checksum of the rest
PATH = "/api/v1/internal/instrument-registry/words"
HEADERS = f"Host: bench\r\nAccept: */*\r\nUser-Agent: bench\r\nX-Internal-API-Key: {KEY}\r\n"


def serve(kind: str, descriptor: int, body_bytes: int) -> None:
    """Answer on an inherited socket until somebody ends us."""
    import uvicorn

    body = b'{"word":"' + b"x" * (body_bytes - 11) + b'"}'
    app = bare(body) if kind == "bare" else framed(body, logged="no log" not in kind, limited="no limit" not in kind)
    config = uvicorn.Config(app, log_level="error", access_log=False, loop="uvloop", http="httptools")  # type: ignore[arg-type]
    # Not `fd=`: uvicorn takes an inherited descriptor for a Unix socket, and without TCP_NODELAY an answer waits 40 ms.
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def bare(body: bytes) -> object:
    """FastAPI with one endpoint and nothing else."""
    from fastapi import FastAPI
    from fastapi.responses import Response

    app = FastAPI()

    @app.get(PATH)
    async def words() -> Response:
        return Response(body, media_type="application/json")

    return app


def framed(body: bytes, *, logged: bool, limited: bool) -> object:
    """Our frame with everything on: key, limits, query struct, correlation id, numbers, log line, bounds, codings."""
    import msgspec
    from starlette.requests import Request
    from starlette.responses import Response

    from instrument_registry import telemetry
    from instrument_registry.access.model import ApiKey, Scope, SealedKey, digest_of
    from instrument_registry.clock import now
    from instrument_registry.configuration.live import LiveConfiguration
    from instrument_registry.configuration.model import Sources
    from instrument_registry.database import Database
    from instrument_registry.http.app import build
    from instrument_registry.http.auth import KeyRing
    from instrument_registry.http.encoding import bytes_response
    from instrument_registry.http.limiting import limiting_of
    from instrument_registry.http.queries import read_query
    from instrument_registry.http.routes import room
    from instrument_registry.settings import Settings

    class Words(msgspec.Struct, forbid_unknown_fields=True):
        query: str
        limit: int = 20

    words = room(tag="bench")

    @words.get("/words", openapi_extra={"x-reads-query": True})
    async def list_words(request: Request) -> Response:
        read_query(request.scope, Words)
        return bytes_response(body)

    telemetry.configure_logging("json", level="info" if logged else "warning")
    key = ApiKey(
        id="a" * 16, name="bench", scope=Scope.READER, created_at=now(), created_by="bench", last_used_at=now()
    )

    async def load() -> dict[str, SealedKey]:
        return {key.id: SealedKey(key, digest_of("A" * 43))}

    async def record_use(_: str) -> None:
        return None

    app = build([words])
    app.state.key_ring = KeyRing(load, record_use, clock=now)
    if limited:
        often = {"RATE_LIMIT_READ_PER_MINUTE": "1000000", "RATE_LIMIT_READ_PER_SECOND": "100000"}
        nowhere = Database("")  # which nothing here asks
        configuration = LiveConfiguration(nowhere, Sources(environment=often))
        app.state.limiting = limiting_of(Settings(data_dir=Path(tempfile.mkdtemp())), nowhere, configuration)
    return app


async def load_for(port: int, seconds: float) -> int:
    """Keep every connection busy for a while; how many answers came."""
    request = f"GET {PATH}?query=nifty+24500+ce&limit=20 HTTP/1.1\r\n{HEADERS}\r\n".encode()
    until = time.monotonic() + seconds
    return sum(await asyncio.gather(*(_caller(port, request, until) for _ in range(CONNECTIONS))))


async def _caller(port: int, request: bytes, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = 0
    while time.monotonic() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the server said {head[:80]!r}")
        lower = head.lower()
        length = int(lower[lower.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        answers += 1
    writer.close()
    return answers


def cpu_seconds(pid: int) -> float:
    """The processor time a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    """One kind of server in a process of its own."""

    def __init__(self, kind: str, body_bytes: int) -> None:
        self.kind = kind
        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = listening.getsockname()[1]
        command = [sys.executable, __file__, "--serve", kind, str(listening.fileno()), str(body_bytes)]
        with open(os.devnull, "w") as nowhere:
            self.process = subprocess.Popen(command, pass_fds=[listening.fileno()], stderr=nowhere)
        listening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)

    def measure(self, seconds: float) -> dict[str, float]:
        """One round of load."""
        before = cpu_seconds(self.process.pid)
        try:
            answers = asyncio.run(load_for(self.port, seconds))
        except ConnectionError as error:
            raise SystemExit(f"the server with {self.kind} ended: start it by hand with --serve to see why") from error
        used = cpu_seconds(self.process.pid) - before
        return {"per_second": answers / seconds, "per_cpu_second": answers / used}


def compare(body_bytes: int, *, seconds: float, rounds: int) -> dict[str, object]:
    """Measure every kind in turn, several times, and relate the medians."""
    taken: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(Server(kind, body_bytes)) for kind in KINDS}
        for server in servers.values():
            server.measure(0.5)
        for _ in range(rounds):
            for kind, server in servers.items():
                taken[kind].append(server.measure(seconds))
    medians = {
        kind: {unit: round(statistics.median(one[unit] for one in found)) for unit in ("per_second", "per_cpu_second")}
        for kind, found in taken.items()
    }
    bare_rate = medians["bare"]["per_cpu_second"]
    added = {kind: round(1000 / one["per_cpu_second"] - 1000 / bare_rate, 4) for kind, one in medians.items()}
    ratios = {kind: round(found["per_cpu_second"] / bare_rate, 3) for kind, found in medians.items()}
    return {
        "body_bytes": body_bytes, "medians": medians, "ratio_to_bare": ratios, "added_cpu_ms": added, "samples": taken,
    }  # fmt: skip


def main() -> None:
    """Compare, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bodies", type=int, nargs="+", default=[300, 8000])
    parser.add_argument("--serve", nargs=3)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve[0], int(chosen.serve[1]), int(chosen.serve[2]))
        return
    results = [compare(size, seconds=chosen.seconds, rounds=chosen.rounds) for size in chosen.bodies]
    bars = {f"times_bare_{size}_bytes": TARGET for size in chosen.bodies}
    found: dict[str, object] = {
        name: result["ratio_to_bare"]["frame"]
        for name, result in zip(bars, results, strict=True)  # type: ignore[index]
    }
    for result in results:
        added: dict[str, float] = result["added_cpu_ms"]  # type: ignore[assignment]
        bars[f"middle_cpu_ms_{result['body_bytes']}_bytes"] = MIDDLE_MS
        found[f"middle_cpu_ms_{result['body_bytes']}_bytes"] = added["frame, no log line"]
        found[f"with_the_log_line_{result['body_bytes']}_bytes"] = added["frame"]
    samples = {"seconds": chosen.seconds, "rounds": chosen.rounds, "connections": CONNECTIONS}
    sys.exit(keep("http_frame", found | {"bodies": results}, bars=bars, samples=samples))


if __name__ == "__main__":
    main()
