"""How long a change of demand takes until every account's steps are there, from the tables and back into them.

Demand of 10,000 and 100,000 instruments on Kite accounts, with 1.2 times the room: the first plan applied; then one
more instrument, then a connection lost, each planned, checked, applied and written. The reference in the same run is
the bare work of the database: reading the demand as numbers, and copying as many rows as there are instruments.
Run: python bench/plans.py [--largest 100000]
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
from reports import keep

from instrument_registry.database import Database, migrations
from instrument_registry.events import Metadata
from instrument_registry.processes.embedded import EmbeddedServer
from instrument_registry.subscriptions.capacity import service as capacity
from instrument_registry.subscriptions.capacity.model import Figure
from instrument_registry.subscriptions.capacity.terms import Terms as Limits
from instrument_registry.subscriptions.planner.model import Level
from instrument_registry.subscriptions.plans import applying, storage
from instrument_registry.subscriptions.plans.planning import Planning, Terms
from instrument_registry.subscriptions.solver import Solver
from instrument_registry.wiring import planning_of

SIZES = (10_000, 100_000)
BARS = {"delta_seconds_at_10000": 1.0, "delta_seconds_at_100000": 3.0, "unchanged_seconds_at_100000": 3.0}
AT = datetime(2026, 8, 18, 4, 0, tzinfo=UTC)
METADATA = Metadata(actor="bench", correlation_id="bench")
TERMS = Terms(level=Level.MODERATE, timeout_seconds=60, cache_seconds=0)
TIMES = 3
EACH, CONNECTIONS = 3000, 3

LISTED = """
with listed as (
    insert into instruments (ulid, listed_on) select lpad(n::text, 26, '0'), '2026-08-01' from generate_series(1, {n}) n
    returning id, ulid::bigint as n),
named as (
    insert into instrument_versions (instrument_id, key, kind, venue, root, valid_from, known_from)
    select id, 'NSE:X' || n, 'equity', 'NSE', 'X' || n, '2026-08-01', '2026-08-01' from listed)
insert into broker_tokens (instrument_id, broker, segment, token, venue, valid, known_from, file, line, row_hash, key,
    symbol, kind)
select id, 'zerodha', 'NSE', 1000000 + n, 'NSE', '[2026-08-01,)', '2026-08-01', 0, n, 0, 'NSE:X' || n, 'X' || n,
       'equity' from listed
"""
WANTED = """
insert into subscription_wants (source, owner, rule, instrument_id, user_id, mode, priority, copies, pinned)
select 'live_feed', 'o-' || id / 50, 0, id, 'u-' || id % 200, id % 3, id % 101, 1, false from instruments
 order by id limit {n}
"""


class Bench:
    """One database, and one process that plans."""

    def __init__(self, database: Database, owner_url: str, planning: Planning) -> None:
        self.database, self.owner_url, self.planning = database, owner_url, planning
        self.found: dict[str, float | int | str] = {}

    def owner(self, *statements: str) -> None:
        """Arrange what the service may not."""
        with psycopg.connect(self.owner_url, options="-c search_path=instrument_registry", autocommit=True) as owner:
            for statement in statements:
                owner.execute(statement.encode())

    async def size(self, count: int) -> None:
        """One number of instruments: first plan, one more, a lost connection, nothing new."""
        self.owner(
            "truncate subscription_wants, subscription_deltas, subscription_heads, capacity_accounts cascade",
            "update subscription_live set plan_id = null, previous_id = null",
            "truncate instruments, instrument_versions, broker_tokens restart identity cascade",
            LISTED.format(n=count + TIMES), WANTED.format(n=count), "analyze",
        )  # fmt: skip
        await self.accounts(-(-count * 12 // 10 // (EACH * CONNECTIONS)))
        self.found[f"first_seconds_at_{count}"] = (await self.planned())[0]
        times, parts = [], []
        for number in range(TIMES):
            self.owner(
                "insert into subscription_wants select 'manual', 'more', 0, id, 'u', 1, 50, 1, false, null"
                f" from instruments order by id desc limit 1 offset {number}"
            )
            spent, summary = await self.planned()
            times.append(spent)
            parts.append(summary)
        self.found[f"delta_seconds_at_{count}"] = statistics.median(times)
        self.found |= {f"of_it_{name}_at_{count}": parts[-1][name] for name in ("read_ms", "solve_ms", "check_ms")}
        began = time.perf_counter()
        await self.planning.make(TERMS, metadata=METADATA, only_changes=True)
        self.found[f"unchanged_seconds_at_{count}"] = round(time.perf_counter() - began, 3)
        self.found |= await self.reference(count)

    async def planned(self) -> tuple[float, dict[str, float]]:
        """Plan and apply: how long until the steps are committed."""
        began = time.perf_counter()
        made = await self.planning.make(TERMS, metadata=METADATA)
        async with self.database.transaction() as tx:
            live = await storage.live(tx, locked=True)
            await applying.apply(
                tx, self.planning.memory, made.plan.id, expected_live=live.plan_id, metadata=METADATA, at=AT,
                reason="bench",
            )  # fmt: skip
        return round(time.perf_counter() - began, 3), dict(made.plan.summary)  # type: ignore[arg-type]

    async def accounts(self, count: int) -> None:
        """So many accounts at Kite."""
        figure = {"source": "bench", "as_of": date(2026, 8, 1)}
        figures = {
            "connections": Figure(value=CONNECTIONS, **figure), "connection_total": Figure(value=EACH, **figure)
        }  # fmt: skip
        for number in range(count):
            async with self.database.transaction() as tx:
                await capacity.put(
                    tx, f"K{number}", Limits(broker="kite", figures=figures), reason="bench", metadata=METADATA, at=AT
                )

    async def reference(self, count: int) -> dict[str, float]:
        """The bare database: the demand read as numbers, and as many rows copied."""
        async with self.database.transaction() as tx:
            began = time.perf_counter()
            cursor = await tx.execute("select instrument_id, mode, priority from subscription_wants", binary=True)
            rows = await cursor.fetchall()
            read = time.perf_counter() - began
            await tx.execute("create temporary table copied (a bigint, b int, c int) on commit drop")
            began = time.perf_counter()
            async with tx.cursor() as cursor, cursor.copy("copy copied from stdin") as copy:
                for row in rows:
                    await copy.write_row(row)
            copied = time.perf_counter() - began
        return {
            f"reference_read_seconds_at_{count}": round(read, 3), f"reference_copy_seconds_at_{count}": round(copied, 3)
        }  # fmt: skip


async def measure(folder: Path, largest: int) -> dict[str, float | int | str]:
    """All sizes on a fresh embedded server."""
    server = EmbeddedServer(folder)
    server.start()
    try:
        migrations.migrate(server.owner_url, service_login=server.service_login)
        database = await Database(server.service_url).open()
        solver = Solver()
        try:
            bench = Bench(database, server.owner_url, planning_of(database, lambda: AT, solver))
            for count in SIZES:
                if count <= largest:
                    await bench.size(count)
            return bench.found
        finally:
            await solver.close()
            await database.close()
    finally:
        server.stop()


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=100_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o711)
        results = asyncio.run(measure(Path(name), chosen.largest))
    bars = {name: most for name, most in BARS.items() if name in results}
    sys.exit(keep("plans", results, bars=bars, samples={"times": TIMES}))


if __name__ == "__main__":
    main()
