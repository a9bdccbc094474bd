"""What a process remembers and how its index is doing, read when somebody asks."""

from collections.abc import Callable

from instrument_registry.catalog.live import LiveCatalogue
from instrument_registry.operations.caches import Held, caches_of
from instrument_registry.telemetry.watched import Number, Watched


def _of_caches(read: Callable[[Held], float | None]) -> Callable[[LiveCatalogue], dict[str, float]]:
    def numbers(catalogue: LiveCatalogue) -> dict[str, float]:
        seen = {name: read(cache.held()) for name, cache in caches_of(catalogue).items()}
        return {name: number for name, number in seen.items() if number is not None}

    return numbers


REMEMBERED: Watched[LiveCatalogue] = Watched(
    Number(
        "instrument_registry_cache_hits", "What was remembered when it was asked for",
        _of_caches(lambda held: held.hits), label="cache", counts=True,
    ),
    Number(
        "instrument_registry_cache_misses", "What had to be worked out when it was asked for",
        _of_caches(lambda held: held.misses), label="cache", counts=True,
    ),
    Number(
        "instrument_registry_cache_entries", "What is remembered", _of_caches(lambda held: held.entries), label="cache"
    ),
    Number(
        "instrument_registry_cache_bytes", "How large that is, where it is known",
        _of_caches(lambda held: held.bytes), label="cache",
    ),
    Number(
        "instrument_registry_index_age_seconds", "Since when the index of today may miss something; 0: it does not",
        lambda catalogue: catalogue.age_seconds,
    ),
)  # fmt: skip
