"""How long after its commit a change can be searched in every worker, over 200,000 live instruments.

The whole system as it is run: server, background worker and two API workers. Changes of 5,000 rows are dumps of Kite's
with other lots than the day before; the long run brings a token for every contract of the NFO. The commit is seen in
the table of runs, the position of each worker in its metrics, and a search at the end shows the new lot.
Run: python bench/following.py [--size 200000] [--rounds 5]
"""

import argparse
import csv
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import psycopg

sys.path.insert(0, str(Path(__file__).parent))

from reports import keep
from searching.universe import universe
from searching.unlimited import UNLIMITED
from searching.worker import PROGRAM, catalogue, key_for, told, wait

from instrument_registry.catalog.search import IndexRow

BARS = {"change_of_5000_rows_seconds": 1.0, "long_run_seconds": 10.0}
PORT = 8939
WORKERS = 2
ROWS = 5_000
BROKERS = ("upstox", "shoonya", "angel")  # that the instruments are known from; Kite's dumps come new
DAYS_AGO = 30
COLUMNS = (
    "instrument_token", "exchange_token", "tradingsymbol", "name", "last_price", "expiry", "strike", "tick_size",
    "lot_size", "instrument_type", "segment", "exchange",
)  # fmt: skip
POSITION = re.compile(rb'^instrument_registry_index_position\{process="([^"]+)"\} (\S+)$', re.MULTILINE)
GIVE_UP_SECONDS = 60.0
LOOK_SECONDS = 0.05  # asking costs the processors that are measured: 10 ms each time


class System:
    """A running instance with a database connection beside it."""

    def __init__(self, database_url: str, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.connection = psycopg.connect(database_url, autocommit=True, options="-c search_path=instrument_registry")
        self.key = key_for(database_url, data_dir=folder)

    def ingest(self, rows: list[IndexRow], *, turn: int, day: date) -> float:
        """Seconds from the commit of a dump to the last worker's having it."""
        runs = self._applied()
        dump = self.folder / "kite_NFO.csv"
        dump.write_text(written(rows, turn=turn), encoding="utf-8")
        command = [*PROGRAM, "ingest", "zerodha", str(dump), "--date", str(day)]
        loading = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while self._applied() == runs:
            if loading.poll():
                raise SystemExit(loading.communicate()[0].decode())
            time.sleep(0.005)
        committed = time.monotonic()
        while not self._everybody_has_it():
            if time.monotonic() - committed > GIVE_UP_SECONDS:
                raise SystemExit("the workers did not follow")
            time.sleep(LOOK_SECONDS)
        taken = time.monotonic() - committed
        if loading.wait():
            raise SystemExit("the run was not applied")
        return taken

    def first_hit(self, key: str) -> bytes:
        """What a search answers first."""
        url = f"http://127.0.0.1:{PORT}/api/v1/internal/instrument-registry/search?limit=1&query={quote(key)}"
        return told(url, key=self.key)

    def _applied(self) -> int:
        return self._number("select count(*) from ingestions where status = 'applied'")

    def _everybody_has_it(self) -> bool:
        """Whether nothing waits for a position, and every worker's index stands at the last one."""
        waiting = self._number("select count(*) from pending")
        head = self._number(
            "select coalesce(max(p.position + a.facts - 1), 0) from positions p join appends a using (number)"
        )
        with urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=30) as answer:
            reached = {process: float(position) for process, position in POSITION.findall(answer.read())}
        indexes = [position for position in reached.values() if position]
        return not waiting and len(indexes) == WORKERS and min(indexes) >= head

    def _number(self, statement: str) -> int:
        row = self.connection.execute(statement.encode()).fetchone()
        assert row is not None
        return int(row[0])


def lot(row: IndexRow, *, turn: int) -> int:
    """The lot of a contract, another one each turn."""
    return (row.lot_size or 1) * (turn + 1)


def written(rows: list[IndexRow], *, turn: int) -> str:
    """Contracts of the NFO as Kite's dump says them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        number = (row.id + 1_000_000) * 256 + 2
        kind = f"{row.option_type}E" if row.option_type else "FUT"
        segment = "NFO-OPT" if row.option_type else "NFO-FUT"
        writer.writerow((
            number, number // 256, row.symbol, row.underlying, 0, row.expiry, row.strike or 0, row.tick_size,
            lot(row, turn=turn), kind, segment, "NFO",
        ))  # fmt: skip
    return out.getvalue()


def measure(size: int, *, rounds: int) -> dict[str, object]:
    """Fill, start everything, change, end everything."""
    today = datetime.now(UTC).date()
    rows = [_known_elsewhere(row) for row in universe(size, today=today).rows]
    contracts = [row for row in rows if row.venue == "NFO"]
    with (
        tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as name,
        catalogue(rows, listed_on=today - timedelta(DAYS_AGO), read_only=False) as url,
    ):
        environment = os.environ | UNLIMITED | {
            "INSTRUMENT_REGISTRY_DATABASE_URL": url, "INSTRUMENT_REGISTRY_DATA_DIR": name,
            "INSTRUMENT_REGISTRY_PORT": str(PORT), "INSTRUMENT_REGISTRY_WORKERS": str(WORKERS),
            "INSTRUMENT_REGISTRY_DEMO": "off",
        }  # fmt: skip
        log = Path(name) / "serve.log"
        serving = subprocess.Popen(
            [*PROGRAM, "serve"], env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT
        )
        try:
            wait(serving, f"http://127.0.0.1:{PORT}/health")
            system = System(url, Path(name), environment)
            seconds = []
            for turn in range(rounds):
                day = today - timedelta(rounds - turn)
                seconds.append(round(system.ingest(contracts[:ROWS], turn=turn, day=day), 3))
                wanted = f'"lot_size":{lot(contracts[0], turn=turn)},'
                assert wanted.encode() in system.first_hit(contracts[0].key), "the new lot is not found"
            long = round(system.ingest(contracts, turn=rounds, day=today), 2)
        finally:
            serving.terminate()
            serving.wait(timeout=60)
    return {
        "change_of_5000_rows_seconds": max(seconds),
        "each_change_seconds": seconds,
        "long_run_seconds": long,
        "rows_of_the_long_run": len(contracts),
        "instruments": len(rows),
    }


def _known_elsewhere(row: IndexRow) -> IndexRow:
    return row._replace(
        tokens=tuple(called._replace(broker=broker) for called, broker in zip(row.tokens, BROKERS, strict=True))
    )


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    results = measure(chosen.size, rounds=chosen.rounds)
    samples = {"workers": WORKERS, "changes": chosen.rounds, "rows_of_a_change": ROWS}
    sys.exit(keep("following", results, bars=BARS, samples=samples))


if __name__ == "__main__":
    main()
