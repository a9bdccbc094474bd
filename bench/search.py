"""How fast the search index answers, grows and changes, beside a tuned PostgreSQL behind the same parser.

One core, in process, every query distinct: per kind and over all kinds the median and the 99th percentile, each query
at its best of three. Then the build, a change of 5,000 rows, the rendering of 20 hits and bulk lookup.
Run: python bench/search.py [--size 200000] [--large 1000000] [--each 60] [--no-reference]
"""

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import numpy as np
import psycopg

sys.path.insert(0, str(Path(__file__).parent))

from reports import keep
from searching import reference
from searching.queries import queries
from searching.universe import TODAY, Universe, universe

from instrument_registry.catalog.search import Index, Query
from instrument_registry.catalog.search.answers import printed
from instrument_registry.catalog.search.lookup import resolve
from instrument_registry.processes.embedded import EmbeddedServer

BARS = {
    "p50_ms": 0.2,
    "p99_ms": 3.0,
    "times_faster_than_postgresql_at_p99": 5.0,
    "build_seconds": 5.0,
    "change_of_5000_seconds": 1.0,
    "render_20_hits_ms": 0.15,
    "bulk_10000_tokens_ms": 150.0,
}
ROUNDS = 3
SETTINGS = (
    "create schema bench",
    "set search_path = bench, public",
    "set jit = off",
    "set work_mem = '64MB'",
    "set plan_cache_mode = force_custom_plan",
)


def percentiles(taken: Iterable[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds."""
    values = np.array(list(taken)) * 1_000
    return {"p50_ms": round(float(np.percentile(values, 50)), 3), "p99_ms": round(float(np.percentile(values, 99)), 3)}


def timed(asked: dict[str, list[Query]], answer: Callable[[Query], object]) -> dict[str, list[float]]:
    """The best of a few rounds of each query, so that a busy machine does not count; all kinds mixed in each round."""
    order = [(kind, number) for kind, some in asked.items() for number in range(len(some))]
    best = {kind: [float("inf")] * len(some) for kind, some in asked.items()}
    for turn in range(ROUNDS):
        Random(turn).shuffle(order)
        for kind, number in order:
            query = asked[kind][number]
            began = time.perf_counter()
            answer(query)
            taken = time.perf_counter() - began
            best[kind][number] = min(best[kind][number], taken)
    return best


def measure(size: int, *, each: int) -> tuple[dict[str, object], Index, Universe, dict[str, list[Query]]]:
    """Everything about one index of a size."""
    made = universe(size)
    gc.collect()
    gc.freeze()
    began = time.perf_counter()
    index = Index.build(made.rows, TODAY)
    found: dict[str, object] = {"rows": len(made.rows), "build_seconds": round(time.perf_counter() - began, 2)}
    asked = queries(made, each=each)
    taken = timed(asked, index.search)
    found |= percentiles(time for some in taken.values() for time in some)
    found["kinds"] = {kind: percentiles(some) for kind, some in taken.items()}
    found |= _details(index, made)
    return found, index, made, asked


def _details(index: Index, made: Universe) -> dict[str, object]:
    rows = np.array([hit.row for hit in index.search(Query(text=made.underlyings[0])).hits], np.int32)
    view = index.view
    render = best_of(200, lambda: printed(view, rows, [""] * len(rows)))
    tokens = [f"{row.tokens[0].broker}:{row.tokens[0].token}" for row in made.rows[:: len(made.rows) // 10_000]][
        :10_000
    ]
    bulk = best_of(5, lambda: resolve(view, tokens))
    changed = [row._replace(lot_size=7) for row in Random(3).sample(made.rows, 5_000)]
    began = time.perf_counter()
    index.apply(changed, position=1)
    change = time.perf_counter() - began
    return {
        "render_20_hits_ms": round(render * 1_000 * 20 / len(rows), 3),
        "bulk_10000_tokens_ms": round(bulk * 1_000, 1),
        "change_of_5000_seconds": round(change, 2),
    }


def best_of(times: int, do: Callable[[], object]) -> float:
    """The shortest of several runs, in seconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        taken.append(time.perf_counter() - began)
    return min(taken)


def beside_postgresql(index: Index, asked: dict[str, list[Query]]) -> dict[str, object]:
    """The same queries to PostgreSQL on the same machine, and to the index again in the same run."""
    with tempfile.TemporaryDirectory(prefix="instrument-registry-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            with psycopg.connect(server.owner_url, autocommit=True, prepare_threshold=0) as connection:
                for setting in SETTINGS:
                    connection.execute(setting)
                reference.load(connection, index)
                statements = {id(query): reference.statement(index, query) for some in asked.values() for query in some}

                def answer(query: Query) -> object:
                    asked_ = statements[id(query)]
                    return connection.execute(asked_.sql.encode(), asked_.values).fetchall()

                theirs, ours = timed(asked, answer), timed(asked, index.search)
        finally:
            server.stop()
    return {
        "postgresql": percentiles(time for some in theirs.values() for time in some),
        "index": percentiles(time for some in ours.values() for time in some),
        "postgresql_kinds": {kind: percentiles(some) for kind, some in theirs.items()},
    }


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200_000)
    parser.add_argument("--large", type=int, default=1_000_000, help="reported beside it; 0 leaves it out")
    parser.add_argument("--each", type=int, default=60, help="queries of each kind")
    parser.add_argument("--no-reference", action="store_true")
    chosen = parser.parse_args()
    found, index, _, asked = measure(chosen.size, each=chosen.each)
    if not chosen.no_reference:
        beside = beside_postgresql(index, asked)
        found |= beside
        ratio = beside["postgresql"]["p99_ms"] / beside["index"]["p99_ms"]
        found["times_faster_than_postgresql_at_p99"] = round(ratio, 1)
    if chosen.large:
        del index
        found["large"], *_ = measure(chosen.large, each=chosen.each)
    samples = {"kinds": len(asked), "queries_of_each": chosen.each, "rounds": ROUNDS}
    sys.exit(keep("search", found, bars=BARS, samples=samples))


if __name__ == "__main__":
    main()
