"""From counts to instruments: in each class the first to be served, those who live there first, then place by place."""

import numpy as np

from instrument_registry.subscriptions.planner.classes import Classes
from instrument_registry.subscriptions.planner.model import NOWHERE, Bools, Ints, Problem
from instrument_registry.subscriptions.planner.placing import Placed
from instrument_registry.subscriptions.planner.serving import Served


def chosen(classes: Classes, wanted: Ints) -> Bools:
    """The instruments that are meant by so many of each class: its first ones."""
    found = np.zeros(len(classes.members), dtype=np.bool_)
    rank = np.arange(len(classes.members)) - np.repeat(classes.starts[:-1], classes.sizes)
    found[classes.members[rank < np.repeat(wanted, classes.sizes)]] = True
    return found


def expanded(
    problem: Problem, classes: Classes, wanted: Served, counts: Placed, *, single: Bools | None = None
) -> tuple[Ints, Ints]:
    """Where each instrument's first and second copy goes; `single`: the classes that have no second."""
    single = classes.copies == 1 if single is None else single
    first, second = _single(problem, classes, wanted, counts, single), np.full(len(problem), NOWHERE, dtype=np.int64)
    for number in np.flatnonzero(~single):
        members = classes.of(int(number))[: wanted.first[number]]
        total = counts.stay[number] + counts.come[number]
        first[members], second[members] = _double(problem, members, total, seconds=int(wanted.second[number]))
    return first, second


def _single(problem: Problem, classes: Classes, wanted: Served, counts: Placed, those: Bools) -> Ints:
    at = np.full(len(problem), NOWHERE, dtype=np.int64)
    number = np.repeat(np.arange(len(classes)), classes.sizes)
    rank = np.arange(len(classes.members)) - np.repeat(classes.starts[:-1], classes.sizes)
    mine = those[number] & (rank < wanted.first[number])
    members, number = classes.members[mine], number[mine]
    lives = np.where(problem.lives[members], problem.live[members], NOWHERE)
    stays = np.zeros(len(members), dtype=np.bool_)
    there = np.flatnonzero(lives != NOWHERE)
    if len(there):
        order = there[np.lexsort((there, lives[there], number[there]))]
        key = number[order] * (counts.stay.shape[1] + 1) + lives[order]
        begins = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
        place = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
        stays[order[place < counts.stay[number[order], lives[order]]]] = True
    at[members[stays]] = lives[stays]
    come = np.where(those[:, None], counts.come, 0)
    seats = np.repeat(np.tile(np.arange(come.shape[1]), len(classes)), come.ravel())
    seat_of = np.repeat(np.repeat(np.arange(len(classes)), come.shape[1]), come.ravel())
    waiting = np.flatnonzero(~stays)
    # The waiting of each class take its seats in order; where there are fewer seats the last of them find none.
    place = np.arange(len(waiting)) - np.searchsorted(number[waiting], number[waiting])
    first_seat = np.searchsorted(seat_of, number[waiting])
    last_seat = np.searchsorted(seat_of, number[waiting], side="right")
    has = first_seat + place < last_seat
    at[members[waiting[has]]] = seats[(first_seat + place)[has]]
    return at


def _double(problem: Problem, members: Ints, total: Ints, *, seconds: int) -> tuple[Ints, Ints]:
    """Two places for as many of them as may be, never both in one account, and one for the others."""
    now = np.stack([problem.live[members], problem.second[members]], axis=1)
    if (now == NOWHERE).all() and total.sum() >= len(members):
        return _wrapped(total, len(members), seconds=seconds)
    seats = _Seats(problem.account_of.tolist(), total.tolist(), len(members))
    for one, places in enumerate(now.tolist()):
        for here in places:
            if here != NOWHERE and seats.count(one) < 1 + (one < seconds):
                seats.take(one, here)
    for one in range(len(members)):
        if seats.first[one] == NOWHERE:
            seats.take(one, seats.fullest(one))
    for one in range(min(seconds, len(members))):
        if seats.second[one] == NOWHERE and seats.first[one] != NOWHERE:
            place = seats.fullest(one)  # where all that is left is in its own account, somebody else goes there for it
            seats.take(one, place if place != NOWHERE else seats.exchanged(one, now))
    return np.array(seats.first, dtype=np.int64), np.array(seats.second, dtype=np.int64)


def _wrapped(total: Ints, count: int, *, seconds: int) -> tuple[Ints, Ints]:
    """Seats in a row, account by account: who comes round again is in another one, as none has more than there are."""
    seats = np.repeat(np.arange(len(total)), total)
    second = np.full(count, NOWHERE, dtype=np.int64)
    again = min(seconds, len(seats) - count)
    second[:again] = seats[count : count + again]
    return seats[:count], second


class _Seats:
    """Seats of one class while they are given out."""

    def __init__(self, account_of: list[int], left: list[int], count: int) -> None:
        self._account_of, self._left = account_of, left
        self._by_account = [0] * (max(account_of, default=-1) + 1)
        for at, number in enumerate(left):
            self._by_account[account_of[at]] += number
        self.first, self.second = [NOWHERE] * count, [NOWHERE] * count

    def count(self, one: int) -> int:
        """How many places somebody has."""
        return (self.first[one] != NOWHERE) + (self.second[one] != NOWHERE)

    def take(self, one: int, at: int) -> None:
        """Take a seat, if there is one and it is in another account than the first."""
        if at == NOWHERE or self._left[at] <= 0:
            return
        if self.first[one] == NOWHERE:
            self.first[one] = at
        elif self._account_of[self.first[one]] != self._account_of[at]:
            self.second[one] = at
        else:
            return
        self._change(at, -1)

    def fullest(self, one: int) -> int:
        """A seat in the account that has most, but for the one where the first is; NOWHERE when there is none."""
        mine = self._account_of[self.first[one]] if self.first[one] != NOWHERE else NOWHERE
        most, owner = max((0 if n == mine else number, -n) for n, number in enumerate(self._by_account))
        if most <= 0:
            return NOWHERE
        return max((self._left[at], -at) for at, account in enumerate(self._account_of) if account == -owner)[1] * -1

    def exchanged(self, one: int, now: Ints) -> int:
        """Free a seat elsewhere: somebody who is not in this account takes what is left there, best who has just come.

        There is somebody: an account has no more seats than there are instruments, and one of its seats is free.
        """
        free = next((at for at, number in enumerate(self._left) if number > 0), NOWHERE)
        if free == NOWHERE:
            return NOWHERE
        mine, found = self._account_of[free], None
        for other in range(len(self.first)):
            places = (self.second[other], self.first[other])
            if other == one or any(at != NOWHERE and self._account_of[at] == mine for at in places):
                continue
            for copy, at in enumerate(places):
                if at != NOWHERE and self._account_of[at] != self._account_of[self.first[one]]:
                    settled = at in now[other].tolist()
                    if found is None or not settled:
                        found = (other, copy, at)
                    if not settled:
                        break
            if found is not None and found[0] == other and found[2] not in now[other].tolist():
                break
        if found is None:
            return NOWHERE
        other, copy, at = found
        (self.second, self.first)[copy][other] = free
        self._change(free, -1)
        self._change(at, +1)
        return at

    def _change(self, at: int, by: int) -> None:
        self._left[at] += by
        self._by_account[self._account_of[at]] += by
