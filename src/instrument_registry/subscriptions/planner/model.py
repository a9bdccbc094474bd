"""What the planner is asked, and what it answers: arrays by instrument, a few objects for accounts and connections."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

NOWHERE = -1
TIERS = 4
TIER_RATIO = 13.0
LOADS_MAX = 4
LOAD_SPAN_MAX = 64.0  # the lightest counts for no less than this part of the heaviest


class Mode(IntEnum):
    """How much of an instrument is wanted; each includes the ones before it."""

    LTP = 0
    QUOTE = 1
    FULL = 2


class Level(StrEnum):
    """How hard the planner looks; every level keeps the promises of the one before it but the first."""

    LOW = "low"  # no voluntary move
    MODERATE = "moderate"
    AGGRESSIVE = "aggressive"  # other uses of live sockets too, and as few of them as can be


class Quality(StrEnum):
    """What is known of how good a plan is."""

    OPTIMAL = "optimal"  # nobody else could be served
    BOUNDED = "bounded"  # no better than `served_bound`, no worse than what it is
    HEURISTIC = "heuristic"  # as it lives, completed; the bound is what was asked for


class Ended(StrEnum):
    """How the search for a plan came to its end; only what finished is the same every time."""

    FINISHED = "finished"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    DIED = "died"  # the solver's process did
    FAILED = "failed"  # the solver gave up


@dataclass(frozen=True, slots=True)
class Use:
    """One way to use a connection: what it carries in all, and of each mode; 0: not at all."""

    name: str
    total: int
    modes: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A socket that may be opened, or lives."""

    id: str
    uses: tuple[Use, ...]
    alive: bool = True  # a lost one carries nothing, and what lived there must move
    draining: bool = False  # takes nobody new, and whoever lives there leaves as soon as there is room elsewhere
    used_as: int | None = None  # which of its uses it has now
    load_max: float | None = None  # messages a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A broker account: connections, and what they may carry together."""

    id: str
    broker: str
    connections: tuple[Connection, ...]
    total: int | None = None
    modes: tuple[int | None, int | None, int | None] = (None, None, None)
    reserve: int = 0  # of the total, held back for people and for reconnecting


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Who is to be carried, and where they live now. Every array has one entry an instrument, by ascending id.

    `order` says who goes first in a tier (the smaller first), ids break ties. `groups[group]` says which accounts can
    carry an instrument. `live` and `second` are places in `connections`, or NOWHERE; `load` is in messages a second.
    """

    accounts: tuple[Account, ...]
    groups: Bools
    ids: Ints
    mode: Ints
    tier: Ints
    order: Ints
    group: Ints
    live: Ints
    second: Ints
    copies: Ints
    pinned: Bools
    load: Floats

    @cached_property
    def connections(self) -> tuple[Connection, ...]:
        """All connections, account by account."""
        return tuple(one for account in self.accounts for one in account.connections)

    @cached_property
    def account_of(self) -> Ints:
        """The account of each connection."""
        return np.array([at for at, one in enumerate(self.accounts) for _ in one.connections], dtype=np.int64)

    @cached_property
    def alive(self) -> Bools:
        """Which connections can carry anything."""
        return np.array([one.alive for one in self.connections], dtype=np.bool_)

    @cached_property
    def emptied(self) -> Bools:
        """Which live connections are to be emptied."""
        return np.array([one.draining for one in self.connections], dtype=np.bool_) & self.alive

    @cached_property
    def bounded(self) -> bool:
        """Whether messages a second are bounded anywhere."""
        return any(one.load_max is not None and one.alive for one in self.connections)

    @cached_property
    def counted_load(self) -> Floats:
        """What each counts for where messages are bounded: its load, rounded up to one of at most four."""
        return _rounded(self.load) if self.bounded else np.zeros(len(self))

    @cached_property
    def tier_ratio(self) -> float:
        """How many of a tier one of the next higher is worth: more than the heaviest could displace of the lightest."""
        some = self.counted_load[self.counted_load > 0]
        return max(TIER_RATIO, 1.6 * float(some.max() / some.min())) if len(some) else TIER_RATIO

    @cached_property
    def leaving(self) -> Bools:
        """Who lives on a connection that is to be emptied."""
        return self.lives & self.emptied[np.where(self.lives, self.live, 0)] if len(self.connections) else self.lives

    @cached_property
    def lives(self) -> Bools:
        """Whose first copy lives where it could stay: on a live connection of an account that can carry it."""
        there = self.live != NOWHERE
        at = np.where(there, self.live, 0)
        if len(self.connections):
            there = there & self.alive[at] & self.groups[self.group, self.account_of[at]]
        return np.asarray(there, dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.ids)


def problem(
    accounts: Sequence[Account],
    *,
    ids: npt.ArrayLike,
    mode: npt.ArrayLike,
    tier: npt.ArrayLike,
    order: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    group: npt.ArrayLike = 0,
    live: npt.ArrayLike = NOWHERE,
    second: npt.ArrayLike = NOWHERE,
    copies: npt.ArrayLike = 1,
    pinned: npt.ArrayLike = False,
    load: npt.ArrayLike = 0.0,
) -> Problem:
    """A problem from columns in any order; single values hold for everybody, without groups all may go anywhere."""
    keys = np.asarray(ids, dtype=np.int64)
    by_id = np.argsort(keys, kind="stable")

    def column(given: npt.ArrayLike, kind: type[np.generic]) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = np.asarray(given, dtype=kind)
        return (np.full(len(keys), values) if values.ndim == 0 else values)[by_id]

    return Problem(
        accounts=tuple(accounts),
        groups=np.ones((1, len(accounts)), dtype=np.bool_) if groups is None else np.asarray(groups, dtype=np.bool_),
        ids=keys[by_id],
        mode=column(mode, np.int64),
        tier=column(tier, np.int64),
        order=column(keys if order is None else order, np.int64),
        group=column(group, np.int64),
        live=column(live, np.int64),
        second=column(second, np.int64),
        copies=column(copies, np.int64),
        pinned=column(pinned, np.bool_),
        load=column(load, np.float64),
    )


def _rounded(load: Floats) -> Floats:
    """Each the heaviest of its kind: at most four kinds, each spanning as much."""
    if not load.any():
        return np.zeros(len(load))
    most = float(load.max())
    counted: Floats = np.maximum(load, most / LOAD_SPAN_MAX)
    values: Floats = np.unique(counted)
    heaviest = values
    if len(values) > LOADS_MAX:
        step = max(2.0, float(most / values[0]) ** (1 / LOADS_MAX))
        kind = np.minimum(np.floor(np.log(most / values) / np.log(step) + 1e-9), LOADS_MAX - 1).astype(np.int64)
        heaviest = values[np.searchsorted(-kind, -kind, side="right") - 1]  # kinds fall as values rise
    return np.asarray(heaviest[np.searchsorted(values, counted)], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Why some instruments are not served, what was short, and the smallest change that would serve them."""

    reason: str
    detail: str
    would_fit_if: str | None
    members: Ints = field(repr=False)  # places in the problem


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where everybody goes: places in the problem's connections, by instrument."""

    at: Ints
    second: Ints
    uses: tuple[int, ...]  # which of its uses each connection has
    drops: tuple[Drop, ...]
    quality: Quality
    served_bound: tuple[float, ...]  # by tier: how many could be served at most, the higher tiers first
    moved: Bools  # live, could have stayed, and goes elsewhere; leaving what is to be emptied is no move
    forced: Bools  # lived where nothing can live any more
    degraded: tuple[Drop, ...] = ()  # served, but without the second copy that was asked for
    level: Level = Level.MODERATE
    ended: Ended = Ended.FINISHED
