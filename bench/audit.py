"""What the audit costs an append, how fast a log of a million is verified, how soon a leaf is proved to be in it.

References of the same run: the same appends without a record; a bare SHA-256 over the same texts.
Run: python bench/audit.py [--records 1000000] [--appends 4000]
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
from reports import keep

from instrument_registry import events
from instrument_registry.clock import now
from instrument_registry.database import Database, migrations
from instrument_registry.events import Fact, schemas, sequencer, storage
from instrument_registry.events.audit import inspection, recording, sealer, service
from instrument_registry.events.audit.outside import Outside, read_checkpoints
from instrument_registry.processes.embedded import EmbeddedServer

BARS = {
    "times_append_rate_without_audit": 0.7,
    "verify_records_per_second": 100_000,
    "inclusion_proof_ms": 5.0,
}
FILL = (
    """create temporary table filled as
       select (nextval('append_numbers') << 20) as number, now() - n * interval '1 millisecond' as at
         from generate_series(1, %(records)s) as n""",
    """insert into appends (number, event_id, stream, version, facts, actor, correlation_id, recorded_at)
       select number, new_event_id(), 'fill', number, 1, %(actor)s, 'bench', at from filled""",
    "insert into pending select number, 1 from filled",
    f"""insert into audit_records (number, at, action, actor, subject, correlation_id, text)
       select number, at, %(action)s, %(actor)s, %(subject)s, 'bench',
              %(before_at)s || to_char(at at time zone 'UTC', '{storage.INSTANT}') || %(before_number)s || number
              || %(after_number)s
         from filled""",
)
WRITERS = 8
PAIRS = 5
METADATA = events.Metadata(actor="api_key:abcdefghij234567", correlation_id="bench", source="http", address="10.1.2.3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed(Fact):
    """Something like what an operator changes."""

    type: ClassVar[str] = "bench.changed"

    instrument_id: str
    key: str
    effective_date: str
    old: dict[str, int]
    new: dict[str, int]
    reason: str

    @property
    def subject(self) -> str:
        """The instrument."""
        return self.instrument_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedUnseen(Changed):
    """The same, without a record."""

    audited: ClassVar[bool] = False


def changed(kind: type[Changed], number: int) -> Changed:
    """One fact."""
    return kind(
        occurred_at=now(), instrument_id=f"01K3{number:022}", key="NSE:RELIANCE", effective_date="2026-08-18",
        old={"lot_size": 1}, new={"lot_size": 75}, reason="as the exchange's circular says",
    )  # fmt: skip


class Bench:
    """One server, and what was measured on it."""

    def __init__(self, database: Database, server: EmbeddedServer, folder: Path, *, records: int, appends: int) -> None:
        self.database, self.server, self.records, self.appends = database, server, records, appends
        self.outside = Outside(folder)
        self.found: dict[str, float] = {}

    async def run(self) -> dict[str, float]:
        """Measure everything, one thing after the other."""
        for step in (self.append_rates, self.fill, self.verify, self.proofs):
            await step()
            print(json.dumps(self.found), file=sys.stderr)
        return self.found

    async def append_rates(self) -> None:
        """Single appends by eight writers with and without a record, in turn; the median of the pairs' ratios."""
        rates: dict[type[Changed], list[float]] = {ChangedUnseen: [], Changed: []}
        for _ in range(PAIRS):
            for kind, found in rates.items():
                found.append(await self._rate(kind))
        ratios = [audited / plain for plain, audited in zip(*rates.values(), strict=True)]
        self.found["single_appends_without_audit_rate"] = round(statistics.median(rates[ChangedUnseen]))
        self.found["single_appends_rate"] = round(statistics.median(rates[Changed]))
        self.found["times_append_rate_without_audit"] = round(statistics.median(ratios), 3)

    async def fill(self) -> None:
        """A log of so many records, told by statements over sets, sealed and signed by the sealer."""
        sample = recording.draft(
            [(changed(Changed, 1), schemas.encode(changed(Changed, 1)))], stream="writer-1", metadata=METADATA
        )
        assert sample is not None
        pieces = dict(zip(("before_at", "before_number", "after_number"), sample.pieces, strict=True))
        with psycopg.connect(self.server.owner_url) as owner:
            owner.execute("set search_path = instrument_registry")
            for statement in FILL:
                owner.execute(statement, {"records": self.records, "action": sample.action, "actor": METADATA.actor,
                                          "subject": sample.subject, **pieces})  # fmt: skip
        with psycopg.connect(self.server.owner_url, autocommit=True) as owner:
            owner.execute("vacuum analyze")
        async with self.database.session("sealer") as session:
            sealing = await sealer.prepare(session, self.outside, clock=now)
            async with self.database.session("sequencer") as other:
                await sequencer.catch_up(other)
            began = time.perf_counter()
            size = await sealing.seal()
            self.found["sealed_per_second"] = round(size / (time.perf_counter() - began))
            began = time.perf_counter()
            await sealing.sign()
            self.found["checkpoint_ms"] = round((time.perf_counter() - began) * 1000, 2)
        self.found["records"] = size

    async def verify(self) -> None:
        """The whole log from the database, as `audit verify` does; then bare SHA-256 over the same texts in memory."""
        rates, bare = [], []
        with self.database.blocking_session("bench") as connection:
            texts = [text for (text,) in connection.execute(
                "select convert_to(text, 'UTF8') from audit_records limit 100000", binary=True
            )]  # fmt: skip
            (backend,) = connection.execute("select pg_backend_pid()").fetchone() or (0,)
            own = theirs = 0.0
            for _ in range(3):
                began, used, used_there = time.perf_counter(), time.process_time(), _cpu_seconds(backend)
                verdict = inspection.inspect(
                    connection, keys=self.outside.trusted(), outside=read_checkpoints(self.outside.checkpoints)
                )
                rates.append(verdict.records / (time.perf_counter() - began))
                own += (time.process_time() - used) / verdict.records / 3
                theirs += (_cpu_seconds(backend) - used_there) / verdict.records / 3
                began = time.perf_counter()
                for text in texts:
                    hashlib.sha256(text).digest()
                bare.append(len(texts) / (time.perf_counter() - began))
        self.found["verify_records_per_second"] = round(statistics.median(rates))
        # What it costs on a machine that is busy otherwise: the two run side by side.
        self.found["verify_own_cpu_us_a_record"] = round(own * 1e6, 2)
        self.found["verify_database_cpu_us_a_record"] = round(theirs * 1e6, 2)
        self.found["verify_reference_bare_sha256_rate"] = round(statistics.median(bare))
        self.found["record_text_bytes"] = round(sum(map(len, texts)) / len(texts))

    async def proofs(self) -> None:
        """Inclusion proofs of leaves anywhere, consistency proofs of sizes anywhere, each in a transaction."""
        rng = random.Random(7)
        size = int(self.found["records"])
        taken: dict[str, list[float]] = {"inclusion": [], "consistency": []}
        for _ in range(300):
            for kind, spent in taken.items():
                began = time.perf_counter()
                async with self.database.transaction(read_only=True) as tx:
                    if kind == "inclusion":
                        await service.prove(tx, rng.randint(1, size))
                    else:
                        await service.compare(tx, rng.randint(1, size), size)
                spent.append((time.perf_counter() - began) * 1000)
        for kind, spent in taken.items():
            spent.sort()
            self.found[f"{kind}_proof_ms"] = round(statistics.median(spent), 2)
            self.found[f"{kind}_proof_p99_ms"] = round(spent[len(spent) * 99 // 100], 2)

    async def _rate(self, kind: type[Changed]) -> float:
        async def write(writer: int) -> None:
            for number in range(self.appends // WRITERS):
                async with self.database.transaction() as tx:
                    await events.append(tx, changed(kind, number), stream=f"writer-{writer}", metadata=METADATA)

        began = time.perf_counter()
        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        return self.appends // WRITERS * WRITERS / (time.perf_counter() - began)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--appends", type=int, default=4_000)
    chosen = parser.parse_args()
    found = measure(records=chosen.records, appends=chosen.appends)
    sys.exit(keep("audit", found, bars=BARS, samples=vars(chosen)))


def measure(*, records: int, appends: int) -> dict[str, float]:
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
                    return await Bench(
                        database, server, Path(folder) / "outside", records=records, appends=appends
                    ).run()
                finally:
                    await database.close()

            return asyncio.run(run())
        finally:
            server.stop()


if __name__ == "__main__":
    main()
