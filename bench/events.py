"""What the fact log costs and how soon it tells, on an embedded server with the settings we ship.

Beside each promise stands its reference: a bulk run against COPY + index of the same rows and against one stream per
instrument, which is what the log does not do.
Run: python bench/events.py [--facts 273027] [--singles 8000] [--seconds 10]
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parent))

from reports import keep

from instrument_registry import events
from instrument_registry.catalog.events import Evidence, InstrumentListed
from instrument_registry.clock import now
from instrument_registry.database import Database, Transaction, migrations
from instrument_registry.events import sequencer
from instrument_registry.processes.embedded import EmbeddedServer

TARGETS = {
    "bulk_seconds": 4.0,
    "batch_appends_per_second": 10_000,
    "catch_up_read_bulk_per_second": 100_000,
    "receipt_p50_ms": 50,
    "receipt_p99_ms": 250,
    "idle_share_of_a_core": 0.02,
}
WRITERS = 8
RATE_PER_SECOND = 200
METADATA = events.Metadata(actor="bench", correlation_id="bench", source="dhan")

DRAFT = """
insert into told (subject, type, data)
select ulid, 'instrument.listed', json_build_object(
         'instrument_id', ulid, 'key', 'NFO:NIFTY;2026-09-01;' || n || ';C', 'effective_date', '2026-02-10',
         'source', 'dhan', 'ingestion', 1, 'evidence', json_build_object('file', 'dhan_2026-02-10.csv', 'line', n),
         'old', null,
         'new', json_build_object('kind', 'option', 'name', 'NIFTY 24500 CE', 'lot_size', 65, 'tick_size', '0.05',
                                  'segment', 'NSE_D', 'token', n::text))::text
  from (select n, '01K3' || lpad(upper(to_hex(n::bigint * 7919)), 22, '0') as ulid from generate_series(1, %s) n) as one
"""

REFERENCES = """
create schema bench;
create table bench.plain (subject text collate "C", type text, schema_version smallint, data text,
    occurred_at timestamptz);
create index on bench.plain (subject);
create table bench.heads (stream text collate "C" primary key, version bigint not null);
create table bench.ids (event_id uuid primary key, number bigint not null);
create table bench.waiting (number bigint primary key);
create table bench.log (number bigint primary key, stream text collate "C", version bigint, event_id uuid, type text,
    data text, occurred_at timestamptz, recorded_at timestamptz, unique (stream, version));
"""
PER_INSTRUMENT = (
    """insert into bench.heads as h select 'instrument/' || subject, count(*) from told group by subject
       on conflict (stream) do update set version = h.version + excluded.version""",
    """insert into bench.log select row_number() over (), 'instrument/' || subject, 1, gen_random_uuid(), type, data,
       occurred_at, now() from told""",
    "insert into bench.ids select event_id, number from bench.log",
    "insert into bench.waiting select number from bench.log",
)


class Bench:
    """One server, and what was measured on it."""

    def __init__(self, database: Database, urls: tuple[str, str], *, facts: int, singles: int, seconds: float) -> None:
        self.database, (self.owner_url, self.service_url) = database, urls
        self.facts, self.singles, self.seconds = facts, singles, seconds
        self.found: dict[str, float] = {}

    async def run(self) -> dict[str, float]:
        """Measure everything, one thing after the other."""
        for step in (
            self.bulk,
            self.sequencing,
            self.read_bulk,
            self.single_appends,
            self.read_singles,
            self.receipts,
            self.idle,
        ):
            await step()
            print(json.dumps(self.found), file=sys.stderr)
        return self.found

    async def bulk(self) -> None:
        """A first load's facts in one append and by the references, each with its commit, in turn."""
        with psycopg.connect(self.owner_url) as owner:
            owner.execute(REFERENCES)
        taken: dict[str, list[float]] = {"ours": [], "copy_and_index": [], "stream_per_instrument": []}
        owner = await Database(self.owner_url).open()
        for run in range(3):
            for name, spent in taken.items():
                async with owner.transaction(statement_timeout_seconds=600) as tx:
                    await tx.execute("truncate bench.plain, bench.heads, bench.ids, bench.waiting, bench.log")
                    await events.create_draft(tx, "told")
                    await tx.execute(DRAFT, (self.facts,))
                    rows = await _copied_out(tx) if name == "copy_and_index" else b""
                    began = time.perf_counter()
                    if name == "ours":
                        stream = f"ingestion-{run}"
                        await events.append_from(tx, "told", kinds=[InstrumentListed], stream=stream, metadata=METADATA)
                    elif name == "copy_and_index":
                        await _copied_in(tx, rows)
                    else:
                        for step in PER_INSTRUMENT:
                            await tx.execute(step)
                spent.append(time.perf_counter() - began)
        await owner.close()
        best = {name: min(spent) for name, spent in taken.items()}
        self.found["bulk_seconds"] = round(best["ours"], 2)
        self.found["bulk_reference_copy_and_index_seconds"] = round(best["copy_and_index"], 2)
        self.found["bulk_reference_stream_per_instrument_seconds"] = round(best["stream_per_instrument"], 2)

    async def sequencing(self) -> None:
        """Positions for the bulk runs, then for as many appends of one fact each."""
        async with self.database.session("bench") as session:
            began = time.perf_counter()
            facts = await sequencer.catch_up(session)
            self.found["sequencing_bulk_facts_per_second"] = round(facts / (time.perf_counter() - began))
        with psycopg.connect(self.owner_url) as owner:
            owner.execute("create table pending_kept as select * from instrument_registry.positions")
            owner.execute(
                """insert into instrument_registry.pending
                   select (1000000 + n)::bigint << 20, 1 from generate_series(1, %s) n""",
                (self.facts,),
            )
        async with self.database.session("bench") as session:
            began = time.perf_counter()
            await sequencer.catch_up(session)
            self.found["sequencing_single_appends_seconds"] = round(time.perf_counter() - began, 2)
        with psycopg.connect(self.owner_url) as owner:  # nothing was told by those
            owner.execute("truncate instrument_registry.positions")
            owner.execute("insert into instrument_registry.positions select * from pending_kept")

    async def read_bulk(self) -> None:
        """From the first position to the last."""
        self.found["catch_up_read_bulk_per_second"] = await self._read(after=0)

    async def read_singles(self) -> None:
        """The same where each append brought one fact, or a hundred."""
        self.found["catch_up_read_singles_per_second"] = await self._read(after=self.singles_after)

    async def _read(self, *, after: int) -> int:
        began, count = time.perf_counter(), 0
        while True:
            async with self.database.transaction(read_only=True) as tx:
                page = await events.read(tx, after=after, limit=5_000)
            if page.position == after:
                return round(count / (time.perf_counter() - began))
            after, count = page.position, count + len(page.events)

    async def single_appends(self) -> None:
        """Transactions of one fact, and of a hundred, by eight writers."""
        async with self.database.transaction() as tx:
            self.singles_after = await events.head_position(tx)
        fact = InstrumentListed(
            occurred_at=now(), instrument_id="01K3", key="NSE:RELIANCE", effective_date="2026-08-18", source="dhan",
            ingestion=1, evidence=Evidence(file="dhan.csv", line=1), old=None, new={"lot_size": 1},
        )  # fmt: skip

        async def write(writer: int, appends: int, facts: int) -> None:
            for _ in range(appends):
                async with self.database.transaction() as tx:
                    await events.append(tx, *[fact] * facts, stream=f"writer-{writer}", metadata=METADATA)

        for name, appends, facts in (("single", self.singles, 1), ("batch", self.singles // 20, 100)):
            began = time.perf_counter()
            await asyncio.gather(*(write(writer, appends // WRITERS, facts) for writer in range(WRITERS)))
            rate = appends // WRITERS * WRITERS * facts / (time.perf_counter() - began)
            self.found[f"{name}_appends_per_second"] = round(rate)
        async with self.database.session("bench") as session:
            await sequencer.catch_up(session)

    async def receipts(self) -> None:
        """From commit to a follower's hand, at a steady rate."""
        async with self.database.transaction() as tx:
            after = await events.head_position(tx)
        committed: dict[str, float] = {}
        waits: list[float] = []
        count = round(RATE_PER_SECOND * self.seconds)
        at_once = asyncio.Semaphore(2 * WRITERS)

        async def receive() -> None:
            async for page in events.follow(self.database, after=after):
                at = time.perf_counter()
                waits.extend(at - committed[event.stream] for event in page.events)
                if len(waits) >= count:
                    return

        async def send(number: int) -> None:
            fact = InstrumentListed(
                occurred_at=now(), instrument_id=str(number), key=None, effective_date="2026-08-18", source="dhan",
                ingestion=1, evidence=None, old=None, new=None,
            )  # fmt: skip
            async with at_once:
                async with self.database.transaction() as tx:
                    await events.append(tx, fact, stream=f"receipt-{number}", metadata=METADATA)
                    committed[f"receipt-{number}"] = time.perf_counter()  # just before it
                await events.wake(self.database)

        async with _sequencing(self.service_url):
            await asyncio.sleep(1)
            receiving = asyncio.create_task(receive())
            began = time.perf_counter()
            sending = []
            for number in range(count):
                await asyncio.sleep(max(0, began + number / RATE_PER_SECOND - time.perf_counter()))
                sending.append(asyncio.create_task(send(number)))
            await asyncio.gather(*sending)
            self.found["receipts_sent_per_second"] = round(count / (time.perf_counter() - began))
            await asyncio.wait_for(receiving, 30)
        waits.sort()
        self.found["receipt_p50_ms"] = round(waits[len(waits) // 2] * 1000, 1)
        self.found["receipt_p99_ms"] = round(waits[len(waits) * 99 // 100] * 1000, 1)

    async def idle(self) -> None:
        """The sequencer and its server process while nothing happens."""
        async with _sequencing(self.service_url) as pid:
            await asyncio.sleep(1.5)
            async with self.database.transaction() as tx:
                query = "select pid from pg_stat_activity where application_name like %s"
                row = await (await tx.execute(query, ("%sequencer",))).fetchone()
            assert row is not None
            before = _cpu_seconds(pid) + _cpu_seconds(row[0])
            await asyncio.sleep(self.seconds)
            used = _cpu_seconds(pid) + _cpu_seconds(row[0]) - before
        self.found["idle_share_of_a_core"] = round(used / self.seconds, 4)


async def _copied_out(tx: Transaction) -> bytes:
    async with tx.cursor() as cursor, cursor.copy("copy told to stdout") as copy:
        return b"".join([bytes(rows) async for rows in copy])


async def _copied_in(tx: Transaction, rows: bytes) -> None:
    async with tx.cursor() as cursor, cursor.copy("copy bench.plain from stdin") as copy:
        for start in range(0, len(rows), 1 << 20):
            await copy.write(rows[start : start + (1 << 20)])


@contextlib.asynccontextmanager
async def _sequencing(url: str) -> AsyncIterator[int]:
    """A sequencer in a process of its own; its process id."""
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, "--sequence", url)
    try:
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def sequence(url: str) -> None:
    """Be that process."""
    database = await Database(url).open()
    await sequencer.run(database)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=273_027)
    parser.add_argument("--singles", type=int, default=8_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--sequence")
    chosen = parser.parse_args()
    if chosen.sequence:
        asyncio.run(sequence(chosen.sequence))
        return
    found = measure(facts=chosen.facts, singles=chosen.singles, seconds=chosen.seconds)
    samples = {"facts": chosen.facts, "singles": chosen.singles, "seconds": chosen.seconds}
    sys.exit(keep("events", found, bars=TARGETS, samples=samples))


def measure(*, facts: int, singles: int, seconds: float) -> dict[str, float]:
    """Everything, on a server of our own that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            migrations.migrate(server.owner_url, service_login=server.service_login)

            async def run() -> dict[str, float]:
                database = await Database(server.service_url, pool_size=WRITERS + 4).open()
                try:
                    bench = Bench(
                        database, (server.owner_url, server.service_url), facts=facts, singles=singles, seconds=seconds
                    )
                    return await bench.run()
                finally:
                    await database.close()

            return asyncio.run(run())
        finally:
            server.stop()


if __name__ == "__main__":
    main()
