"""What a morning's dump costs, as ratios to COPY + index of the same rows on the same server in the same run.

A first load of 273,027 rows, a next-day delta of 82,798 on a catalogue of 125,004, the same file again, the
loader's peak memory, and how the first load grows to four and sixteen times its size. Each load is the command
line's own process.
Run: python bench/ingestion.py [--data ../shared/data] [--rounds 1]
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import psycopg

from instrument_registry.catalog.brokers import BROKERS
from instrument_registry.catalog.brokers.frame import ROW_SCHEMA, Dump, Parsed
from instrument_registry.database import migrations
from instrument_registry.processes.embedded import EmbeddedServer

sys.path.insert(0, str(Path(__file__).parent))

from reports import keep

BARS = {
    "first_load_ratio": 20.0,
    "next_day_ratio": 8.0,
    "first_load_seconds": 30.0,
    "next_day_seconds": 4.0,
    "unchanged_seconds": 1.0,
    "loader_peak_mb": 400.0,
    "loader_peak_mb_of_125004_rows_in_json": 400.0,
}
FIRST = ("dhan", "dhan/dhan_2026-02-10_compact_full.csv.gz", date(2026, 2, 10))
BASE = ("upstox", "upstox/upstox_2026-08-18_complete.json.gz", date(2026, 8, 18))
NEXT = ("upstox", "upstox/upstox_2026-08-21_NSE.json.gz", date(2026, 8, 21))
# Starts the loader and tells its peak. A process is charged with what the one that started it held, up to its first
# instruction: this one holds next to nothing, the bench holds whole dumps.
WITNESS = """
import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(ended.returncode)
"""
PLAIN = {pl.String: "text", pl.Int64: "bigint", pl.Int32: "integer", pl.Date: "date", pl.Boolean: "boolean"}


@dataclass(frozen=True)
class Load:
    """What one loading process took."""

    seconds: float  # of the run itself, as it tells
    process_seconds: float  # with the interpreter's start and end
    peak_mb: float
    rows: int
    steps: dict[str, float]


class Bench:
    """A server of our own, a fresh database for every load."""

    def __init__(self, server: EmbeddedServer, data: Path) -> None:
        self.server, self.data, self.made = server, data, 0

    def fresh(self) -> tuple[str, str]:
        """The owner's and the service's address of an empty, migrated catalogue."""
        self.made += 1
        name = f"bench_{self.made}"
        with psycopg.connect(self.server.owner_url, autocommit=True) as owner:
            owner.execute(f"create database {name}")
        urls = tuple(url.rpartition("/")[0] + f"/{name}" for url in (self.server.owner_url, self.server.service_url))
        migrations.migrate(urls[0], service_login=self.server.service_login)
        return urls[0], urls[1]

    def load(self, url: str, broker: str, path: Path, day: date) -> Load:
        """Ingest a file by a process of its own."""
        command = [
            sys.executable,
            "-m",
            "instrument_registry",
            "ingest",
            broker,
            str(path),
            "--date",
            str(day),
            "--json",
        ]
        environment = os.environ | {"INSTRUMENT_REGISTRY_DATABASE_URL": url}
        began = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, "-c", WITNESS, *command], capture_output=True, env=environment, text=True
        )
        taken = time.perf_counter() - began
        if ended.returncode:
            raise SystemExit(f"loading {path} failed: {ended.stdout}{ended.stderr}")
        outcome = json.loads(ended.stdout)
        peak_mb = int(ended.stderr.splitlines()[-1]) / 1024
        return Load(sum(outcome["seconds"].values()), taken, peak_mb, outcome["rows"], outcome["seconds"])

    def reference(self, owner_url: str, broker: str, path: Path) -> float:
        """Seconds to COPY the same rows into a plain table and to index it by token and by key."""
        dump = Dump(name=path.name.removesuffix(".gz"), content=gzip.decompress(path.read_bytes()))
        parsed = BROKERS[broker].parse(dump)
        assert isinstance(parsed, Parsed)
        columns = ", ".join(
            f"{name} {PLAIN.get(type(kind) if not isinstance(kind, type) else kind, 'text')}"
            for name, kind in ROW_SCHEMA.items()
        )
        content = parsed.rows.write_csv(include_header=False).encode()
        with psycopg.connect(owner_url) as owner:
            owner.execute("drop table if exists plain")
            owner.execute(f"create table plain ({columns})")
            owner.commit()
            began = time.perf_counter()
            with owner.cursor() as cursor, cursor.copy("copy plain from stdin (format csv)") as copy:
                for start in range(0, len(content), 1 << 20):
                    copy.write(content[start : start + (1 << 20)])
            owner.execute("create index on plain (segment, token)")
            owner.execute("create index on plain (key)")
            owner.commit()
            return time.perf_counter() - began

    def first(self) -> tuple[Load, float]:
        broker, path, day = FIRST
        owner, service = self.fresh()
        return self.load(service, broker, self.data / path, day), self.reference(owner, broker, self.data / path)

    def next_day(self) -> tuple[Load, Load, Load, float]:
        owner, service = self.fresh()
        base = self.load(service, BASE[0], self.data / BASE[1], BASE[2])
        delta = self.load(service, NEXT[0], self.data / NEXT[1], NEXT[2])
        again = self.load(service, NEXT[0], self.data / NEXT[1], NEXT[2])
        return base, delta, again, self.reference(owner, NEXT[0], self.data / NEXT[1])

    def growth(self, folder: Path) -> dict[str, float]:
        """Seconds for a sixteenth, a quarter and all of the first load's rows."""
        broker, path, day = FIRST
        lines = gzip.decompress((self.data / path).read_bytes()).splitlines(keepends=True)
        taken = {}
        for name, share in (("1x", 16), ("4x", 4)):
            part = folder / f"dhan_2026-02-10_compact_part{share}.csv"
            part.write_bytes(b"".join(lines[:1] + lines[1::share]))
            taken[name] = self.load(self.fresh()[1], broker, part, day).seconds
        return taken


def measure(data: Path, *, rounds: int) -> tuple[dict[str, object], dict[str, object]]:
    """Everything, on a server of our own that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            bench = Bench(server, data)
            firsts = [bench.first() for _ in range(rounds)]
            nights = [bench.next_day() for _ in range(rounds)]
            growth = bench.growth(Path(folder))
        finally:
            server.stop()
    first, delta = (
        statistics.median(one.seconds for one, _ in firsts),
        statistics.median(one[1].seconds for one in nights),
    )
    first_reference = statistics.median(seconds for _, seconds in firsts)
    delta_reference = statistics.median(one[3] for one in nights)
    results: dict[str, object] = {
        "first_load_rows": firsts[0][0].rows, "first_load_seconds": round(first, 2),
        "first_load_steps": firsts[0][0].steps,
        "first_load_reference_seconds": round(first_reference, 3),
        "first_load_ratio": round(first / first_reference, 1),
        "next_day_rows": nights[0][1].rows, "next_day_seconds": round(delta, 2), "next_day_steps": nights[0][1].steps,
        "next_day_reference_seconds": round(delta_reference, 3), "next_day_ratio": round(delta / delta_reference, 1),
        "unchanged_seconds": round(statistics.median(one[2].seconds for one in nights), 2),
        "unchanged_process_seconds": round(statistics.median(one[2].process_seconds for one in nights), 2),
        "loader_peak_mb": round(max(one.peak_mb for one, _ in firsts)),
        "loader_peak_mb_of_125004_rows_in_json": round(max(one[0].peak_mb for one in nights)),
        "growth_seconds": {**{name: round(seconds, 2) for name, seconds in growth.items()}, "16x": round(first, 2)},
    }  # fmt: skip
    samples = {
        "first_load_seconds": [round(one.seconds, 2) for one, _ in firsts],
        "first_load_reference_seconds": [round(seconds, 3) for _, seconds in firsts],
        "next_day_seconds": [round(one[1].seconds, 2) for one in nights],
        "next_day_reference_seconds": [round(one[3], 3) for one in nights],
    }
    return results, samples


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=1)
    chosen = parser.parse_args()
    if not chosen.data.is_dir():
        raise SystemExit(f"{chosen.data} has no dumps: name the folder with --data")
    results, samples = measure(chosen.data, rounds=chosen.rounds)
    sys.exit(keep("ingestion", results, bars=BARS, samples=samples))


if __name__ == "__main__":
    main()
