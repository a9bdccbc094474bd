"""What making a subscription profile costs: with its version, references, fact and audit, beside a bare insert.

The bare insert of the same run writes one row with the same content and commits. Pairs of batches, one after the other
in one connection; then profiles that arrive at a steady rate, timed from when they were due.
Run: python bench/profiles.py [--batch 200] [--pairs 7] [--rate 200] [--seconds 5] [--instruments 10]
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
from reports import keep

from instrument_registry.catalog.model import Status
from instrument_registry.catalog.ulid import ulids
from instrument_registry.clock import now
from instrument_registry.database import Database, DatabaseUnavailable, migrations
from instrument_registry.events import Metadata
from instrument_registry.processes.embedded import EmbeddedServer
from instrument_registry.subscriptions.profiles import content, service
from instrument_registry.subscriptions.profiles.admission import Asked, Found
from instrument_registry.subscriptions.profiles.model import ProfileType, Strictness, Terms, Wanted
from instrument_registry.subscriptions.profiles.service import Context, Request

BARS = {"create_over_bare_insert": 4.0, "create_p95_ms_at_rate": 25.0, "failed_at_rate": 0}
USERS, CONNECTIONS, WAIT_SECONDS = 50, 16, 60.0
METADATA = Metadata(actor="api_key:abcdefghij234567", correlation_id="bench", source="http", address="10.1.2.3")
TERMS = Terms(
    strictness=Strictness.MODERATE, profiles=1_000_000, instruments=dict.fromkeys(ProfileType, 1_000),
    tier_0_per_key=100_000_000,
)  # fmt: skip
TABLE = """
create table instrument_registry.bench_profiles (
    id text primary key, user_id text not null, name text not null, content jsonb not null, created_at timestamptz)
"""
BARE = "insert into bench_profiles (id, user_id, name, content, created_at) values (%s, %s, %s, %s, %s)"


@dataclass
class Bench:
    """One server, and what was measured on it."""

    database: Database
    chosen: argparse.Namespace

    def __post_init__(self) -> None:
        self.numbers = itertools.count()
        self.found: dict[str, float] = {}

    async def run(self) -> dict[str, float]:
        """Measure everything, one thing after the other."""
        for step in (self.beside_a_bare_insert, self.at_a_rate):
            await step()
            print(json.dumps(self.found), file=sys.stderr)
        return self.found

    async def beside_a_bare_insert(self) -> None:
        """Batches in turn; of each pair the ratio of the medians, of all pairs the median."""
        await self._timed(self._create, 20)
        await self._timed(self._bare, 20)
        began = time.process_time()
        await self._timed(self._create, self.chosen.batch)
        self.found["create_cpu_ms"] = round(1000 * (time.process_time() - began) / self.chosen.batch, 2)
        pairs = []
        for pair in range(self.chosen.pairs):
            order = (self._bare, self._create) if pair % 2 else (self._create, self._bare)
            times = {each: statistics.median(await self._timed(each, self.chosen.batch)) for each in order}
            pairs.append((times[self._bare], times[self._create]))
        self.found["bare_insert_p50_ms"] = round(1000 * statistics.median(bare for bare, _ in pairs), 2)
        self.found["create_p50_ms"] = round(1000 * statistics.median(create for _, create in pairs), 2)
        ratios = [create / bare for bare, create in pairs]
        self.found["create_over_bare_insert"] = round(statistics.median(ratios), 2)

    async def at_a_rate(self) -> None:
        """Profiles that come at a steady rate, whether or not those before them are done."""
        begins, rate = time.perf_counter() + 0.1, self.chosen.rate
        failed: list[int] = []

        async def one(number: int) -> float:
            due = begins + number / rate
            await asyncio.sleep(due - time.perf_counter())
            try:
                await self._create()
            except DatabaseUnavailable:
                failed.append(number)
            return time.perf_counter() - due

        times = sorted(await asyncio.gather(*map(one, range(int(rate * self.chosen.seconds)))))
        self.found["created_at_rate"], self.found["failed_at_rate"] = len(times) - len(failed), len(failed)
        for percent in (50, 95, 99):
            self.found[f"create_p{percent}_ms_at_rate"] = round(1000 * times[len(times) * percent // 100], 1)

    async def _timed(self, work: Callable[[], Awaitable[None]], count: int) -> list[float]:
        times = []
        for _ in range(count):
            began = time.perf_counter()
            await work()
            times.append(time.perf_counter() - began)
        return times

    async def _create(self) -> None:
        asked = self._request(next(self.numbers))
        at = now()
        context = Context(
            terms=TERMS, metadata=METADATA, at=at, new_id=lambda: ulids(1, at=at, chance=os.urandom(10))[0]
        )
        async with self.database.transaction() as tx:
            await service.create(tx, asked, context)

    async def _bare(self) -> None:
        asked, at = self._request(next(self.numbers)), now()
        text = content.encode(asked.whole).decode()
        name = ulids(1, at=at, chance=os.urandom(10))[0]
        async with self.database.transaction() as tx:
            await tx.execute(BARE, (name, asked.wanted.user_id, asked.wanted.name, text, at))

    def _request(self, number: int) -> Request:
        first = number * self.chosen.instruments % 100_000
        named = [
            Asked(
                text=f"NFO:NIFTY;2026-09-01;{one};C",
                found=Found(
                    number=one, id=f"01K3{one:022}", key=f"NFO:NIFTY;2026-09-01;{one};C", status=Status.ACTIVE,
                    streamable=True, has_token=True,
                ),
            )
            for one in range(first, first + self.chosen.instruments)
        ]  # fmt: skip
        wanted = Wanted(user_id=f"user-{number % USERS}", name=f"n{number}", type=ProfileType.LIVE_FEED, items=())
        return Request(wanted=wanted, asked=tuple(named))


async def measured(server: EmbeddedServer, chosen: argparse.Namespace) -> dict[str, float]:
    """Everything, on a server that has started."""
    database = await Database(
        server.service_url, application="bench", pool_size=CONNECTIONS, wait_timeout_seconds=WAIT_SECONDS
    ).open()
    try:
        return await Bench(database, chosen).run()
    finally:
        await database.close()


def on_a_server_of_ones_own(chosen: argparse.Namespace) -> dict[str, float]:
    """Everything, on a server that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            migrations.migrate(server.owner_url, service_login=server.service_login)
            with psycopg.connect(server.owner_url) as owner:
                owner.execute(TABLE)
                owner.execute("grant insert on instrument_registry.bench_profiles to public")
            return asyncio.run(measured(server, chosen))
        finally:
            server.stop()


def main() -> int:
    """Measure, keep, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--instruments", type=int, default=10)
    chosen = parser.parse_args()
    return keep("profiles", on_a_server_of_ones_own(chosen), bars=BARS, samples=vars(chosen))


if __name__ == "__main__":
    sys.exit(main())
