"""Where those who are served go: as many as can be stay, connections fill evenly above a comfort, then fewest are open.

Stayers and newcomers of a class are two kinds of columns, so that moves need no column of their own: whoever does not
stay has moved. Staying is worth more than any evening out: an exchange touches each connection once at most.
"""

from dataclasses import dataclass

import numpy as np

from instrument_registry.subscriptions.planner.bounds import bound, possible, singles
from instrument_registry.subscriptions.planner.classes import Classes
from instrument_registry.subscriptions.planner.linear import Programme, Terms
from instrument_registry.subscriptions.planner.model import Bools, Floats, Ints, Problem
from instrument_registry.subscriptions.planner.serving import Served

COMFORT = 0.8
STEPS = 20  # of a hundredth of the room each, above the comfort


@dataclass(frozen=True, slots=True)
class Placed:
    """How many of each class stay at each connection, and how many come: first and second copies together."""

    stay: Ints
    come: Ints


def placed(
    problem: Problem, classes: Classes, wanted: Served, living: Ints, *, uses: tuple[int, ...], but: Bools | None = None
) -> Placed:
    """Counts by class and connection; where messages are bounded some may find no place, else everybody has one.

    `but`: the connections that are not to be used; then the fullest are used first. Raises: Unsolved.
    """
    shape = (len(classes), len(problem.connections))
    if not all(shape):
        return Placed(np.zeros(shape, np.int64), np.zeros(shape, np.int64))
    there = possible(problem, classes, uses)
    if but is not None:
        there &= ~but
    k, c = np.nonzero(there)
    stays = living[k, c] > 0
    sk, sc = k[stays], c[stays]
    numbers, kk, cc = len(k), np.append(k, sk), np.append(c, sc)
    asked = wanted.first + wanted.second
    terms = Terms.none()
    by_class = np.argsort(kk, kind="stable")
    edges = np.searchsorted(kk[by_class], np.arange(len(classes) + 1))
    for number, most in enumerate(asked.tolist()):
        columns = by_class[edges[number] : edges[number + 1]]
        terms.row(columns, lower=0.0 if problem.bounded or not len(columns) else most, upper=most)
    bound(terms, problem, classes, singles(problem, uses), (kk, cc, problem.account_of[cc]))
    for number in np.flatnonzero(classes.copies > 1).tolist():
        for account in range(len(problem.accounts)):
            at = np.flatnonzero((kk == number) & (problem.account_of[cc] == account))
            terms.row(at, upper=float(wanted.first[number]))
    gains, upper = _gains(terms, problem, uses, (kk, cc), numbers=numbers, stay_max=living[sk, sc])
    if but is not None:
        gains[: len(kk)] += cc / (len(problem.connections) + 1.0) - _by_size(problem, living, uses)[cc]
    _, found = Programme(gains, terms, upper=upper).solve()
    whole = np.floor(found + 1e-6).astype(np.int64)
    come, stay = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    come[k, c], stay[sk, sc] = whole[:numbers], whole[numbers : len(kk)]
    return Placed(stay, come)


def _by_size(problem: Problem, living: Ints, uses: tuple[int, ...]) -> Floats:
    """Below one: less for those where somebody lives, then for those that carry most."""
    room = np.array([one.uses[use].total for one, use in zip(problem.connections, uses, strict=True)])
    rank = np.empty(len(room))
    rank[np.lexsort((np.arange(len(room)), -room, ~living.any(axis=0)))] = np.arange(len(room))
    return np.asarray(rank / (len(room) + 1.0), dtype=np.float64)


def _gains(
    terms: Terms, problem: Problem, uses: tuple[int, ...], at: tuple[Ints, Ints], *, numbers: int, stay_max: Ints
) -> tuple[Floats, Floats]:
    """What each column brings, and how much of it there may be; columns of steps above the comfort come last."""
    kk, cc = at
    room = np.array([one.uses[use].total for one, use in zip(problem.connections, uses, strict=True)], dtype=np.float64)
    count = len(room)
    by_connection = np.argsort(cc, kind="stable")
    edges = np.searchsorted(cc[by_connection], np.arange(count + 1))
    for number in range(count):
        here = by_connection[edges[number] : edges[number + 1]]
        extra = len(kk) + number * STEPS + np.arange(STEPS)
        values = np.append(np.ones(len(here)), -np.ones(STEPS))
        terms.row(np.append(here, extra), upper=float(np.floor(room[number] * COMFORT)), values=values)
    # An exchange passes each connection and each class once: more than it can save in steps, less than a move.
    staying = 2.0 * STEPS * (count + 1)
    being = staying * 2.0 * (count + len(np.unique(kk)) + 1)  # where messages are bounded, a place comes before staying
    gains = being - cc / (count + 1.0)  # the first of equals, so that few are open
    gains[numbers:] += staying
    gains[problem.emptied[cc]] -= 1.5 * staying  # leaving is better there, a place is better than none
    costs = np.tile(-np.arange(1.0, STEPS + 1), count)
    steps = np.repeat(np.ceil(room * (1 - COMFORT) / STEPS), STEPS)
    upper = np.concatenate([np.full(numbers, np.inf), stay_max.astype(np.float64), steps])
    return np.append(gains, costs), upper
