"""A breaker as those who call use it, and all breakers of an instance."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import structlog
from prometheus_client import Counter, Gauge

from instrument_registry import clock
from instrument_registry.breakers.board import Board, Busy, word_of
from instrument_registry.breakers.model import DependencyResting, Standing, State, Terms, Window
from instrument_registry.breakers.terms import terms_of
from instrument_registry.clock import Clock
from instrument_registry.errors import Unavailable

FOLDER = "breakers"
SUFFIX = ".breaker"
BREAKERS_MOST = 100  # hosts that are downloaded from are named by operators, who may name many

STATE = Gauge(
    "instrument_registry_breaker_state", "0: calls pass, 1: a few try, 2: the dependency rests", ["dependency"]
)
TRANSITIONS = Counter("instrument_registry_breaker_transitions", "Changes of a breaker's state", ["dependency", "to"])
REFUSED = Counter("instrument_registry_breaker_refused", "Calls not made as the dependency rests", ["dependency"])

log = structlog.get_logger("breakers")


class BreakerBusy(Unavailable):
    """Try again: a process that holds the breaker's file does not go on."""

    title = "The breaker cannot be changed right now"


class Call(NamedTuple):
    """One call under way."""

    began: float
    word: int  # of the breaker when it began: what ends after a transition says nothing any more
    probe: float | None


class Breaker:
    """Guards one dependency; closed, it costs a look at a word and a note of the outcome.

    Every process looks at its own calls; what one of them finds holds for all.
    """

    def __init__(
        self,
        name: str,
        terms: Terms,
        board: Board,
        *,
        elapsed: Callable[[], float] = time.monotonic,
        clock: Clock = clock.now,
        resting: Callable[..., DependencyResting] = DependencyResting,
    ) -> None:
        self.name, self.terms = name, terms
        self._board, self._elapsed, self._clock, self._resting = board, elapsed, clock, resting
        self._words, self._slow_seconds = board.words, terms.slow_seconds
        self._window, self._noting = Window(terms), threading.Lock()
        self._seen = -1  # the word of the closed state our window is about
        self._refused = REFUSED.labels(name)
        self.on_turn: Callable[[Standing, Standing], None] = lambda before, after: None
        STATE.labels(name).set_function(lambda: self._words[0] & 3)

    @property
    def standing(self) -> Standing:
        """What all processes know of it."""
        return self._board.read()

    @property
    def closed(self) -> bool:
        """Whether calls pass."""
        return self._words[0] & 3 == 0

    @property
    def rests_seconds(self) -> float:
        """How long it is until somebody may try; 0 while calls pass."""
        return self.standing.rests_seconds(now=self._elapsed(), terms=self.terms)

    @property
    def counted(self) -> tuple[int, int]:
        """How many of the last calls of this process failed, and how many they were."""
        return self._window.counted

    def judge_by(self, terms: Terms) -> None:
        """Be judged by these terms from now on; who is at rest already rests as long as it was to."""
        if terms != self.terms:
            with self._noting:
                self.terms, self._slow_seconds, self._window = terms, terms.slow_seconds, Window(terms)

    def enter(self) -> Call:
        """Begin a call; Raises: DependencyResting."""
        word = self._words[0]
        if word != self._seen:
            return self._enter_anew(word)
        return Call(self._elapsed(), word, None)

    def leave(self, call: Call, *, failed: bool = False, reason: str = "") -> None:
        """End a call; a slow one has failed whatever it brought."""
        now = self._elapsed()
        took = now - call.began
        bad = failed or took >= self._slow_seconds
        if call.probe is not None:
            self._end_probe(call.probe, good=not bad, reason=reason if failed else _slow(took))
        elif call.word == self._seen:
            with self._noting:
                failing = self._window.failing(now, bad)
            if failing:
                self._open(call.word, reason if failed else _slow(took))

    def forget(self, call: Call) -> None:
        """End a call that tells nothing: its caller left, or was wrong; one that was slow has told enough."""
        if self._elapsed() - call.began >= self.terms.slow_seconds:
            self.leave(call)
        elif call.probe is not None:
            self._end_probe(call.probe, good=None, reason="")

    def blame(self, reason: str) -> None:
        """Note a failure that came after its call had ended well."""
        self.leave(Call(self._elapsed(), self._seen, None), failed=True, reason=reason)

    @contextmanager
    def calling(self, *failures: type[BaseException]) -> Iterator[None]:
        """A call that has failed when one of these is raised; Raises: DependencyResting."""
        call = self.enter()
        try:
            yield
        except failures as error:
            self.leave(call, failed=True, reason=str(error) or type(error).__name__)
            raise
        except BaseException:
            self.forget(call)
            raise
        self.leave(call)

    def open(self, reason: str) -> None:
        """Let it rest for as long as it ever does, whatever the calls were."""
        terms = replace(self.terms, rest_seconds=self.terms.longest_rest_seconds)
        self._turn(lambda there: there.opened(now=self._elapsed(), at_ms=self._ms(), terms=terms, reason=reason))

    def reset(self) -> State:
        """Close it in every process, as if nothing had been; what it was. Raises: BreakerBusy."""
        was = self.standing.state
        if not self._turn(lambda there: there.closed(at_ms=self._ms())):
            raise BreakerBusy(f"The breaker {self.name} is held by a process that does not go on", dependency=self.name)
        return was

    def _enter_anew(self, word: int) -> Call:
        if word & 3 == 0:  # another process, or this one, closed it
            with self._noting:
                self._window.clear()
                self._seen = word
            return Call(self._elapsed(), word, None)
        probe = self._begin_probe()
        if probe is not None:
            return Call(self._elapsed(), word, probe)
        self._refused.inc()
        standing = self.standing
        raise self._resting(
            self.name,
            rest_seconds=standing.rests_seconds(now=self._elapsed(), terms=self.terms),
            reason=standing.reason,
        )

    def _begin_probe(self) -> float | None:
        began: float | None = None

        def one_more(there: Standing) -> Standing:
            nonlocal began
            after, began = there.probed(now=self._elapsed(), at_ms=self._ms(), terms=self.terms)
            return after

        standing = self.standing  # most are refused: without the lock
        now = self._elapsed()
        if standing.state is State.OPEN and standing.rests_seconds(now=now, terms=self.terms) > 0:
            return None
        self._turn(one_more)
        return began

    def _end_probe(self, probe: float, *, good: bool | None, reason: str) -> None:
        self._turn(
            lambda there: there.ended(
                probe, good=good, now=self._elapsed(), at_ms=self._ms(), terms=self.terms, reason=reason
            )
        )

    def _open(self, word: int, reason: str) -> None:
        def unless_it_was(there: Standing) -> Standing:
            if word_of(there) != word:  # another process was quicker
                return there
            return there.opened(now=self._elapsed(), at_ms=self._ms(), terms=self.terms, reason=reason)

        self._turn(unless_it_was)

    def _turn(self, decide: Callable[[Standing], Standing]) -> bool:
        """Change what is known; False when somebody does not let go of the lock: the next call tries again."""
        try:
            before, after = self._board.change(lambda there: (after := decide(there), (there, after)))
        except Busy:
            return False
        if before.state is not after.state:
            TRANSITIONS.labels(self.name, after.state.value).inc()
            told = log.warning if after.state is State.OPEN else log.info
            told("breaker.turned", dependency=self.name, state=after.state.value, reason=after.reason or None)
            self.on_turn(before, after)
        return True

    def _ms(self) -> int:
        return round(self._clock().timestamp() * 1000)


def _slow(seconds: float) -> str:
    return f"an answer took {seconds:.1f} s"


class Breakers:
    """Every breaker of an instance, by name; without a folder those of this process alone."""

    def __init__(
        self, data_dir: Path | None = None, *, elapsed: Callable[[], float] = time.monotonic, clock: Clock = clock.now
    ) -> None:
        self._folder = None if data_dir is None else data_dir / FOLDER
        self._elapsed, self._clock = elapsed, clock
        self._open: dict[str, Breaker] = {}

    def of(
        self,
        name: str,
        *,
        terms: Terms | None = None,
        resting: Callable[..., DependencyResting] = DependencyResting,
    ) -> Breaker:
        """The breaker of a dependency; beyond a bound of them, one for all the rest of its kind."""
        if name not in self._open and len(self._open) >= BREAKERS_MOST:
            name = name.partition(":")[0]
        if name not in self._open:
            self._open[name] = Breaker(
                name, terms or terms_of(name), self._board(name),
                elapsed=self._elapsed, clock=self._clock, resting=resting,
            )  # fmt: skip
        return self._open[name]

    def all(self) -> dict[str, Breaker]:
        """Those of this process, and those that others of the instance have made."""
        if self._folder is not None and self._folder.is_dir():
            for path in sorted(self._folder.glob(f"*{SUFFIX}"))[:BREAKERS_MOST]:
                self.of(unquote(path.name.removesuffix(SUFFIX)))
        return dict(sorted(self._open.items()))

    def reset(self) -> None:
        """Close every one, as when an instance starts anew."""
        for breaker in self.all().values():
            with contextlib.suppress(BreakerBusy):
                breaker.reset()

    def _board(self, name: str) -> Board:
        if self._folder is None:
            return Board(None)
        try:
            return Board(self._folder / f"{quote(name, safe='')}{SUFFIX}")
        except OSError as error:
            log.warning("breaker.alone", dependency=name, reason=str(error))
            return Board(None)
