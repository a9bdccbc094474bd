"""What an API worker holds with 200,000 live instruments and three brokers' tokens for each; reported at a million.

The worker is the real process (`instrument-registry api`) over a PostgreSQL of its own; its proportional set size is
read once it answers, after searches of every kind, and with the index of another day.
Run: python bench/memory.py [--size 200000] [--large 1000000]
"""

import argparse
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parent))

from reports import keep
from searching.queries import queries
from searching.universe import universe
from searching.worker import catalogue, key_for, memory_mb, told, worker

BAR_MB = 300.0
PORT = 8937
EACH = 5
DAYS_AGO = 30


def measure(size: int, *, days: bool) -> dict[str, object]:
    """The figures for one size."""
    today = datetime.now(UTC).date()
    made = universe(size, today=today)
    texts = [query.text for some in queries(made, each=EACH).values() for query in some if query.text]
    count = len(made.rows)
    with tempfile.TemporaryDirectory() as folder, catalogue(made.rows, listed_on=today - timedelta(DAYS_AGO)) as url:
        del made
        with worker(url, port=PORT, data_dir=Path(folder)) as process:
            found: dict[str, object] = {"instruments": count, "when it answers": memory_mb(process.pid)}
            address = f"http://127.0.0.1:{PORT}/api/v1/internal/instrument-registry/search?"
            key = key_for(url, data_dir=Path(folder))
            for text in texts:
                told(address + urlencode({"query": text}), key=key)
            found["after searches of every kind"] = memory_mb(process.pid)
            if days:
                told(address + urlencode({"query": texts[0], "as_of": str(today - timedelta(1))}), key=key)
                found["with the index of one more day"] = memory_mb(process.pid)
    return found


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200_000)
    parser.add_argument("--large", type=int, default=1_000_000, help="reported beside it; 0 leaves it out")
    chosen = parser.parse_args()
    found = measure(chosen.size, days=True)
    after = found["after searches of every kind"]
    assert isinstance(after, dict)
    results: dict[str, object] = {"pss_mb": after["pss_mb"], "worker": found}
    if chosen.large:
        results["large"] = measure(chosen.large, days=False)
    samples = {"tokens_of_each": 3, "searches_of_each_kind": EACH}
    sys.exit(keep("memory", results, bars={"pss_mb": BAR_MB}, samples=samples))


if __name__ == "__main__":
    main()
