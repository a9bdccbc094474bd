"""What was promised, from what the door counts anyway."""

from collections.abc import Callable

from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.http.metrics import QUIET, REQUESTS, SECONDS
from instrument_registry.operations.degradation.objectives import Counts

# They take as long as somebody listens, or as a file is long.
LONG = ("/stream", "/watch", "/export", "/upload", "/events/next")
AT_THE_ROOT = ("/instruments", "/instruments/{exchange}")  # Kite's whole dump


def counts_of(catalogue: LiveCatalogue) -> Callable[[], Counts]:
    """What this process has counted until now."""

    def counts() -> Counts:
        requests = unanswered = 0.0
        for sample in _samples(REQUESTS, "_total"):
            requests += sample[1]
            if sample[0]["status"].startswith("5"):
                unanswered += sample[1]
        sums: dict[float, float] = {}
        for labels, value in _samples(SECONDS, "_bucket"):
            if not labels["route"].endswith(LONG) and labels["route"] not in AT_THE_ROOT:
                bound = float(labels["le"])
                sums[bound] = sums.get(bound, 0.0) + value
        bounds = sorted(sums)
        answers = catalogue.answers
        return Counts(
            requests=requests, unanswered=unanswered, bounds=bounds, buckets=[sums[bound] for bound in bounds],
            hits=answers.hits, misses=answers.misses,
        )  # fmt: skip

    return counts


def _samples(metric: object, ending: str) -> list[tuple[dict[str, str], float]]:
    (family,) = metric.collect()  # type: ignore[attr-defined]
    return [
        (sample.labels, sample.value)
        for sample in family.samples
        if sample.name.endswith(ending) and sample.labels["route"] not in QUIET
    ]
