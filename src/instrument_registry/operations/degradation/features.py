"""A feature whose requests fail by our fault too often is turned off by itself, tried again, and told of.

The state is that of a breaker beside the toggle: what an operator set, or pinned, is not overwritten, every process
knows at once, and who resets the breaker has the feature back.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from datetime import datetime

import structlog

from instrument_registry import events
from instrument_registry.breakers import Breaker, Breakers, Call, DependencyResting, Standing, State, Terms
from instrument_registry.clock import Clock
from instrument_registry.configuration.degradation_parameters import (
    FEATURE_ERROR_MINIMUM_CALLS,
    FEATURE_ERROR_PERCENT,
    FEATURE_RETRY_SECONDS,
)
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import Snapshot
from instrument_registry.configuration.toggles import TOGGLES, Toggle
from instrument_registry.database import Database, DatabaseUnavailable
from instrument_registry.events import Fact, Metadata
from instrument_registry.operations.degradation.events import STREAM, FeatureGivenUp, FeatureResumed

PREFIX = "feature:"
ACTOR = "system:degradation"
WINDOW_SECONDS = 60.0
PROBES = 4
PROBE_SECONDS = 35.0  # longer than any request
LONGEST_REST = 16  # times the first
TELL_SECONDS = 0.5
WAITING_MOST = 100

log = structlog.get_logger("operations")


class FeatureGivenUpNow(DependencyResting):
    """It failed too often by our own fault: try again after `retry_after`; the log says what failed."""

    title = "The feature failed too often and is turned off for a while"

    def __init__(self, dependency: str, *, rest_seconds: float, reason: str = "") -> None:
        super().__init__(dependency, rest_seconds=rest_seconds, reason=reason)
        feature = dependency.removeprefix(PREFIX)
        self.args = (f"{feature} was turned off by itself: {reason}; it is tried again in {rest_seconds:.1f} s",)


class Features:
    """The features of one process, each with its breaker."""

    def __init__(
        self,
        breakers: Breakers,
        configuration: LiveConfiguration,
        *,
        clock: Clock,
        toggles: Mapping[str, Toggle] = TOGGLES,
    ) -> None:
        self._configuration, self._clock = configuration, clock
        self._judged_by = configuration.now
        self._turns: deque[Fact] = deque(maxlen=WAITING_MOST)
        self._guards: dict[str, Breaker] = {}
        for feature in toggles:
            guard = breakers.of(PREFIX + feature, terms=terms_of(configuration.now), resting=FeatureGivenUpNow)
            guard.on_turn = lambda before, after, feature=feature: self._turned(feature, before, after)  # type: ignore[misc]
            self._guards[feature] = guard

    def enter(self, toggle: Toggle) -> Call:
        """Begin a request that uses a feature; Raises: FeatureGivenUpNow."""
        now = self._configuration.now
        if now is not self._judged_by:
            self._judged_by = now
            for guard in self._guards.values():
                guard.judge_by(terms_of(now))
        return self._guards[toggle.feature].enter()

    def leave(self, toggle: Toggle, call: Call, *, failure: str | None) -> None:
        """End it: well, or by a failure of ours."""
        guard = self._guards[toggle.feature]
        if failure is None:
            guard.leave(call)
            return
        failed, requests = guard.counted
        reason = f"{failed + 1} of the last {requests + 1} requests failed, the last with {failure}"
        guard.leave(call, failed=True, reason=reason)

    def forget(self, toggle: Toggle, call: Call) -> None:
        """End it without a word about the feature: the request was wrong, or something else is away."""
        self._guards[toggle.feature].forget(call)

    def given_up(self) -> dict[str, Standing]:
        """Those that are turned off by themselves, or being tried."""
        return {name: guard.standing for name, guard in self._guards.items() if not guard.closed}

    def condition(self) -> tuple[bool, str]:
        """Whether all are on as far as they are concerned, in words."""
        there = self.given_up()
        if there:
            return False, "; ".join(f"{name} was turned off by itself: {one.reason}" for name, one in there.items())
        return True, f"{len(self._guards)} features, none given up"

    async def tell(self, database: Database) -> int:
        """Tell of what has turned; how many facts. Without a database they wait."""
        turns = list(self._turns)
        if not turns:
            return 0
        at = self._clock()
        metadata = Metadata(actor=ACTOR, correlation_id=f"degradation-{at:%Y%m%dT%H%M%S}", source="degradation")
        try:
            async with database.transaction() as tx:
                for told in turns:
                    await events.append(tx, told, stream=STREAM, metadata=metadata)
        except DatabaseUnavailable as error:
            log.warning("feature.not_told", reason=str(error), facts=len(turns))
            return 0
        for _ in turns:
            self._turns.popleft()
        return len(turns)

    async def keep_telling(self, database: Database) -> None:
        """Tell of what turns, for ever."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await self.tell(database)

    def _turned(self, feature: str, before: Standing, after: Standing) -> None:
        at: datetime = self._clock()
        if after.state is State.CLOSED:
            self._turns.append(FeatureResumed(feature=feature, occurred_at=at))
        elif before.state is State.CLOSED:
            failed, requests = self._guards[feature].counted
            bound = self._configuration.now[FEATURE_ERROR_PERCENT]
            self._turns.append(
                FeatureGivenUp(
                    feature=feature, failed=failed, requests=requests, bound_percent=bound, reason=after.reason,
                    occurred_at=at,
                )
            )  # fmt: skip


def terms_of(now: Snapshot) -> Terms:
    """How features are judged, as the parameters have it."""
    share, least, rest = now[FEATURE_ERROR_PERCENT] / 100, now[FEATURE_ERROR_MINIMUM_CALLS], now[FEATURE_RETRY_SECONDS]
    return Terms(
        window_calls=max(100, least), window_seconds=WINDOW_SECONDS, minimum_calls=least,
        failing_share=share if share < 1 else math.inf, slow_seconds=math.inf,
        rest_seconds=rest, longest_rest_seconds=rest * LONGEST_REST, probes=PROBES, probe_seconds=PROBE_SECONDS,
    )  # fmt: skip
