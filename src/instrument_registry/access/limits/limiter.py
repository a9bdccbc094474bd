"""Who may pass now: the rings of this instance, and those on Redis where several instances share the limits.

With Redis, this instance's own rings are a second memory: whoever has used up a limit here is refused without asking,
and a Redis that forgot everything lets nobody begin anew here. Without an answer from Redis each instance lets pass its
share of every limit; without the shared file, each worker its share of that.
"""

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from enum import StrEnum
from functools import cache
from pathlib import Path

import structlog
from prometheus_client import Counter, Gauge

from instrument_registry.access.limits.model import Verdict, Windows
from instrument_registry.access.limits.redis_rings import RedisAway, RedisRings
from instrument_registry.access.limits.rings import Rings, RingsBusy

AGAIN_SECONDS = 1.0

VERDICTS = Counter(
    "instrument_registry_limiter_verdicts_total", "Requests looked at by the limiter", ["route_class", "verdict", "by"]
)
APART = Gauge("instrument_registry_limiter_apart", "1 while this process knows a share of the limits only")

log = structlog.get_logger("limits")


class By(StrEnum):
    """Who remembers."""

    MEMORY = "memory"  # all workers of this instance
    REDIS = "redis"  # all instances
    SHARE = "share"  # this instance its share, while Redis does not answer
    WORKER = "worker"  # this worker its share, while the instance's memory cannot be had


class Limiter:
    """The limiter of one worker."""

    def __init__(
        self,
        path: Path,
        *,
        redis_url: str | None = None,
        instances: int = 1,
        workers: int = 1,
        elapsed_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._path, self._instances, self._workers, self._elapsed_ns = path, instances, workers, elapsed_ns
        self._rings: Rings | None = None
        self._private: Rings | None = None
        self._redis = RedisRings(redis_url) if redis_url else None
        self._redis_down = False
        self._busy_until_ns = self._missed = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def by(self) -> By:
        """Who remembers right now."""
        if self._busy_until_ns > self._elapsed_ns():
            return By.WORKER
        if self._redis is None:
            return By.MEMORY
        return By.SHARE if self._redis_down else By.REDIS

    async def take(self, party: str, kind: str, windows: Windows) -> Verdict:
        """Let one more request of a party pass, or say how long to wait."""
        if self._redis is None or self._redis_down:
            verdict, by = self._here(party, kind, windows)
        else:
            verdict, by = await self._shared(self._redis, party, kind, windows)
        _counter(kind, verdict.admitted, by).inc()
        return verdict

    async def close(self) -> None:
        """Give back what is held."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        if self._redis is not None:
            await self._redis.close()
        for rings in (self._rings, self._private):
            if rings is not None:
                rings.close()
        self._rings = self._private = None

    def _here(self, party: str, kind: str, windows: Windows) -> tuple[Verdict, By]:
        parts = 1 if self._redis is None else self._instances
        by = By.MEMORY if self._redis is None else By.SHARE
        rings = self._opened()
        if rings is not None:
            try:
                verdict = rings.take(party, kind, _shares(windows, parts))
            except RingsBusy:
                self._note_busy()
            else:
                self._missed = 0
                return verdict, by
        return self._alone().take(party, kind, _shares(windows, parts * self._workers)), By.WORKER

    async def _shared(self, redis: RedisRings, party: str, kind: str, windows: Windows) -> tuple[Verdict, By]:
        rings = self._opened()
        try:
            if rings is not None:
                seen = rings.look(party, kind, windows)
                if not seen.admitted:
                    return seen, By.REDIS
            verdict = await redis.take(party, kind, windows)
            if rings is not None and verdict.admitted:
                rings.take(party, kind, windows, force=True)
        except RedisAway as error:
            self._note_down(redis, str(error))
            return self._here(party, kind, windows)
        except RingsBusy:
            self._note_busy()
            return self._here(party, kind, windows)
        return verdict, By.REDIS

    def _opened(self) -> Rings | None:
        if self._busy_until_ns > self._elapsed_ns():
            return None
        if self._rings is None:
            try:
                self._rings = Rings(self._path, elapsed_ns=self._elapsed_ns)
            except OSError as error:
                self._give_up(str(error))
        return self._rings

    def _note_busy(self) -> None:
        """Once may be a machine that is very busy; twice in a row, whoever holds the lock was stopped."""
        self._missed += 1
        if self._missed > 1:
            self._give_up("somebody holds the lock and does not go on")

    def _give_up(self, reason: str) -> None:
        self._busy_until_ns = self._elapsed_ns() + int(AGAIN_SECONDS * 1e9)
        log.warning("limits.each_worker_alone", reason=reason)

    def _alone(self) -> Rings:
        self._private = self._private or Rings(None, elapsed_ns=self._elapsed_ns)
        return self._private

    def _note_down(self, redis: RedisRings, reason: str) -> None:
        if self._redis_down:
            return
        self._redis_down = True
        APART.set(1)
        log.warning("limits.redis_away", reason=reason, instances=self._instances)
        # Nothing of the request that noticed belongs to what comes after it.
        self._probing = asyncio.create_task(self._until_back(redis), context=Context())

    async def _until_back(self, redis: RedisRings) -> None:
        while not await redis.answers():
            await asyncio.sleep(AGAIN_SECONDS)
        self._redis_down = False
        APART.set(0)
        log.info("limits.redis_back")


@cache  # as many as there are series, and finding one takes longer than counting
def _counter(kind: str, admitted: bool, by: By) -> Counter:
    return VERDICTS.labels(kind, "admitted" if admitted else "refused", by.value)


def _shares(windows: Windows, parts: int) -> Windows:
    return windows if parts == 1 else tuple(window.share(parts) for window in windows)
