"""Who is served: tier by tier, in each tier the first in order that can be, whatever has to make room.

What can be served together is a matroid (a flow through accounts and connections), so that taking instruments one by
one in order, each that still fits, is the best for every tier and every rank. It is done by classes: the longest
beginning of the order that fits is found by halving; the class of the first that does not fit is full for good, and
so are all classes that cannot take one more. Where messages a second are bounded it is no matroid; there the same
rule is applied to the relaxed problem, and whoever places afterwards must look again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from instrument_registry.subscriptions.planner.bounds import bins, bound, possible
from instrument_registry.subscriptions.planner.classes import Classes
from instrument_registry.subscriptions.planner.linear import INFINITE, Programme, Terms
from instrument_registry.subscriptions.planner.model import TIERS, Bools, Floats, Ints, Problem

HALF = 0.5


@dataclass(frozen=True, slots=True)
class Served:
    """How many of each class are served, and how many of those by a second copy."""

    first: Ints
    second: Ints
    bound: tuple[float, ...]  # by tier: how many could be at most, the higher tiers first


class Room:
    """What fits together: asked again and again with other counts."""

    def __init__(self, problem: Problem, classes: Classes, uses: tuple[int, ...]) -> None:
        self.classes = classes
        self.boxes = bins(problem, uses, classes)
        may = possible(problem, classes, uses)[:, [one.connections[0] for one in self.boxes]]
        self._k, self._b = np.nonzero(may)
        account = np.array([one.account for one in self.boxes], dtype=np.int64)[self._b]
        count = len(self._k)
        twice = np.flatnonzero(classes.copies[self._k] > 1)
        k, b = np.append(self._k, self._k[twice]), np.append(self._b, self._b[twice])
        account = np.append(account, account[twice])
        terms = Terms.none()
        firsts, seconds = _by_class(self._k, len(classes)), _by_class(self._k[twice], len(classes))
        self._rows = [terms.row(at, upper=0.0) for at in firsts] + [terms.row(count + at, upper=0.0) for at in seconds]
        self.bounds = bound(terms, problem, classes, self.boxes, (k, b, account))
        self._apart = _copies_apart(terms, classes, (k, account))
        self._of = k
        self._programme = Programme(np.ones(len(k)), terms)

    def fits(self, first: Ints, second: Ints) -> bool:
        """Whether so many of each class fit, and so many second copies."""
        return self.most(first, second) > int(first.sum() + second.sum()) - HALF

    def most(self, first: Ints, second: Ints) -> float:
        """How many fit when at most so many of each class ask."""
        self._programme.bound_rows(self._rows[: len(first)], lower=0.0, upper=first)
        self._programme.bound_rows(self._rows[len(first) :], lower=0.0, upper=second)
        self._keep_apart(first, second)
        return self._programme.solve()[0]

    def best(
        self, gains: Floats, first: Ints, second: Ints, *, least: Ints | None = None, restore: bool = True
    ) -> Floats:
        """How many of each class bring most, and how many second copies, when at most so many ask."""
        self._programme.change_gains(np.arange(len(self._of)), gains[self._of])
        self._programme.bound_rows(self._rows[: len(first)], lower=0.0 if least is None else least, upper=first)
        self._programme.bound_rows(self._rows[len(first) :], lower=0.0, upper=second)
        self._keep_apart(first, second)
        _, found = self._programme.solve()
        if restore:
            self._restore()
        by_class = np.bincount(
            self._of + np.where(np.arange(len(self._of)) < len(self._k), 0, len(first)), weights=found
        )
        return np.append(by_class, np.zeros(2 * len(first) - len(by_class)))

    def _keep_apart(self, first: Ints, second: Ints) -> None:
        """Where there are no second copies the rows say nothing new, and would take the worth of the class's own."""
        most = first[[k for _, k in self._apart]] if second.any() else np.full(len(self._apart), INFINITE)
        self._programme.bound_rows([row for row, _ in self._apart], lower=0.0, upper=most)

    def _restore(self) -> None:
        self._programme.change_gains(np.arange(len(self._of)), 1.0)
        self._programme.bound_rows(self._rows, lower=0.0, upper=0.0)

    def priced(self, gains: Floats, first: Ints) -> tuple[float, Floats, Floats]:
        """The most that first copies can bring, what one more of each class would, and one more of every bound."""
        none = np.zeros(len(first), dtype=np.int64)
        found = self.best(gains, first, none, restore=False)
        prices = self._programme.worth([*self._rows[: len(first)], *(one.row for one in self.bounds)])
        self._restore()
        return float(gains @ found[: len(first)]), prices[: len(first)], prices[len(first) :]

    def full(self, first: Ints, second: Ints) -> Bools:
        """Classes of which no more fit beside so many, first and second copies, when so many do not fit already."""
        self.most(first, second)
        return self._programme.worth(self._rows) < HALF


def served(problem: Problem, classes: Classes, room: Room, order: Ints) -> Served:
    """How many of each class are served: its first ones."""
    first, second = np.zeros(len(classes), dtype=np.int64), np.zeros(len(classes), dtype=np.int64)
    if not len(classes):
        return Served(first, second, (0.0,) * TIERS)
    if problem.bounded:
        return _by_weight(problem, classes, room)
    for tier in range(TIERS):
        queue = _queue(classes, order, classes.tier == tier, classes.sizes)
        first = _taken(queue, first, lambda counts: room.fits(counts, second), lambda counts: room.full(counts, second))
    half = len(classes)
    for tier in range(TIERS):
        queue = _queue(classes, order, (classes.tier == tier) & (classes.copies > 1), first)
        second = _taken(
            queue, second, lambda counts: room.fits(first, counts), lambda counts: room.full(first, counts)[half:]
        )
    return Served(first, second, tuple(float(first[classes.tier == tier].sum()) for tier in range(TIERS)))


def _by_weight(problem: Problem, classes: Classes, room: Room) -> Served:
    """The most by tier where messages are bounded, rounded down: the last of each bound is for whoever completes it."""
    none = np.zeros(len(classes), dtype=np.int64)
    gains: Floats = np.power(problem.tier_ratio, TIERS - 1.0 - classes.tier).astype(np.float64)
    most = room.best(gains, classes.sizes, none)
    first = np.floor(most[: len(classes)] + 1e-6).astype(np.int64)
    second = none
    if (classes.copies > 1).any():
        twice = room.best(np.ones(len(classes)), first, np.where(classes.copies > 1, first, 0), least=first)
        second = np.floor(twice[len(classes) :] + 1e-6).astype(np.int64)
    return Served(
        first, second, tuple(float(most[: len(classes)][classes.tier == tier].sum()) for tier in range(TIERS))
    )


def _taken(queue: Ints, had: Ints, fits: Callable[[Ints], bool], full: Callable[[Ints], Bools]) -> Ints:
    """How many of each class there are after whoever fits was taken from a queue of classes."""
    count = len(had)
    while len(queue):
        if fits(had + np.bincount(queue, minlength=count)):
            return had + np.bincount(queue, minlength=count)
        low, high = 0, len(queue)  # so many fit, so many do not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(had + np.bincount(queue[:middle], minlength=count)) else (low, middle)
        had, refused = had + np.bincount(queue[:low], minlength=count), int(queue[low])
        one_more = had.copy()
        one_more[refused] += 1
        out = full(one_more)[:count]
        out[refused] = True
        queue = queue[low:][~out[queue[low:]]]
    return had


def _queue(classes: Classes, order: Ints, chosen: Bools, wanted: Ints) -> Ints:
    """The classes of the instruments of some classes, in the order in which they are served."""
    members = [classes.of(int(k))[: wanted[k]] for k in np.flatnonzero(chosen)]
    if not members:
        return np.zeros(0, dtype=np.int64)
    everybody = np.concatenate(members)
    number = np.repeat(np.flatnonzero(chosen), [len(one) for one in members])
    return number[np.argsort(order[everybody])]


def _by_class(numbers: Ints, count: int) -> list[Ints]:
    """Where each class stands in an ascending list of classes."""
    edges = np.searchsorted(numbers, np.arange(count + 1))
    return [np.arange(edges[one], edges[one + 1]) for one in range(count)]


def _copies_apart(terms: Terms, classes: Classes, columns: tuple[Ints, Ints]) -> list[tuple[int, int]]:
    """Both copies of an instrument are never in one account: at most as many there as there are instruments."""
    k, account = columns
    return [
        (terms.row(np.flatnonzero((k == number) & (account == one)), upper=0.0), int(number))
        for number in np.flatnonzero(classes.copies > 1)
        for one in np.unique(account[k == number])
    ]
