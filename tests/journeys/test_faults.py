"""`kill -9` of loader, server and PostgreSQL at any moment of an ingestion: the catalogue is as before or as after.

Every point of time brings one more day's dump. Whoever is chosen is killed at a seeded moment of a run whose length was
measured; then everything is started again, the catalogue is looked at, and the same dump is brought once more.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import psutil
import psycopg
import pytest

from catalogues import Catalogue, broken, digest
from hostile import HEADER, option
from instrument_registry.clock import now
from journeys.test_serve import Serving, eventually, gone

ROWS = 10_000
UPLOAD = "/api/v1/internal/instrument-registry/brokers/zerodha/upload?name="
VICTIMS = ("loader", "database", "server")
# A loader first starts its interpreter; a job begins within the worker's next look.
LOADER_SHARES = (0.3, 1.0)
JOB_SHARES = (0.05, 1.0)

LISTED = """
select b.token, v.key, v.lot_size from broker_tokens b join instrument_versions v on v.instrument_id = b.instrument_id
 where b.broker = 'zerodha' and b.known_to = 'infinity' and b.valid @> %s::date
   and v.known_to = 'infinity' and v.valid_from <= %s::date and v.valid_to > %s::date
"""
UNFINISHED = """
select count(*) from ingestions
 where status in ('running', 'failed') and market_date = %s
"""
GAPS = """
select position from (
    select position, lag(position + facts, 1, 1::bigint) over (order by position) as due from positions) dense
 where position <> due
"""

Listed = set[tuple[str, str, int]]


class Market:
    """A broker's dump of every day: contracts come and go, lots change, tokens move to other contracts."""

    def __init__(self, folder: Path, *, today: date) -> None:
        self._folder, self._today = folder, today
        self._expiry = today + timedelta(days=40)

    def day(self, number: int) -> date:
        return self._today - timedelta(days=60) + timedelta(days=number)

    def listed(self, number: int) -> Listed:
        return {
            (token, f"NFO:NIFTY;{self._expiry};{10_000 + 50 * contract};C", lot)
            for contract, token, lot in self._rows(number)
        }

    def file(self, number: int) -> Path:
        path = self._folder / f"kite_{self.day(number)}_NFO.csv"
        expiry = self._expiry.isoformat()
        rows = [
            option(contract, instrument_token=token, expiry=expiry, lot_size=str(lot))
            for contract, token, lot in self._rows(number)
        ]
        path.write_bytes(HEADER + b"".join(rows))
        return path

    def _rows(self, number: int) -> Iterator[tuple[int, str, int]]:
        for contract in range(40 * number, 40 * number + ROWS):
            shelf = number if (contract + number) % 50 == 0 else 0
            yield contract, str(256 * (contract + 100_000 * shelf) + 2), 75 + (contract + number) % 5 // 4


class Battlefield:
    """A real instance with a catalogue, the market it follows, and how long a run takes when nobody is killed."""

    def __init__(self, serving: Serving, market: Market) -> None:
        self.serving, self.market, self.days = serving, market, 0
        self.loader_seconds = self.job_seconds = 0.0

    def prepare(self) -> None:
        self.serving.start()
        self._bring()
        self.loader_seconds = self._bring()
        began = time.monotonic()
        self._wait_for(self._submit(self.market.file(self.days)))
        self.job_seconds = time.monotonic() - began
        self.days += 1
        assert self.listed() == self.market.listed(self.days - 1)

    def fault(self, victim: str, share: float) -> bool:
        """Kill somebody while the next day's dump is brought in, see that all is well; was it in the middle?"""
        before, listed_before = digest(self.catalogue.owner_url), self.listed()
        assert listed_before == self.market.listed(self.days - 1)
        low, high = JOB_SHARES if victim == "server" else LOADER_SHARES
        whole = self.job_seconds if victim == "server" else self.loader_seconds
        moment = (low + (high - low) * share) * whole
        file = self.market.file(self.days)
        job = self._kill_server(file, moment) if victim == "server" else None
        if job is None:
            self._kill_beside_loader(victim, file, moment)
        seen = self.listed(), digest(self.catalogue.owner_url)
        listed_after = self.market.listed(self.days)
        assert seen[0] == listed_after or (seen[0] == listed_before and (job or seen[1] == before)), (victim, moment)
        if job is None:
            ended = self.serving.run("ingest", "zerodha", str(file), "--json")
            assert ended.returncode == 0, ended.stderr
        else:
            self._wait_for(job)
        assert self.listed() == listed_after
        middle = self.catalogue.one(UNFINISHED, self.market.day(self.days)) != (0,)
        self.days += 1
        return middle

    @property
    def catalogue(self) -> Catalogue:
        note = json.loads((self.serving.data_dir / "run.json").read_text(encoding="utf-8"))
        return Catalogue(owner_url=note["owner_database_url"], service_url=note["database_url"])

    def listed(self) -> Listed:
        day = self.market.day(self.days)
        return set(self.catalogue.rows(LISTED, day, day, day))

    def _bring(self) -> float:
        began = time.monotonic()
        ended = self.serving.run("ingest", "zerodha", str(self.market.file(self.days)))
        assert ended.returncode == 0, ended.stderr
        self.days += 1
        return time.monotonic() - began

    def _kill_beside_loader(self, victim: str, file: Path, moment: float) -> None:
        command = [sys.executable, "-m", "instrument_registry", "ingest", "zerodha", str(file)]
        loader = subprocess.Popen(
            command, env=self.serving.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            loader.wait(moment)
        if victim == "loader":
            loader.kill()
            loader.communicate()
            eventually(self._nobody_loads)  # the server's end of a session may live until its statement has ended
            return
        (postmaster,) = self.serving.children("postgres")
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _, said = loader.communicate(timeout=60)
        assert (loader.returncode, len(said.strip().splitlines())) in ((0, 0), (1, 1)), said
        eventually(lambda: self.serving.children("postgres") not in ([], [postmaster]), otherwise=self.serving.words)
        self.serving.wait()
        eventually(self._database_answers)  # searches are answered without it, so that being ready says less

    def _kill_server(self, file: Path, moment: float) -> int:
        job = self._submit(file)
        time.sleep(moment)
        family = self.serving.family()
        os.kill(self.serving.process.pid, signal.SIGKILL)
        self.serving.process.wait()
        eventually(lambda: gone(family))
        self.serving.start()
        return job

    def _database_answers(self) -> bool:
        try:
            return self.catalogue.one("select 1") == (1,)
        except psycopg.OperationalError:
            return False

    def _nobody_loads(self) -> bool:
        loading = "select count(*) from pg_stat_activity where application_name = 'instrument-registry ingest'"
        return self.catalogue.one(loading) == (0,)

    def _submit(self, file: Path) -> int:
        key = (self.serving.data_dir / "operator.key").read_text(encoding="ascii").strip()
        request = urllib.request.Request(
            self.serving.url + UPLOAD + file.name,
            data=file.read_bytes(),
            headers={"X-Internal-API-Key": key, "Content-Type": "application/octet-stream"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(json.load(answer)["id"])

    def _wait_for(self, job: int) -> None:
        """Until a job is done; whenever one looks, the catalogue is as before or as after."""
        whole = (self.market.listed(self.days - 1), self.market.listed(self.days))
        deadline = time.monotonic() + 120
        while True:
            assert self.listed() in whole
            ((status, result),) = self.catalogue.rows("select status, result from jobs where id = %s", job)
            if status == "done":
                return
            assert status != "failed", result
            assert time.monotonic() < deadline, self.serving.words()[-3000:]
            time.sleep(0.05)


@pytest.fixture(scope="module")
def battlefield() -> Iterator[Battlefield]:
    with tempfile.TemporaryDirectory(prefix="instrument-registry-faults-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root the server runs as nobody, who has to pass
        serving = Serving(folder / "data", workers=1)
        one = Battlefield(serving, Market(folder, today=now().date()))
        try:
            one.prepare()
            yield one
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in serving.family():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            serving.process.wait()


def hold_out(one: Battlefield, *, points: int, seed: int) -> None:
    """Faults spread evenly over the run, each somewhere in its part of it, the victims by turns."""
    chance = random.Random(seed)
    turns = [(VICTIMS[point % len(VICTIMS)], (point + chance.random()) / points) for point in range(points)]
    chance.shuffle(turns)
    first = one.days
    middle = [one.fault(victim, share) for victim, share in turns]
    told = one.catalogue.rows(
        """select data::jsonb ->> 'market_date', count(*) from events where type = 'ingestion.applied' group by 1
           having (data::jsonb ->> 'market_date')::date >= %s order by 1""",
        one.market.day(first),
    )

    assert sum(middle) >= points // 3, middle
    assert told == [(str(one.market.day(number)), 1) for number in range(first, one.days)]
    eventually(lambda: one.catalogue.one("select count(*) from pending") == (0,))
    assert one.catalogue.rows(GAPS) == []
    assert broken(one.catalogue) == {}


@pytest.mark.serial
class TestFaults:
    def test_six_kills_leave_the_catalogue_as_before_or_as_after(self, battlefield: Battlefield) -> None:
        hold_out(battlefield, points=6, seed=1)

    @pytest.mark.nemesis
    @pytest.mark.timeout(1800)
    def test_twenty_kills_leave_the_catalogue_as_before_or_as_after(self, battlefield: Battlefield) -> None:
        hold_out(battlefield, points=20, seed=2)
