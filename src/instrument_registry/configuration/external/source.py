"""What the configuration service says, as one process knows it: asked by one process of an instance, kept for all."""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime

import structlog
from prometheus_client import Gauge

from instrument_registry.breakers import Breaker, DependencyResting
from instrument_registry.clock import Clock
from instrument_registry.configuration.external.accepting import accepted
from instrument_registry.configuration.external.dialect import (
    REQUEST_SECONDS,
    KeyRefused,
    ServiceAddress,
    ServiceUnreachable,
    ask,
)
from instrument_registry.configuration.external.kept import CacheRefused, Keeping, Kept
from instrument_registry.configuration.model import AnyParameter, Snapshot, Source
from instrument_registry.errors import Unavailable
from instrument_registry.sealing import MasterKeyUnusable

POLL_SECONDS = 1.0  # how soon a process sees what another one was told
JUST_READ_SECONDS = 5.0  # processes that start together ask once
START_SECONDS = 5.0
REFRESH_BOUND_SECONDS = 30.0
RETRY_SECONDS = 5.0
STALE_PERIODS = 3

AGE = Gauge(
    "instrument_registry_configuration_service_age_seconds",
    "Since the configuration service said what is in force of it",
    ["environment"],
)
log = structlog.get_logger("configuration")


class RequiredMissing(Unavailable):
    """Set it in the environment or at the configuration service; or see that the service answers."""

    title = "A required parameter has no value"


class External:
    """One service: what it says now, else what it said last; never older than it says."""

    def __init__(
        self,
        address: ServiceAddress,
        keeping: Keeping,
        *,
        parameters: Sequence[AnyParameter],
        pins: Mapping[str, str],
        required: Collection[str],
        breaker: Breaker,
        clock: Clock,
        elapsed: Callable[[], float] = time.monotonic,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._address, self._keeping, self._parameters, self._pins = address, keeping, parameters, pins
        self._required, self._breaker, self._clock, self._elapsed = required, breaker, clock, elapsed
        self._request_seconds = request_seconds
        self._stamp: tuple[int, int] | None = None
        self._started: Mapping[str, str] | None = None  # what holds until the next start, whatever comes
        self._tried_at = float("-inf")
        self.values: Mapping[str, str] = {}
        self.read_at: datetime | None = None
        self._away: str | None = None  # why it may be old
        self._damage: str | None = None  # of the file
        self.unusable: Mapping[str, str] = {}  # what it says and cannot be, by name
        AGE.labels(address.environment).set_function(lambda: self.age_seconds or 0.0)

    @property
    def age_seconds(self) -> float | None:
        """Since when the service has not been heard; None: it never was."""
        return None if self.read_at is None else max((self._clock() - self.read_at).total_seconds(), 0.0)

    @property
    def problem(self) -> str | None:
        """Why it may be old, or is not there; None when all is well."""
        return "; ".join(filter(None, (self._away, self._damage))) or None

    async def start(self, *, bound_seconds: float = START_SECONDS) -> None:
        """Know what the service says, else what it said last, else nothing and why."""
        self.recall()
        if self.age_seconds is None or self.age_seconds > JUST_READ_SECONDS:
            await self._ask(bound_seconds=bound_seconds)
        self._started = self.values

    async def follow(self, changed: Callable[[], None], *, refresh_seconds: Callable[[], float]) -> None:
        """Keep it up to date, for ever, and tell whenever something else is said."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            before = self.values
            await self.step(refresh_seconds=refresh_seconds())
            if self.values != before:
                log.info("configuration.external", values=len(self.values))
                changed()

    async def step(self, *, refresh_seconds: float) -> None:
        """Take up what another process was told, and ask when it is time and nobody else does."""
        self.recall()
        age = self.age_seconds
        waited = self._elapsed() - self._tried_at
        if (age is None or age >= refresh_seconds) and waited >= min(refresh_seconds, RETRY_SECONDS):
            with self._alone() as alone:
                if alone:
                    await self._ask(bound_seconds=REFRESH_BOUND_SECONDS)

    def report(self, *, refresh_seconds: float) -> tuple[bool, str]:
        """Whether all is well, and what there is to say."""
        age = self.age_seconds
        said = "nothing it said is kept" if age is None else f"in force is what it said {age:.0f} s ago"
        if self.problem is not None:
            return False, f"{self.problem}; {said}"
        if age is None or age > STALE_PERIODS * refresh_seconds:
            return False, f"not asked any more: is a process running? {said}"
        if self.unusable:
            return False, "; ".join(f"{name}: {why}" for name, why in sorted(self.unusable.items()))
        return True, f"{len(self.values)} values, {age:.0f} s old"

    def why_missing(self, name: str) -> str:
        """Why this source has no value of a parameter."""
        if name in self.unusable:
            return f"what the configuration service says cannot be: {self.unusable[name]}"
        if self.problem is not None:
            return f"{self.problem}, and nothing it said is kept" if self.read_at is None else self.problem
        return "the configuration service has none"

    async def _ask(self, *, bound_seconds: float) -> None:
        self._tried_at = self._elapsed()
        try:
            # One call is all that is asked at once: of several, a breaker that is half open would let only some pass.
            with self._breaker.calling(ServiceUnreachable, TimeoutError):
                async with asyncio.timeout(bound_seconds):
                    found = await ask(self._address, self._parameters, request_seconds=self._request_seconds)
        except TimeoutError:
            self._tell("The configuration service takes too long to answer")
            return
        except KeyRefused as error:
            self._breaker.open(str(error))  # asking again would not help, and looks like an attack
            self._tell(str(error))
            return
        except (ServiceUnreachable, DependencyResting) as error:
            self._tell(str(error))
            return
        values, unusable = accepted(found, before=self.values, pins=self._pins, required=self._required)
        kept = Kept(values, self._clock())
        self._know(kept, unusable)
        try:
            self._keeping.write(kept)
            self._stamp = self._keeping.stamp()
            self._damage = None
        except (OSError, MasterKeyUnusable) as error:
            self._damage = f"What the configuration service says cannot be kept: {error}"
            log.error("configuration.not_kept", reason=str(error))

    def recall(self) -> None:
        """Know what is kept, when it is something else than what was last read."""
        stamp = self._keeping.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            kept = self._keeping.read()
        except CacheRefused as error:
            self._damage = str(error)
            log.error("configuration.cache_refused", reason=str(error))
            return
        self._damage = None
        if kept is not None and (self.read_at is None or kept.read_at > self.read_at):
            values, unusable = accepted(kept.values, before={}, pins=self._pins, required=self._required)
            self._know(Kept(values, kept.read_at), unusable)

    def _know(self, kept: Kept, unusable: Mapping[str, str]) -> None:
        values = dict(kept.values)
        if self._started is not None:
            for parameter in self._parameters:
                if not parameter.live:
                    values.pop(parameter.name, None)
                    if parameter.name in self._started:
                        values[parameter.name] = self._started[parameter.name]
        self.values, self.read_at, self.unusable = values, kept.read_at, unusable
        if self._away is not None:
            log.info("configuration.service_answers")
        self._away = None

    def _tell(self, reason: str) -> None:
        if self._away is None:
            log.warning("configuration.service_away", reason=reason, age_seconds=self.age_seconds)
        self._away = reason

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        path = self._keeping.path.with_suffix(".lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(descriptor)


def see_required(snapshot: Snapshot, required: Collection[str], external: External | None) -> None:
    """See that what is required has a value that somebody chose; Raises: RequiredMissing."""
    for name in sorted(required):
        if snapshot.settings[name].source is Source.DEFAULT:
            why = "no configuration service is named" if external is None else external.why_missing(name)
            raise RequiredMissing(f"{name} is required and has no value but its default: {why}", parameter=name)
