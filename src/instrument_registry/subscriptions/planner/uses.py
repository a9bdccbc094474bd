"""How sockets are used that carry more when they do not mix modes: the best way for tiers is taken."""

from collections import Counter
from collections.abc import Iterable
from itertools import combinations_with_replacement, product
from math import prod

import numpy as np

from instrument_registry.subscriptions.planner.classes import Classes
from instrument_registry.subscriptions.planner.model import TIERS, Account, Connection, Problem
from instrument_registry.subscriptions.planner.serving import Room

TRIES_MAX = 64
ROUNDS_MAX = 5


def chosen_uses(problem: Problem, classes: Classes, *, keep: bool) -> tuple[int, ...]:
    """Which of its uses each connection has; with `keep` the live ones keep theirs, else where that is as good.

    Every way of all accounts together is tried where they are few, else account by account until none is better.
    """
    present = tuple(one.used_as or 0 for one in problem.connections)
    by_account = [_ways(account, keep=keep) for account in problem.accounts]
    if all(len(ways) == 1 for ways in by_account):
        return tuple(use for (way,) in by_account for use in way)
    if prod(len(ways) for ways in by_account) <= TRIES_MAX:
        return max((_whole(one) for one in product(*by_account)), key=_Worth(problem, classes, present).of)
    worth, best = _Worth(problem, classes, present), [ways[0] for ways in by_account]
    for _ in range(ROUNDS_MAX):
        before = list(best)
        for number, ways in enumerate(by_account):
            if len(ways) > 1:
                tried = [[*best[:number], way, *best[number + 1 :]] for way in ways]
                best = max(tried, key=lambda one: worth.of(_whole(one)))
        if best == before:
            break
    return _whole(best)


def _whole(by_account: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(use for one in by_account for use in one)


class _Worth:
    """How good a way is; what was worked out is kept."""

    def __init__(self, problem: Problem, classes: Classes, present: tuple[int, ...]) -> None:
        self._problem, self._classes, self._present = problem, classes, present
        self._known: dict[tuple[int, ...], tuple[tuple[int, ...], int]] = {}

    def of(self, uses: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """By tier how many are served, then how few connections are used otherwise than now."""
        if uses not in self._known:
            changed = sum(a != b for a, b in zip(uses, self._present, strict=True))
            self._known[uses] = (_value(self._problem, self._classes, uses), -changed)
        return self._known[uses]


def _ways(account: Account, *, keep: bool) -> list[tuple[int, ...]]:
    """Every way to use the connections of an account; those that may be used alike are not told apart."""
    free = [
        n
        for n, one in enumerate(account.connections)
        if len(one.uses) > 1 and one.alive and not (keep and one.used_as is not None)
    ]
    most = max((len(account.connections[n].uses) for n in free), default=1)
    chosen = combinations_with_replacement(range(most), len(free))
    return sorted({_laid(account.connections, free, one) for one in chosen})


def _laid(connections: tuple[Connection, ...], free: list[int], chosen: tuple[int, ...]) -> tuple[int, ...]:
    """The chosen uses laid onto connections so that as many as can be keep theirs."""
    found = [one.used_as or 0 for one in connections]
    left = Counter(chosen)
    waiting = []
    for number in free:
        now = connections[number].used_as
        if now is not None and left[now]:
            left[now] -= 1
            found[number] = now
        else:
            waiting.append(number)
    for number, use in zip(waiting, sorted(left.elements()), strict=True):
        found[number] = min(use, len(connections[number].uses) - 1)
    return tuple(found)


def _value(problem: Problem, classes: Classes, uses: tuple[int, ...]) -> tuple[int, ...]:
    """How many of each tier can be served, the highest first."""
    room = Room(problem, classes, uses)
    none = np.zeros(len(classes), dtype=np.int64)
    asked, found, before = none, [], 0
    for tier in range(TIERS):
        asked = asked + np.where(classes.tier == tier, classes.sizes, 0)
        most = round(room.most(asked, none))
        found.append(most - before)
        before = most
    return tuple(found)
