"""What a background worker says of itself: at work, waiting for its turn, off, failed; and being asked to go now."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from datetime import datetime, timedelta

from instrument_registry import clock
from instrument_registry.clock import Clock
from instrument_registry.operations.work import ERROR_CHARACTERS, WorkDoing, WorkState
from instrument_registry.telemetry import masking

# Turns that come so seldom are worth telling of at once; others are told of when something else is.
SELDOM_SECONDS = 60.0


class Work:
    """One worker's account of itself, and the bell that ends its waiting."""

    def __init__(self, state: WorkState, *, clock: Clock, changed: Callable[[], None] = lambda: None) -> None:
        self.state, self._clock, self._changed = state, clock, changed
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Let the next turn be now; one that is being had is followed by another."""
        self._bell.set()

    def at_work(self) -> None:
        """It works from now on."""
        self._be(WorkDoing.WORKING)
        if not self.state.periodic:
            self.state.began_at, self.state.ended_at, self.state.duration_seconds = self._clock(), None, None

    def off(self, toggle: str) -> None:
        """A toggle has turned it off."""
        self.state.off_by = toggle
        self._be(WorkDoing.OFF)

    def paused(self) -> None:
        """Maintenance holds it up."""
        self._be(WorkDoing.PAUSED)

    def idle(self) -> None:
        """It waits for something to do."""
        self._be(WorkDoing.WAITING)

    def begin(self) -> None:
        """A turn begins."""
        self.state.began_at, self.state.ended_at, self.state.duration_seconds = self._clock(), None, None
        self.state.state, self.state.next_at = WorkDoing.WORKING, None

    def end(self, wait_seconds: float | None = None, *, asked: bool = False) -> None:
        """A turn has ended; the next comes after so long, or when there is something to do."""
        now = self._clock()
        self.state.ended_at, self.state.turns = now, self.state.turns + 1
        if self.state.began_at is not None:
            self.state.duration_seconds = round((now - self.state.began_at).total_seconds(), 3)
        self.state.state = WorkDoing.WAITING
        if wait_seconds is not None:
            self.state.next_at = _in(now, wait_seconds)
            if wait_seconds < SELDOM_SECONDS and not asked:
                return
        self._changed()

    async def rest(self, seconds: float) -> bool:
        """Wait, unless somebody rings; whether somebody did."""
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return False
        self._bell.clear()
        return True

    def failed(self, error: Exception, *, again_in_seconds: float) -> None:
        """It failed and will be started again."""
        now = self._clock()
        self.state.failures += 1
        said = masking.masked_text(f"{type(error).__name__}: {error}")[:ERROR_CHARACTERS]
        self.state.error, self.state.error_at = said, now
        self.state.ended_at, self.state.next_at = now, _in(now, again_in_seconds)
        self._be(WorkDoing.FAILED)

    def finished(self) -> None:
        """There is nothing more to do, for good."""
        self.state.ended_at = self._clock()
        self._be(WorkDoing.FINISHED)

    def begin_periodic(self, first_after_seconds: float) -> None:
        """It has turns, the first after so long."""
        self.state.periodic = True
        self.state.next_at = _in(self._clock(), first_after_seconds) if first_after_seconds else None
        self._be(WorkDoing.WAITING)

    def _be(self, doing: WorkDoing) -> None:
        if doing is not WorkDoing.OFF:
            self.state.off_by = None
        if self.state.state is not doing:
            self.state.state = doing
            self._changed()


_current: ContextVar[Work | None] = ContextVar("work", default=None)


def beginning(work: Work | None) -> Work:
    """Whatever this task does from now on is told as this work."""
    work = work or Work(WorkState(name="", does=""), clock=clock.now)
    _current.set(work)
    return work


def current() -> Work:
    """The account of the worker that is running; one that nobody reads where nobody tends it."""
    return _current.get() or Work(WorkState(name="", does=""), clock=clock.now)


async def turns(pause_seconds: Callable[[], float], *, first_after_seconds: float = 0.0) -> AsyncIterator[bool]:
    """One turn after the other, for ever, with a pause between them; each says whether somebody asked for it."""
    work, asked = current(), False
    work.begin_periodic(first_after_seconds)
    if first_after_seconds:
        asked = await work.rest(first_after_seconds)
    while True:
        work.begin()
        yield asked
        wait_seconds = pause_seconds()
        work.end(wait_seconds, asked=asked)
        asked = await work.rest(wait_seconds)


def _in(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds)
