# ruff: noqa: E501 - SQL and its rows read better in their own lines
"""A PostgreSQL of its own with a universe in the catalogue's tables, and a real API worker that reads it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.request import Request, urlopen

import psycopg

from instrument_registry.catalog.search import IndexRow
from instrument_registry.database import migrations
from instrument_registry.processes.embedded import EmbeddedServer

PROGRAM = (sys.executable, "-m", "instrument_registry")
READY_WITHIN_SECONDS = 180.0
KNOWN_FROM = datetime(2026, 1, 1, tzinfo=UTC)
# Readers of whole catalogues do without them.
SPARED = (
    "alter table broker_tokens drop constraint if exists broker_tokens_mean_one_instrument",
    "drop index if exists broker_tokens_key, broker_tokens_token, broker_tokens_exchange_token, broker_tokens_instrument",
)
INSTRUMENTS = "copy instruments (id, ulid, listed_on, expiry) from stdin"
VERSIONS = """
copy instrument_versions (instrument_id, valid_from, known_from, key, root, kind, asset_class, venue, series, expiry, strike,
    option_type, name, isin, currency, lot_size, multiplier, tick_size, freeze_qty) from stdin
"""
TOKENS = """
copy broker_tokens (instrument_id, broker, segment, token, exchange_token, venue, valid, known_from, file, line, row_hash, key, symbol,
    kind) from stdin
"""


@contextmanager
def catalogue(rows: list[IndexRow], *, listed_on: date, read_only: bool = True) -> Iterator[str]:
    """Where the service finds these rows, listed on a day and not gone since; read-only spares what a million wait for."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            migrations.migrate(server.owner_url, service_login=server.service_login)
            with psycopg.connect(server.owner_url, options="-c search_path=instrument_registry") as connection:
                for statement in SPARED if read_only else ():
                    connection.execute(statement)
                _fill(connection, rows, listed_on=listed_on)
            yield server.service_url
        finally:
            server.stop()


@contextmanager
def worker(database_url: str, *, port: int, data_dir: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """An API worker that answers searches."""
    environment = os.environ | {
        "INSTRUMENT_REGISTRY_DATABASE_URL": database_url,
        "INSTRUMENT_REGISTRY_DATA_DIR": str(data_dir),
        "INSTRUMENT_REGISTRY_PORT": str(port),
        "INSTRUMENT_REGISTRY_DEMO": "off",
        "INSTRUMENT_REGISTRY_LOG_LEVEL": "warning",
    }
    process = subprocess.Popen([*PROGRAM, "api"], env=environment, stdout=subprocess.DEVNULL)
    try:
        wait(process, f"http://127.0.0.1:{port}/health")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:  # it may be building an index
            process.kill()
            process.wait()


def key_for(database_url: str, *, data_dir: Path) -> str:
    """A key that may search."""
    environment = os.environ | {
        "INSTRUMENT_REGISTRY_DATABASE_URL": database_url, "INSTRUMENT_REGISTRY_DATA_DIR": str(data_dir),
    }  # fmt: skip
    command = [*PROGRAM, "keys", "create", "bench"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def told(url: str, *, key: str) -> bytes:
    """What a worker answers."""
    with urlopen(Request(url, headers={"X-Internal-API-Key": key}), timeout=30) as answer:
        body: bytes = answer.read()
    return body


def memory_mb(pid: int) -> dict[str, float]:
    """What a process holds, in MiB: proportional set size, and of it what is its own."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    own = kib["Private_Clean"] + kib["Private_Dirty"]
    return {"pss_mb": round(kib["Pss"] / 1024, 1), "private_mb": round(own / 1024, 1)}


def _fill(connection: psycopg.Connection, rows: list[IndexRow], *, listed_on: date) -> None:
    cursor = connection.cursor()
    with cursor.copy(INSTRUMENTS) as copy:
        for row in rows:
            copy.write_row((row.id, row.ulid, listed_on, row.expiry))
    with cursor.copy(VERSIONS) as copy:
        for row in rows:
            root = row.underlying or row.key.partition(":")[2].partition(";")[0]
            copy.write_row((
                row.id, listed_on, KNOWN_FROM, row.key, root, row.kind, row.asset_class, row.venue, row.series, row.expiry,
                row.strike, row.option_type, row.name, row.isin, row.currency, row.lot_size, row.multiplier, row.tick_size,
                row.freeze_qty,
            ))  # fmt: skip
    with cursor.copy(TOKENS) as copy:
        for row in rows:
            for broker, segment, token, exchange_token, symbol in row.tokens:
                copy.write_row((
                    row.id, broker, segment, token, exchange_token, row.venue, f"[{listed_on},)", KNOWN_FROM, 0, row.id, row.id,
                    row.key, symbol, row.kind,
                ))  # fmt: skip
    connection.execute("select setval('instrument_ids', %s)", (max(row.id for row in rows) + 1,))
    connection.commit()
    connection.autocommit = True
    connection.execute("analyze")


def wait(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the worker ended with {process.returncode}")
        try:
            with urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"the worker did not answer within {READY_WITHIN_SECONDS} s")
