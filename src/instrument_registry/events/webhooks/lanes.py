"""What one process knows of each endpoint while it sends: what lies ready, what is under way, how it has been going."""

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from operator import attrgetter

from instrument_registry.events.webhooks.messages import Message
from instrument_registry.events.webhooks.model import Delivery, Endpoint, Plan
from instrument_registry.events.webhooks.signing import Key

READY_MAX = 100  # read ahead for one endpoint
UNWELL_AFTER = 2  # failures without a success between them
# Endpoints that take nothing, and those nobody has heard of yet, share so many attempts: however many there are, the
# others do not wait for them.
PROBES_PER_SECOND, PROBES_AT_ONCE, PROBES_EVERY_SECONDS = 100, 20, 0.05
SOONEST_SECONDS = 0.001


@dataclass(slots=True, kw_only=True)
class Lane:
    """One endpoint's own queue: nothing that happens in it slows another one."""

    endpoint: Endpoint
    keys: Sequence[tuple[Key, datetime | None]]  # and when each ends; without one that opens nothing is sent
    ready: deque[tuple[Delivery, Message]] = field(default_factory=deque)
    under_way: int = 0
    failures: int = 0  # since its last success
    shut_until: float = 0.0  # by the loop's clock
    more: bool = True  # may lie in the table
    proven: bool = False  # it has taken something

    def signs_with(self, now: datetime) -> list[Key]:
        """The keys in force, the newest first."""
        return [key for key, expires_at in self.keys if expires_at is None or expires_at > now]

    @property
    def well(self) -> bool:
        """Whether it is known to take what it is sent."""
        return self.proven and self.failures < UNWELL_AFTER

    def stirs(self) -> bool:
        """Whether there is anything to be done for it, as soon as it is not shut."""
        return bool(self.keys and (self.more or self.ready)) and (self.well or not self.under_way)

    def width(self) -> int:
        """How many requests may be under way: all it wants, or one as long as it is not known to be well."""
        return self.endpoint.wanted.concurrency if self.well else 1

    def may_send(self, now: float) -> bool:
        """Whether the next one may go out."""
        return bool(self.ready and self.keys) and self.under_way < self.width() and now >= self.shut_until

    def room(self) -> int:
        """How many more are worth reading."""
        return self._worth_reading() - len(self.ready)

    def runs_dry(self) -> bool:
        """Whether half of what was read has gone."""
        return len(self.ready) <= self._worth_reading() // 2

    def took(self) -> None:
        """The endpoint has taken something: it is well."""
        self.proven, self.failures, self.shut_until = True, 0, 0.0

    def failed(self, plan: Plan, *, now: float, asked_seconds: float | None) -> None:
        """The endpoint has not taken something: the more often, the longer it is left alone.

        One that has never taken anything is left alone from the first time on.
        """
        self.failures += 1
        known = self.failures if self.proven else self.failures + plan.broken_after - 1
        pause = max(plan.pause_seconds(known), asked_seconds or 0.0)
        if pause:
            self.shut_until = max(self.shut_until, now + pause)

    def gone(self) -> None:
        """The endpoint has said that it is no more: nothing goes out until it is resumed, in another lane."""
        self.shut_until = inf

    def _worth_reading(self) -> int:
        return READY_MAX if self.well else 1


class Probes:
    """How many attempts may go to endpoints that are not known to be well: some at once, then so many a second."""

    def __init__(self) -> None:
        self._left, self._at = float(PROBES_AT_ONCE), 0.0

    def left(self, now: float) -> int:
        """How many may go out now."""
        self._left = min(self._left + (now - self._at) * PROBES_PER_SECOND, float(PROBES_AT_ONCE))
        self._at = now
        return int(self._left)

    def take(self, now: float) -> bool:
        """Let one go out, if one may."""
        if self.left(now) < 1:
            return False
        self._left -= 1
        return True


class Lanes:
    """The lanes of every endpoint, and when to look at which: nothing is looked at for which nothing may go out."""

    def __init__(self) -> None:
        self.by_endpoint: dict[int, Lane] = {}
        self.probes = Probes()
        self._stirring: set[int] = set()
        self._later: list[tuple[float, int]] = []
        self._wakes_at = -inf  # while nobody waits: whoever does so next looks at what is later, too
        self._probing_at = -inf  # not before
        self._stirred = asyncio.Event()

    def look_for(self, endpoints: Iterable[int]) -> None:
        """Something may lie in the table for these."""
        for endpoint in endpoints:
            if endpoint in self.by_endpoint:
                self.by_endpoint[endpoint].more = True
                self._stirring.add(endpoint)
                self._stirred.set()

    def look_at(self, time: float, endpoint: int) -> None:
        """From this time on something may lie in the table for this one."""
        if time < inf:
            heapq.heappush(self._later, (time, endpoint))
            if time < self._wakes_at:
                self._stirred.set()

    def chosen(self, now: float) -> list[Lane]:
        """Those for which something may go out now: all that are well, and a few of the others."""
        self._stirred.clear()
        while self._later and self._later[0][0] <= now:
            self.look_for([heapq.heappop(self._later)[1]])
        well: list[Lane] = []
        unwell: list[Lane] = []
        for endpoint in list(self._stirring):
            lane = self.by_endpoint.get(endpoint)
            if lane is None or not lane.stirs():
                self._stirring.discard(endpoint)  # whatever changes that stirs it again
            elif lane.shut_until > now:
                self._stirring.discard(endpoint)
                self.look_at(lane.shut_until, endpoint)
            else:
                (well if lane.well else unwell).append(lane)
        return well + self._probed(unwell, now)

    def _probed(self, unwell: list[Lane], now: float) -> list[Lane]:
        """A few of those that are not well, together and not one by one: to read what each has due costs the same."""
        if not unwell:
            return unwell
        probed: list[Lane] = []
        if now >= self._probing_at:
            self._probing_at = now + PROBES_EVERY_SECONDS
            probed = sorted(unwell, key=attrgetter("failures"))[: self.probes.left(now)]
        if len(unwell) > len(probed):
            self.look_at(self._probing_at, unwell[-1].endpoint.id)
        return probed

    async def wait(self, now: float) -> None:
        """Wait until there is something to look at."""
        self._wakes_at = max(self._later[0][0], now + SOONEST_SECONDS) if self._later else inf
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(None if self._wakes_at == inf else self._wakes_at):
                await self._stirred.wait()
        self._wakes_at = -inf
