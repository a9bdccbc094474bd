"""What adding up everybody's demand costs, and how soon a thousand ladders follow a price.

Demand of 10,000, 100,000 and a million wants, each with its reference in the same run: a bare count over the same
table, and the same rows taken as Python objects. Ladders: 1,000 of 126 options each on one underlying, moved a step.
Run: python bench/demand.py [--largest 1000000] [--ladders 1000]
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
from reports import keep

from instrument_registry.database import Database, migrations
from instrument_registry.events import Metadata
from instrument_registry.processes.embedded import EmbeddedServer
from instrument_registry.subscriptions.demand import service, storage
from instrument_registry.subscriptions.demand.summing import summed
from instrument_registry.subscriptions.demand.wants import DemandSource, Want
from instrument_registry.subscriptions.ladders import Price
from instrument_registry.subscriptions.rules import pricing
from instrument_registry.subscriptions.rules import service as rules
from instrument_registry.subscriptions.rules.model import LadderRule, Underlying
from instrument_registry.subscriptions.rules.prices import Told
from instrument_registry.subscriptions.rules.standing import Owner

SIZES = (10_000, 100_000, 1_000_000)
BARS = {"seconds_at_10000": 0.1, "seconds_at_100000": 0.3, "seconds_at_1000000": 2.0, "ladders_unmoved_seconds": 1.0}
AT = datetime(2026, 8, 18, 4, 0, tzinfo=UTC)
METADATA = Metadata(actor="bench", correlation_id="bench")
NIFTY = Underlying("NSE", "NIFTY")
TIMES = 5

# Nearly two wants of an instrument in the mean; owners of 50 wants, users of five owners.
FILL = """
insert into subscription_wants (source, owner, rule, instrument_id, user_id, mode, priority, copies, pinned, expires_at)
select (array['live_feed', 'alerts', 'position', 'historical'])[1 + n % 4], 'owner-' || n / 50, 0,
       1 + (random() * {rows} / 2)::int, 'user-' || n / 250, n % 3, n % 101, 1 + (n % 9 = 0)::int, n % 50 = 0,
       case when n % 3 = 0 then '{at}'::timestamptz + make_interval(secs => 60 + n) end
  from generate_series(1, {rows}) as n on conflict do nothing
"""
CHAIN = """
with listed as (
    insert into instruments (ulid, listed_on, expiry)
    select lpad(n::text, 26, '0'), '2026-08-01', '2026-08-18'::date + 7 * (n / 400) from generate_series(0, 1599) as n
    returning id, expiry, 20000 + 50 * (ulid::bigint / 2 % 200) as strike, substr('CP', 1 + (ulid::bigint % 2)::int, 1)
              as side)
insert into instrument_versions (instrument_id, key, kind, venue, root, expiry, strike, option_type, asset_class,
    valid_from, valid_to, known_from)
select id, 'NFO:NIFTY;' || expiry || ';' || strike || ';' || side, 'option', 'NFO', 'NIFTY', expiry, strike, side,
       'index', '2026-08-01', expiry + 1, '2026-08-01' from listed
"""


class Bench:
    """One database, filled and emptied."""

    def __init__(self, database: Database, owner_url: str) -> None:
        self.database, self.owner_url = database, owner_url
        self.found: dict[str, float] = {}

    def owner(self, *statements: str) -> None:
        """Arrange what the service may not."""
        with psycopg.connect(self.owner_url, options="-c search_path=instrument_registry", autocommit=True) as owner:
            for statement in statements:
                owner.execute(statement.encode())

    async def demand(self, rows: int) -> None:
        """Everybody's demand from the table, and what else one could do with the table."""
        self.owner("truncate subscription_wants", FILL.format(rows=rows, at=AT), "vacuum analyze subscription_wants")
        counted = await self.median(lambda tx: tx.execute("select count(*) from subscription_wants"))
        told = await self.median(lambda tx: service.demanded(tx, at=AT))
        read = await self.median(lambda tx: storage.counting(tx, at=AT))
        async with self.database.transaction(read_only=True) as tx:
            counting = await storage.counting(tx, at=AT)
            began = time.perf_counter()
            demand = summed(counting.wants, counting.users)
            adding = time.perf_counter() - began
            began = time.perf_counter()
            await (await tx.execute("select * from subscription_wants where source <> 'historical'")).fetchall()
            objects = time.perf_counter() - began
        self.found |= {
            f"seconds_at_{rows}": round(told, 4), f"of_it_reading_at_{rows}": round(read, 4),
            f"of_it_adding_at_{rows}": round(adding, 4), f"reference_count_at_{rows}": round(counted, 4),
            f"reference_python_rows_at_{rows}": round(objects, 4), f"instruments_at_{rows}": len(demand),
            f"references_at_{rows}": int(demand.wanted_by.sum()),
        }  # fmt: skip

    async def owners(self) -> None:
        """What an owner's 50 wants cost beside a bare insert of as many rows, each in a transaction of its own."""
        wants = [Want(instrument_id=n) for n in range(1, 51)]
        ours, bare = [], []
        for number in range(200):
            began = time.perf_counter()
            async with self.database.transaction() as tx:
                await service.replace(
                    tx, DemandSource.MANUAL, f"o-{number}", user_id="u", wants=wants, metadata=METADATA, at=AT
                )
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            async with self.database.transaction() as tx:
                await tx.execute(
                    "insert into subscription_wants select 'strategy', %s, 0, n, 'u', 0, 50, 1, false, null"
                    " from generate_series(1, 50) as n", (f"o-{number}",),
                )  # fmt: skip
            bare.append(time.perf_counter() - began)
        self.found["replace_50_ms"] = round(statistics.median(ours) * 1000, 2)
        self.found["reference_bare_insert_50_ms"] = round(statistics.median(bare) * 1000, 2)

    async def ladders(self, count: int) -> None:
        """A price that moves nothing, one that moves every ladder, and the same once more."""
        self.owner("truncate subscription_wants", CHAIN, "analyze instrument_versions")
        at = AT
        await self.price("24000", at)
        rule = LadderRule(underlying=NIFTY, around=10, expiries=3)
        began = time.perf_counter()
        for number in range(count):
            owner = Owner(source=DemandSource.LIVE_FEED, owner=f"p-{number}", user_id=f"u-{number % 200}")
            async with self.database.transaction() as tx:
                await rules.replace(tx, owner, [rule], metadata=METADATA, at=at)
        self.found["ladder_made_ms"] = round((time.perf_counter() - began) * 1000 / count, 2)
        for name, value in (("unmoved", "24010"), ("moved_a_step", "24055"), ("moved_far", "25551")):
            at += timedelta(seconds=61)
            began = time.perf_counter()
            await self.price(value, at)
            moved = await self.settle(at)
            self.found[f"ladders_{name}_seconds"] = round(time.perf_counter() - began, 3)
            self.found[f"ladders_{name}"] = moved
        began = time.perf_counter()
        async with self.database.transaction() as tx:
            await rules.all_due(tx, at=at)
        await self.settle(at)
        self.found["ladders_all_looked_at_seconds"] = round(time.perf_counter() - began, 3)

    async def price(self, value: str, at: datetime) -> None:
        """Tell it."""
        async with self.database.transaction() as tx:
            told = Told(price=Price(value=Decimal(value), at=at))
            await pricing.tell(tx, [(NIFTY, told)], metadata=METADATA, at=at)

    async def settle(self, at: datetime) -> int:
        """As the worker does it."""
        total = 0
        while True:
            async with self.database.transaction() as tx:
                due, found = await rules.settle(tx, metadata=METADATA, at=at)
            total += len(found)
            if due < rules.SETTLED_AT_ONCE:
                return total

    async def median(self, work: Callable[..., Awaitable[object]]) -> float:
        """How long something takes in a transaction that has begun."""
        taken = []
        for _ in range(TIMES):
            async with self.database.transaction(read_only=True) as tx:
                began = time.perf_counter()
                await work(tx)
                taken.append(time.perf_counter() - began)
        return statistics.median(taken)


def measure(*, largest: int, ladders: int) -> dict[str, float]:
    """Everything, on a server of our own that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            migrations.migrate(server.owner_url, service_login=server.service_login)

            async def run() -> dict[str, float]:
                database = await Database(server.service_url).open()
                try:
                    bench = Bench(database, server.owner_url)
                    for rows in (one for one in SIZES if one <= largest):
                        await bench.demand(rows)
                    await bench.owners()
                    await bench.ladders(ladders)
                    return bench.found
                finally:
                    await database.close()

            return asyncio.run(run())
        finally:
            server.stop()


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=max(SIZES))
    parser.add_argument("--ladders", type=int, default=1_000)
    chosen = parser.parse_args()
    found = measure(largest=chosen.largest, ladders=chosen.ladders)
    bars = {name: bar for name, bar in BARS.items() if name in found or chosen.largest == max(SIZES)}
    sys.exit(keep("demand", found, bars=bars, samples=vars(chosen)))


if __name__ == "__main__":
    main()
