"""How well a process does, over the last minutes, beside what was promised: availability, 95th percentile, misses."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.parameters import (
    SLA_AVAILABILITY_PERCENT,
    SLA_CACHE_MISS_PERCENT,
    SLA_P95_MS,
)
from instrument_registry.telemetry.watched import Number, Watched

WINDOW_SECONDS = 300.0
LOOK_SECONDS = 5.0
LEAST_CALLS = 50
AVAILABILITY, P95, MISSES = "availability_percent", "p95_ms", "cache_miss_percent"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a process has counted since it started; buckets are of all requests that took at most so many seconds."""

    requests: float
    unanswered: float  # by our fault: 5xx
    bounds: Sequence[float]
    buckets: Sequence[float]
    hits: float
    misses: float


class Objectives:
    """What was counted at some instants of the last minutes, and what follows from it."""

    def __init__(
        self,
        counts: Callable[[], Counts],
        configuration: LiveConfiguration,
        *,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts, self._configuration, self._elapsed = counts, configuration, elapsed
        self._seen: deque[tuple[float, Counts]] = deque([(elapsed(), counts())])

    def look(self) -> None:
        """Take what is counted now; what is older than the window goes, but for one to compare with."""
        now = self._elapsed()
        self._seen.append((now, self._counts()))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()

    def targets(self) -> dict[str, float]:
        """What was promised, as it is in force."""
        now = self._configuration.now
        return {
            AVAILABILITY: now[SLA_AVAILABILITY_PERCENT], P95: float(now[SLA_P95_MS]),
            MISSES: now[SLA_CACHE_MISS_PERCENT],
        }  # fmt: skip

    def measured(self) -> dict[str, float]:
        """How it was in the window; of too few calls nothing is said."""
        first, last = self._seen[0][1], self._seen[-1][1]
        found: dict[str, float] = {}
        requests = last.requests - first.requests
        if requests >= LEAST_CALLS:
            found[AVAILABILITY] = 100 * (1 - (last.unanswered - first.unanswered) / requests)
        known = dict(zip(first.bounds, first.buckets, strict=True))  # nothing before the first request
        counted = zip(last.bounds, last.buckets, strict=True)
        buckets = [count - known.get(bound, 0.0) for bound, count in counted]
        if buckets and buckets[-1] >= LEAST_CALLS:
            found[P95] = 1000 * quantile(0.95, last.bounds, buckets)
        hits, misses = last.hits - first.hits, last.misses - first.misses
        if hits + misses >= LEAST_CALLS:
            found[MISSES] = 100 * misses / (hits + misses)
        return found

    def condition(self) -> tuple[bool, str]:
        """Whether what was promised is kept, in words."""
        targets, measured = self.targets(), self.measured()
        if not measured:
            return True, f"fewer than {LEAST_CALLS} requests in the last minutes"
        broken = [
            name
            for name, value in measured.items()
            if (value < targets[name] if name == AVAILABILITY else value > targets[name])
        ]
        said = ", ".join(f"{name} {measured[name]:.4g} (promised {targets[name]:g})" for name in broken or measured)
        return not broken, said

    async def watch(self) -> None:
        """Look every few seconds, for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)


def quantile(share: float, bounds: Sequence[float], buckets: Sequence[float]) -> float:
    """Below which value so large a share lies, as Prometheus reckons; beyond the last bound, that bound."""
    wanted, lower, below = share * buckets[-1], 0.0, 0.0
    for bound, count in zip(bounds, buckets, strict=True):
        if count >= wanted:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return lower


PROMISED: Watched[Objectives] = Watched(
    Number(
        "instrument_registry_sla_measured", "How it was in this process in the last five minutes",
        lambda one: one.measured(), label="objective",
    ),
)  # fmt: skip
