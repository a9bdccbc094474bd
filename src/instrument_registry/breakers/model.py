"""What a breaker is: when it opens, how long it rests, who may try, when it closes. No I/O, no time of its own."""

import math
from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from instrument_registry.errors import Unavailable

PROBES_MOST = 4
REASON_BYTES = 200
BUSY_SECONDS = 0.1  # who waits for others' probes asks again so soon


class DependencyResting(Unavailable):
    """Something the registry needs did not answer, and is not asked for a while: try again after `retry_after`."""

    title = "Something that is needed does not answer"

    def __init__(self, dependency: str, *, rest_seconds: float, reason: str = "") -> None:
        super().__init__(
            f"{dependency} rests for {rest_seconds:.1f} s more{f': {reason}' if reason else ''}",
            dependency=dependency,
            retry_after=max(1, math.ceil(rest_seconds)),
        )


class State(StrEnum):
    """Closed: calls pass. Open: none does. Half open: a few try."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When a breaker opens and how it closes again."""

    window_calls: int = 20  # looked at: so many of the last calls, none older than the window
    window_seconds: float = 10.0
    minimum_calls: int = 5
    failing_share: float = 0.5
    slow_seconds: float = 1.0  # a call that took so long counts as failed
    rest_seconds: float = 1.0  # doubles with every time that the probes fail
    longest_rest_seconds: float = 30.0
    probes: int = 2  # at once, over all processes; so many that succeed close it
    probe_seconds: float = 10.0  # a probe that has not ended by then was of a process that is gone

    def __post_init__(self) -> None:
        assert 1 <= self.probes <= PROBES_MOST, "there is room for so many probes"
        assert self.minimum_calls <= self.window_calls, "it could never open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What all processes of an instance know of one breaker; seconds are those of the system since it started."""

    state: State = State.CLOSED
    generation: int = 0  # one more with every transition
    due_at: float = 0.0  # when an open one may be tried
    openings: int = 0  # in a row
    successes: int = 0  # of probes
    probing_until: tuple[float, ...] = ()  # when each of the probes under way is given up
    since_ms: int = 0  # of the epoch
    reason: str = ""

    def opened(self, *, now: float, at_ms: int, terms: Terms, reason: str) -> Self:
        """Open from now on, for longer than the last time."""
        rest = min(terms.rest_seconds * 2.0 ** min(self.openings, 30), terms.longest_rest_seconds)
        return self._turned(
            State.OPEN, at_ms=at_ms, due_at=now + rest, openings=min(self.openings + 1, 2**31), reason=reason
        )

    def closed(self, *, at_ms: int) -> Self:
        """Closed from now on, as if nothing had been."""
        return self._turned(State.CLOSED, at_ms=at_ms, due_at=0.0, openings=0, reason="")

    def probed(self, *, now: float, at_ms: int, terms: Terms) -> tuple[Self, float | None]:
        """One more that tries, if one may: until when it has, which is its name; None: not now."""
        standing = self
        if self.state is State.OPEN:
            if self.rests_seconds(now=now, terms=terms) > 0:
                return self, None
            standing = self._turned(
                State.HALF_OPEN, at_ms=at_ms, due_at=0.0, openings=self.openings, reason=self.reason
            )
        under_way = tuple(until for until in standing.probing_until if now < until <= now + terms.probe_seconds)
        if len(under_way) >= terms.probes:
            return self, None
        until = now + terms.probe_seconds
        while until in under_way:
            until = math.nextafter(until, 0.0)
        return replace(standing, probing_until=(*under_way, until)), until

    def ended(self, probe: float, *, good: bool | None, now: float, at_ms: int, terms: Terms, reason: str) -> Self:
        """What follows from a probe; one that says nothing (None) makes room for another."""
        if self.state is not State.HALF_OPEN or probe not in self.probing_until:
            return self
        others = tuple(until for until in self.probing_until if until != probe)
        if good is None:
            return replace(self, probing_until=others)
        if not good:
            return self.opened(now=now, at_ms=at_ms, terms=terms, reason=reason)
        if self.successes + 1 >= terms.probes:
            return self.closed(at_ms=at_ms)
        return replace(self, probing_until=others, successes=self.successes + 1)

    def rests_seconds(self, *, now: float, terms: Terms) -> float:
        """How long it is until somebody may try; a time further away than any rest is of before the system started."""
        if self.state is State.HALF_OPEN:
            return BUSY_SECONDS
        left = self.due_at - now
        return 0.0 if self.state is State.CLOSED or left > terms.longest_rest_seconds else max(left, 0.0)

    def _turned(self, state: State, *, at_ms: int, due_at: float, openings: int, reason: str) -> Self:
        return replace(
            self, state=state, generation=self.generation + 1, due_at=due_at, openings=openings, successes=0,
            probing_until=(), since_ms=at_ms, reason=reason,
        )  # fmt: skip


class Window:
    """The last calls of one process."""

    def __init__(self, terms: Terms) -> None:
        self._most, self._least = terms.window_calls, terms.minimum_calls
        self._seconds, self._share = terms.window_seconds, terms.failing_share
        self._calls: deque[tuple[float, bool]] = deque()
        self._bad = 0

    def failing(self, at: float, bad: bool) -> bool:
        """Note a call; whether too many of the last ones were bad."""
        calls = self._calls
        calls.append((at, bad))
        self._bad += bad
        oldest = at - self._seconds
        while len(calls) > self._most or calls[0][0] < oldest:
            self._bad -= calls.popleft()[1]
        return bad and len(calls) >= self._least and self._bad >= self._share * len(calls)

    @property
    def counted(self) -> tuple[int, int]:
        """How many were bad, and how many there were."""
        return self._bad, len(self._calls)

    def clear(self) -> None:
        """Begin anew."""
        self._calls.clear()
        self._bad = 0
