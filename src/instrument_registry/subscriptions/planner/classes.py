"""Instruments that are alike for the planner: the size of what is solved does not grow with their number."""

from dataclasses import dataclass

import numpy as np

from instrument_registry.subscriptions.planner.model import NOWHERE, Bools, Floats, Ints, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """Classes, and their instruments: `members[starts[k]:starts[k + 1]]` are those of class k by order of service."""

    mode: Ints
    tier: Ints
    group: Ints
    load: Floats  # messages a second of each instrument
    copies: Ints
    fixed: Ints  # the one connection where its instruments may be, or NOWHERE
    host: Ints  # the connection that is to be emptied where its instruments live, or NOWHERE
    members: Ints
    starts: Ints

    def __len__(self) -> int:
        return len(self.mode)

    @property
    def sizes(self) -> Ints:
        """How many instruments each has."""
        return np.diff(self.starts)

    def of(self, number: int) -> Ints:
        """The instruments of one, the first to be served first."""
        return self.members[self.starts[number] : self.starts[number + 1]]


def classified(problem: Problem, order: Ints, fixed: Ints) -> Classes:
    """The classes of a problem, given everybody's own place in the order, and who may be at one connection alone."""
    loads, load = np.zeros(1), np.zeros(len(problem), dtype=np.int64)
    if problem.bounded:
        loads, load = np.unique(problem.counted_load, return_inverse=True)
    host = np.where(problem.leaving, problem.live, NOWHERE)
    columns = (problem.tier, problem.mode, problem.group, problem.copies, load, fixed, host)
    key = np.zeros(len(problem), dtype=np.int64)
    for column in columns:
        low = int(column.min(initial=0))
        key = key * (int(column.max(initial=0)) - low + 1) + (column - low)
    members = np.argsort(key * (int(order.max(initial=0)) + 1) + order)
    sorted_key = key[members]
    first = np.flatnonzero(np.diff(sorted_key, prepend=sorted_key[0] - 1)) if len(members) else np.zeros(0, np.int64)
    one = members[first]
    return Classes(
        mode=problem.mode[one], tier=problem.tier[one], group=problem.group[one],
        load=loads[load[one]], copies=problem.copies[one], fixed=fixed[one], host=host[one],
        members=members, starts=np.append(first, len(members)),
    )  # fmt: skip


def class_of(classes: Classes) -> Ints:
    """The class of each instrument."""
    found = np.empty(len(classes.members), dtype=np.int64)
    found[classes.members] = np.repeat(np.arange(len(classes)), classes.sizes)
    return found


def counted(classes: Classes, places: Ints, chosen: Bools, *, count: int) -> Ints:
    """How many chosen instruments of each class are at each of `count` places."""
    there = chosen & (places != NOWHERE)
    flat = class_of(classes)[there] * count + places[there]
    return np.bincount(flat, minlength=len(classes) * count).reshape(len(classes), count)
