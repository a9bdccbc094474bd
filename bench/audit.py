"""What the audit costs an append, how fast a log of a million is verified, how soon a leaf is proved to be in it.

References of the same run: the same appends without a record; a bare SHA-256 over the same texts.
Run: python bench/audit.py [--records 1000000] [--appends 4000]
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parent))

from reports import keep

from instrument_registry import events
from instrument_registry.clock import now
from instrument_registry.database import Database, migrations
from instrument_registry.events import Fact
from instrument_registry.processes.embedded import EmbeddedServer

BARS = {
    "times_append_rate_without_audit": 0.7,
    "verify_records_per_second": 100_000,
    "inclusion_proof_ms": 5.0,
}
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

    def __init__(self, database: Database, server: EmbeddedServer, *, records: int, appends: int) -> None:
        self.database, self.server, self.records, self.appends = database, server, records, appends
        self.found: dict[str, float] = {}

    async def run(self) -> dict[str, float]:
        """Measure everything, one thing after the other."""
        for step in (self.append_rates,):
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

    async def _rate(self, kind: type[Changed]) -> float:
        async def write(writer: int) -> None:
            for number in range(self.appends // WRITERS):
                async with self.database.transaction() as tx:
                    await events.append(tx, changed(kind, number), stream=f"writer-{writer}", metadata=METADATA)

        began = time.perf_counter()
        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        return self.appends // WRITERS * WRITERS / (time.perf_counter() - began)


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
                    return await Bench(database, server, records=records, appends=appends).run()
                finally:
                    await database.close()

            return asyncio.run(run())
        finally:
            server.stop()


if __name__ == "__main__":
    main()
