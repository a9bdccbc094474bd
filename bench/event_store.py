"""The fact log beside the package `eventsourcing`, and a projection of a million facts built anew.

Single appends: eight writers, a transaction each, the same payload, on one embedded server with the settings we ship,
in interleaved pairs; the reference is the PostgreSQL recorder of `eventsourcing`, a thread and a connection a writer.
Ours runs in one process on uvloop with a task a writer, its sequencer beside it; once as facts that others publish, and
once as facts of ours, which leave an audit record besides: the reference knows nothing like it.
Run: python bench/event_store.py [--appends 4000] [--pairs 5] [--facts 1000000]
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import psycopg
import uvloop
from psycopg.conninfo import conninfo_to_dict

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from reports import keep

from facts import AT, METADATA, Counted, counted
from instrument_registry import events
from instrument_registry.database import Database, migrations
from instrument_registry.events import Fact, sequencer
from instrument_registry.events.projections import PROJECTIONS, service
from instrument_registry.processes.embedded import EmbeddedServer

BARS = {"times_eventsourcing": 3.0, "batch_appends_per_second": 10_000, "projection_rebuild_seconds": 60.0}
WRITERS = 8
BATCH = 100

DRAFT = """
insert into told (type, data, occurred_at)
select 'test.counted', '{"number":' || n || '}', now() from generate_series(1, %s) n
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published(Fact):
    """What somebody else tells, and no change of ours."""

    type: ClassVar[str] = "external.published"
    audited: ClassVar[bool] = False

    number: int


PUBLISHED = Published(occurred_at=AT, number=1)


class Judged:
    """The reference's recorder on a database of its own."""

    def __init__(self, owner_url: str) -> None:
        name = "bench_eventsourcing"
        with psycopg.connect(owner_url, autocommit=True) as owner:
            owner.execute(f"create database {name}")
        known = conninfo_to_dict(owner_url)
        self.datastore = PostgresDatastore(
            dbname=name, host=known["host"], port=known["port"], user=known["user"], password=known["password"],
            pool_size=WRITERS, max_overflow=WRITERS,
        )  # fmt: skip
        self.recorder = PostgresApplicationRecorder(self.datastore, events_table_name="stored_events")
        self.recorder.create_table()

    def single(self, appends: int) -> float:
        """Appends a second."""

        def write() -> None:
            for _ in range(appends // WRITERS):
                event = StoredEvent(
                    originator_id=uuid4(), originator_version=1, topic="test.counted", state=b'{"number":1}'
                )
                self.recorder.insert_events([event])

        return _rate(write, appends // WRITERS * WRITERS)


def _rate(write: Callable[[], None], count: int) -> float:
    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - began)


async def single(database: Database, appends: int, *, fact: Fact = PUBLISHED) -> float:
    """Our appends a second, each to a stream of its own in a transaction of its own."""

    async def write() -> None:
        for _ in range(appends // WRITERS):
            async with database.transaction() as tx:
                await events.append(tx, fact, stream=str(uuid4()), metadata=METADATA, expected_version=0)

    began = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return appends // WRITERS * WRITERS / (time.perf_counter() - began)


async def batch(database: Database, appends: int) -> float:
    """Facts a second where each append brings a hundred."""

    async def write() -> None:
        for _ in range(appends // BATCH // WRITERS * 4):
            async with database.transaction() as tx:
                await events.append(tx, *[counted(1)] * BATCH, stream=str(uuid4()), metadata=METADATA)

    began = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return appends // BATCH // WRITERS * 4 * WRITERS * BATCH / (time.perf_counter() - began)


async def projected(database: Database, facts: int) -> dict[str, object]:
    """A projection kept up over many facts, then built anew beside itself."""
    projection = PROJECTIONS["daily_facts"]
    for number in range(0, facts, 100_000):
        async with database.transaction(statement_timeout_seconds=600) as tx:
            await events.create_draft(tx, "told")
            await tx.execute(DRAFT, (min(100_000, facts - number),))
            await events.append_from(tx, "told", kinds=[Counted], stream=f"bulk-{number}", metadata=METADATA)
    async with database.session("bench") as session:
        await sequencer.catch_up(session)
    async with database.transaction() as tx:
        head = await events.head_position(tx)
    keeping = asyncio.create_task(service.keep_up(database, projection))
    while True:
        async with database.transaction() as tx:
            if await service.position(tx, projection.name) == head:
                break
        await asyncio.sleep(0.1)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    began = time.perf_counter()
    made = await service.rebuild(database, projection)
    seconds = time.perf_counter() - began
    assert made.equal, "the one built anew says something else"
    return {
        "projection_events": made.events,
        "projection_rebuild_seconds": round(seconds, 2),
        "projection_digests_equal": made.equal,
    }


async def measure(server: EmbeddedServer, judged: Judged, *, appends: int, pairs: int, facts: int) -> dict[str, object]:
    """Everything, in one run."""
    database = await Database(server.service_url, pool_size=WRITERS + 4).open()
    sequencing = asyncio.create_task(sequencer.run(database))
    ours, audited, theirs = [], [], []
    await single(database, appends // 4)
    await asyncio.to_thread(judged.single, appends // 4)
    for _ in range(pairs):
        ours.append(await single(database, appends))
        theirs.append(await asyncio.to_thread(judged.single, appends))
        audited.append(await single(database, appends, fact=counted(1)))
    batches = await batch(database, appends)
    sequencing.cancel()
    await asyncio.gather(sequencing, return_exceptions=True)
    found: dict[str, object] = {
        "single_appends_per_second": round(statistics.median(ours)),
        "single_reference_eventsourcing_per_second": round(statistics.median(theirs)),
        "times_eventsourcing": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2),
        "audited_single_appends_per_second": round(statistics.median(audited)),
        "audited_against_eventsourcing": round(
            statistics.median(a / b for a, b in zip(audited, theirs, strict=True)), 2
        ),
        "batch_appends_per_second": round(batches),
    }
    found |= await projected(database, facts)
    await database.close()
    return found


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--appends", type=int, default=4_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--facts", type=int, default=1_000_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            migrations.migrate(server.owner_url, service_login=server.service_login)
            judged = Judged(server.owner_url)
            found = uvloop.run(measure(server, judged, appends=chosen.appends, pairs=chosen.pairs, facts=chosen.facts))
            judged.datastore.close()
        finally:
            server.stop()
    sys.exit(keep("event_store", found, bars=BARS, samples=vars(chosen)))


if __name__ == "__main__":
    main()
