"""What an outage of the configuration service and of Redis costs those who ask: failed requests, p99 beside calm.

The whole system as it is run, with two API workers, a configuration service on the loopback and a Redis, asked at a
fixed rate; a request's time begins when it was due. Windows with both there and with both away take turns, so that
what else the machine does falls on both; the ratio is the median over the pairs. Where calm windows differ among
themselves by more than the bar, nothing can be told.
Run: python bench/outage.py [--pairs 5] [--seconds 20]
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import aiohttp

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from reports import keep

from config_service import KEY, ConfigService, config_service
from redis_servers import RedisServer, binaries, serving

BARS = {"failed_requests": 0, "p99_ratio": 1.25}
RATE = 200
PORT = 18928
ROOT = "/api/v1/internal/instrument-registry"
PATHS = (f"{ROOT}/search?query=nifty&limit=5", f"{ROOT}/events?limit=5", "/api/v1/config/CACHE_TTL_SECONDS")
SETTLE_SECONDS = 5.0
READY_WITHIN_SECONDS = 180.0
PREFIX = "INSTRUMENT_REGISTRY_"


async def window(session: aiohttp.ClientSession, failures: Counter[str], *, seconds: float) -> float:
    """The p99 in milliseconds of requests at the rate; why some failed is counted."""
    took: list[float] = []

    async def one(number: int, due: float) -> None:
        try:
            async with session.get(PATHS[number % len(PATHS)]) as answer:
                body = await answer.read()
                if answer.status != 200:
                    failures[f"{answer.status} {json.loads(body)['type']}"] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            failures[type(error).__name__] += 1
        took.append(time.perf_counter() - due)

    began, sent = time.perf_counter(), []
    for number in range(round(seconds * RATE)):
        due = began + number / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sent.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*sent)
    return statistics.quantiles(took, n=100)[98] * 1000


async def turns(
    service: ConfigService, redis: RedisServer, key: str, *, pairs: int, seconds: float
) -> dict[str, object]:
    """Calm and outage by turns."""
    calm, away = [], []
    failures: Counter[str] = Counter()
    url = f"http://127.0.0.1:{PORT}"
    async with aiohttp.ClientSession(url, headers={"X-Internal-API-Key": key}) as session:
        await window(session, Counter(), seconds=SETTLE_SECONDS)
        for _ in range(pairs):
            calm.append(round(await window(session, failures, seconds=seconds), 2))
            redis.end()
            service.status = 503
            await asyncio.sleep(SETTLE_SECONDS)
            away.append(round(await window(session, failures, seconds=seconds), 2))
            service.status = None
            redis.start()
            await asyncio.sleep(SETTLE_SECONDS)
    ratios = [round(there / here, 3) for here, there in zip(calm, away, strict=True)]
    told = pairs >= 5 and max(calm) <= BARS["p99_ratio"] * min(calm)
    median = statistics.median(ratios)
    return {
        "failed_requests": failures.total(),
        "failures": dict(failures),
        "p99_ratio": median if told else f"could not tell: calm windows from {min(calm)} to {max(calm)} ms ({median})",
        "calm_p99_ms": calm, "away_p99_ms": away, "ratios": ratios,
    }  # fmt: skip


async def measure(folder: Path, redis: RedisServer, *, pairs: int, seconds: float) -> dict[str, object]:
    """Start everything, take turns, end everything."""
    async with config_service() as service:
        service.values[f"{PREFIX}MAX_RESULTS_PER_PAGE"] = 33
        settings = {
            "DATA_DIR": str(folder / "data"), "PORT": str(PORT), "WORKERS": "2", "LOG_LEVEL": "warning",
            "CONFIG_SERVICE_URL": service.url, "CONFIG_SERVICE_KEY": KEY, "CONFIG_SERVICE_REFRESH": "1",
            "EVENT_BROKER_URL": f"redis://127.0.0.1:{redis.port}/0",
        }  # fmt: skip
        system = await asyncio.to_thread(_start, settings, folder / "said")
        try:
            await asyncio.to_thread(_wait)
            key = (folder / "data" / "operator.key").read_text(encoding="ascii").strip()
            return await turns(service, redis, key, pairs=pairs, seconds=seconds)
        finally:
            system.terminate()
            await asyncio.to_thread(system.wait, 60)


def _start(settings: dict[str, str], said: Path) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {PREFIX + name: value for name, value in settings.items()}
    with said.open("wb") as output:
        command = [sys.executable, "-m", "instrument_registry", "serve"]
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def _wait() -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{PORT}/health/ready", timeout=5) as answer:
                if b"loaded, as of" in answer.read():  # until the demo universe is there, nothing is calm
                    return
        except (URLError, OSError):
            pass
        time.sleep(0.2)
    raise SystemExit("the registry did not start")


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    chosen = parser.parse_args()
    if not binaries():
        raise SystemExit("there is no Redis to stop")
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with serving(next(iter(binaries().values())), folder) as redis:
            results = asyncio.run(measure(folder, redis, pairs=chosen.pairs, seconds=chosen.seconds))
    samples = {"rate_per_second": RATE, "pairs": chosen.pairs, "seconds_a_window": chosen.seconds}
    sys.exit(keep("outage", results, bars=BARS, samples=samples))


if __name__ == "__main__":
    main()
