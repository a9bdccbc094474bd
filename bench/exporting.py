"""Whether an export needs more memory the more instruments there are: peak memory at one size and at ten times that.

Each export runs in a process of its own, which does nothing else, on an embedded server with a made-up catalogue. The
reference is what the export does not do: reading every row before the first is written.
Run: python bench/exporting.py [--instruments 30000]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from datetime import date
from pathlib import Path

import psycopg
from reports import keep

from instrument_registry.catalog import exporting, kite
from instrument_registry.catalog.export_formats import FORMATS
from instrument_registry.catalog.exporting import Wanted
from instrument_registry.database import Database, migrations
from instrument_registry.processes.embedded import EmbeddedServer

DAY = date(2026, 8, 18)
TENTH = "BFO"  # the venue of every tenth instrument
GROWTH_MB = 48
BROKERS = ["zerodha", "upstox"]

FILL = """
insert into instrument_registry.instruments (id, ulid, listed_on, expiry)
select n, '01K3' || lpad(n::text, 22, '0'), '2026-08-01', '2026-09-01' from generate_series(1, %(count)s) n;
insert into instrument_registry.instrument_versions (instrument_id, valid_from, valid_to, known_from, key, root, kind,
       asset_class, venue, expiry, strike, option_type, currency, lot_size, multiplier, tick_size)
select n, '2026-08-01', '2026-09-02', '2026-08-01', v || ':NIFTY' || n %% 200 || ';2026-09-01;' || n || ';C',
       'NIFTY' || n %% 200, 'option', 'index', v, '2026-09-01', n, 'C', 'INR', 65, 1, 0.05
  from (select n, case when n %% 10 = 0 then 'BFO' else 'NFO' end as v from generate_series(1, %(count)s) n) one;
insert into instrument_registry.broker_tokens (instrument_id, broker, segment, token, venue, valid, known_from, file,
       line, row_hash, key, symbol, kind)
select v.instrument_id, b.broker, v.venue, v.instrument_id, v.venue, daterange('2026-08-01', '2026-09-02'),
       '2026-08-01', 0, v.instrument_id, v.instrument_id, v.key, v.root, v.kind
  from instrument_registry.instrument_versions v cross join (values ('zerodha'), ('upstox')) b (broker);
analyze instrument_registry.instruments, instrument_registry.instrument_versions, instrument_registry.broker_tokens;
"""


def in_pieces(name: str) -> Callable[[psycopg.Connection, bool], Generator[bytes, None, None]]:
    """A format as the door streams it, of all instruments or of a tenth of them."""

    def pieces(connection: psycopg.Connection, whole: bool) -> Generator[bytes, None, None]:
        if name == "kite":
            yield from kite.lines(connection, DAY, exchange=None if whole else TENTH)
            return
        batches = exporting.read(connection, Wanted(day=DAY, venues=() if whole else (TENTH,)))
        if name == "reference":
            yield from FORMATS["csv"].encode(list(batches), BROKERS)
        else:
            yield from FORMATS[name].encode(batches, BROKERS)

    return pieces


def export(name: str, url: str, *, whole: bool) -> dict[str, float]:
    """One export in this process."""
    began = time.perf_counter()
    first, sent = 0.0, 0
    with Database(url).blocking_session("bench") as connection:
        for piece in in_pieces(name)(connection, whole):
            first = first or time.perf_counter() - began
            sent += len(piece)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "peak_mb": round(peak_mb, 1),
        "sent_mb": round(sent / 2**20, 1),
        "seconds_to_first_piece": round(first, 2),
        "seconds": round(time.perf_counter() - began, 2),
    }


def measure(instruments: int) -> dict[str, dict[str, float]]:
    """Every format at both sizes."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            migrations.migrate(server.owner_url, service_login=server.service_login)
            with psycopg.connect(server.owner_url, autocommit=True) as owner:
                for statement in FILL.split(";\n")[:-1]:
                    owner.execute(statement, {"count": 10 * instruments} if "%(count)s" in statement else None)
            for name in (*FORMATS, "kite", "reference"):
                for size in ("tenth", "whole"):
                    program = [sys.executable, __file__, "--export", name, "--size", size]
                    environment = os.environ | {"BENCH_DATABASE_URL": server.service_url}
                    ended = subprocess.run(program, env=environment, check=True, capture_output=True, text=True)
                    found[f"{name}_{size}"] = json.loads(ended.stdout)
                    print(name, size, found[f"{name}_{size}"], file=sys.stderr)
        finally:
            server.stop()
    return found


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=30_000)
    parser.add_argument("--export")
    parser.add_argument("--size")
    chosen = parser.parse_args()
    if chosen.export:
        print(json.dumps(export(chosen.export, os.environ["BENCH_DATABASE_URL"], whole=chosen.size == "whole")))
        return
    found = measure(chosen.instruments)
    growth = {
        f"{name}_growth_mb": round(found[f"{name}_whole"]["peak_mb"] - found[f"{name}_tenth"]["peak_mb"], 1)
        for name in (*FORMATS, "kite", "reference")
    }
    bars = {name: float(GROWTH_MB) for name in growth if not name.startswith("reference")}
    samples = {"instruments": 10 * chosen.instruments, "tenth": chosen.instruments}
    sys.exit(keep("exporting", growth | found, bars=bars, samples=samples))


if __name__ == "__main__":
    main()
