"""The quarantine and the schedules at a terminal: looked at, decided, and said by an exit code."""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conftest import DatabaseUrls
from desk import TEA

HALF = "".join(line for line in TEA.splitlines(keepends=True) if "NFO" not in line)


class Terminal:
    """Commands against one database; the first dump of it is in, the second was kept out as run 2."""

    def __init__(self, urls: DatabaseUrls, folder: Path) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("INSTRUMENT_REGISTRY_")}
        self.environment = own | {
            "INSTRUMENT_REGISTRY_DATABASE_URL": urls.service,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.folder = folder

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "instrument_registry", *words]
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=120
        )

    def told(self, *words: str) -> dict:
        answer = self.run(*words, "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)


@pytest.fixture
def terminal(database_urls: DatabaseUrls, tmp_path: Path) -> Terminal:
    one = Terminal(database_urls, tmp_path)
    for day, text, code in (("2026-08-18", TEA, 0), ("2026-08-19", HALF, 3)):
        (tmp_path / f"kite_{day}_NSE.csv").write_text(text)
        answer = one.run("ingest", "zerodha", f"kite_{day}_NSE.csv")
        assert answer.returncode == code, answer.stderr
    return one


class TestQuarantine:
    def test_a_dump_is_seen_saved_and_released_once(self, terminal: Terminal) -> None:
        (waiting,) = terminal.told("quarantine", "list")["ingestions"]
        shown = terminal.run("quarantine", "show", "2")
        saved = terminal.run("quarantine", "save", "2", "--to", "seen")
        released = terminal.told("quarantine", "release", "2", "--reason", "No derivatives today")
        again = terminal.run("quarantine", "release", "2", "--reason", "Once more")

        assert (waiting["id"], waiting["reasons"][0]["gate"]) == (2, "segment_missing")
        assert "segment(s) NFO are missing" in shown.stdout
        assert (terminal.folder / saved.stdout.strip()).read_text() == HALF
        assert (released["status"], released["warnings"][0]["gate"]) == ("unchanged", "segment_missing")
        assert (again.returncode, again.stderr.count("\n")) == (3, 1)
        assert terminal.told("quarantine", "list")["ingestions"] == []

    def test_a_discarded_one_is_gone_and_an_unknown_one_is_not_found(self, terminal: Terminal) -> None:
        discarded = terminal.run("quarantine", "discard", "2", "--reason", "A better one came")
        codes = [
            terminal.run("quarantine", *words).returncode
            for words in (("save", "2"), ("show", "99"), ("discard", "2", "--reason", "again"), ("release", "2"))
        ]

        assert discarded.returncode == 0
        assert codes == [1, 1, 3, 2]
        assert terminal.told("quarantine", "show", "2")["ingestion"]["discard_reason"] == "A better one came"


class TestSetAside:
    def test_every_place_tells_whole_rows_from_single_values(self, terminal: Terminal) -> None:
        rows = [
            {"instrument_key": f"NSE_EQ|{number}", "trading_symbol": f"TEA{number}", "name": "TEA", "isin": isin}
            for number, isin in enumerate(["INE000000000", "INE000000001", ""])
        ]
        for row in rows:
            row |= {"segment": "NSE_EQ", "instrument_type": "EQ", "exchange_token": row["instrument_key"][7:]}
        rows[2]["trading_symbol"] = ""
        (terminal.folder / "upstox_2026-08-18_NSE.json").write_text(json.dumps(rows))
        told = terminal.told("ingest", "upstox", "upstox_2026-08-18_NSE.json")
        again = terminal.run("ingest", "upstox", "upstox_2026-08-18_NSE.json", "--dry-run")
        shown = terminal.run("quarantine", "show", str(told["id"]))
        reported = terminal.told("quarantine", "show", str(told["id"]))["ingestion"]

        assert [(one["set_aside"], one["values_set_aside"]) for one in (told, reported)] == [(1, 2)] * 2
        assert "1 rows and 2 values set aside" in again.stdout
        assert "1 rows, 2 values" in shown.stdout


class TestMirror:
    def test_one_that_is_listed_is_fetched_from_and_another_is_refused(self, terminal: Terminal) -> None:
        serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=terminal.folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as mirror:
            threading.Thread(target=mirror.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{mirror.server_port}/kite_2026-08-18_NSE.csv"
            refused = terminal.run("ingest", "zerodha", address)
            terminal.environment["INSTRUMENT_REGISTRY_FETCH_NETWORKS"] = "127.0.0.1/32"
            fetched = terminal.told("ingest", "zerodha", address)
            mirror.shutdown()

        assert (refused.returncode, "INSTRUMENT_REGISTRY_FETCH_NETWORKS" in refused.stderr) == (2, True)
        assert (fetched["status"], fetched["market_date"]) == ("unchanged", "2026-08-18")


class TestSchedule:
    def test_it_is_set_paused_resumed_and_removed(self, terminal: Terminal) -> None:
        made = terminal.told("schedule", "set", "zerodha", "40 8 * * *", "--grace", "30")
        paused = terminal.told("schedule", "pause", "zerodha")
        resumed = terminal.told("schedule", "resume", "zerodha")
        (listed,) = terminal.told("schedule", "list")["schedules"]
        codes = [
            terminal.run("schedule", *words).returncode
            for words in (("set", "zerodha", "99 8 * * *"), ("remove", "zerodha"), ("remove", "zerodha"))
        ]

        assert (made["venue"], made["grace_minutes"], made["paused"]) == ("NSE", 30, False)
        assert (paused["paused"], paused["next_due"]) == (True, None)
        assert resumed["next_due"] == listed["next_due"] is not None
        assert codes == [2, 0, 1]
