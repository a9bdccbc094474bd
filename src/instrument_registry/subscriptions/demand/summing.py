"""Many wants as one demand: whole columns at once, so that a million of them take less than a second; no I/O."""

import hashlib
from datetime import datetime

import numpy as np

from instrument_registry.subscriptions.demand.model import Demand
from instrument_registry.subscriptions.demand.wants import TIER_FLOORS
from instrument_registry.subscriptions.planner.model import Ints

# A want in one number, so that it travels as eight bytes: id, mode, priority, copies, pinned from the highest bit on.
PINNED_BITS, COPIES_BITS, PRIORITY_BITS, MODE_BITS = 1, 1, 7, 2
COPIES_AT = PINNED_BITS
PRIORITY_AT = COPIES_AT + COPIES_BITS
MODE_AT = PRIORITY_AT + PRIORITY_BITS
ID_AT = MODE_AT + MODE_BITS
PRIORITY_MAX = 100

# Widths of what is sorted as one number of at most 63 bits.
USER_BITS, INSTRUMENT_BITS = 24, 30


def summed(wants: Ints, users: Ints, *, next_edge: datetime | None = None) -> Demand:
    """The demand of wants in any order, each packed into one number, with the hash of each one's user beside it."""
    by_id = np.argsort(wants, kind="stable")
    packed = wants[by_id]
    of_id = packed >> ID_AT
    first = _begins(of_id)
    starts = np.flatnonzero(first)
    ids = of_id[starts]
    if not len(ids):
        return _demand(ids, ids, ids, ids, ids, ids, ids, next_edge)
    place = np.cumsum(first) - 1
    priority = np.maximum.reduceat(_bits(packed, PRIORITY_AT, PRIORITY_BITS), starts)
    # The mode stands highest in the number after the id, so the last want of each id has the highest.
    ends = np.append(starts[1:], len(packed)) - 1
    mode = _bits(packed[ends], MODE_AT, MODE_BITS)
    copies = np.maximum.reduceat(_bits(packed, COPIES_AT, COPIES_BITS), starts) + 1
    pinned = np.maximum.reduceat(packed & 1, starts)
    tier = len(TIER_FLOORS) - np.searchsorted(np.array(TIER_FLOORS[::-1]), priority, side="right")
    users_of, turn = _users(users[by_id], place, tier, priority)
    order = _ranked(priority, users_of, turn)
    return _demand(ids, mode, tier, order, np.diff(np.append(starts, len(packed))), copies, pinned, next_edge)


def _users(users: Ints, place: Ints, tier: Ints, priority: Ints) -> tuple[Ints, Ints]:
    """Of each instrument: how many users want it, and whose turn it is: the first of every user go before the seconds.

    A user's instruments of a tier come by priority, then by id.
    """
    names, user = np.unique(users, return_inverse=True)
    if len(names) >> USER_BITS or len(tier) >> INSTRUMENT_BITS:
        raise OverflowError(f"More than {1 << USER_BITS} users or {1 << INSTRUMENT_BITS} instruments are wanted")
    rank = (tier[place] << PRIORITY_BITS) | (PRIORITY_MAX - priority[place])
    pairs = np.sort((((user << MODE_BITS + PRIORITY_BITS) | rank) << INSTRUMENT_BITS) | place)
    pairs = pairs[_begins(pairs)]
    instrument = pairs & ((1 << INSTRUMENT_BITS) - 1)
    group = pairs >> (INSTRUMENT_BITS + PRIORITY_BITS)
    starts = np.flatnonzero(_begins(group))
    turn_in_group = np.arange(len(pairs)) - np.repeat(starts, np.diff(np.append(starts, len(pairs))))
    turn = np.full(len(tier), np.iinfo(np.int64).max, np.int64)
    np.minimum.at(turn, instrument, turn_in_group)
    return np.bincount(instrument, minlength=len(tier)).astype(np.int64), turn


def _ranked(priority: Ints, users: Ints, turn: Ints) -> Ints:
    """Who goes first: the higher priority, the more users, the earlier turn, the lower id."""
    key = ((PRIORITY_MAX - priority) << USER_BITS) | ((1 << USER_BITS) - 1 - users)
    places = np.argsort((key << INSTRUMENT_BITS) | turn, kind="stable")
    order = np.empty(len(places), np.int64)
    order[places] = np.arange(len(places))
    return order


def _demand(
    ids: Ints, mode: Ints, tier: Ints, order: Ints, wanted_by: Ints, copies: Ints, pinned: Ints,
    next_edge: datetime | None,
) -> Demand:  # fmt: skip
    arrays = (ids, mode, tier, order, wanted_by, copies, pinned)
    digest = hashlib.sha256(len(ids).to_bytes(8, "little"))
    for array in arrays:
        digest.update(np.ascontiguousarray(array, "<i8").data)
    return Demand(
        ids=ids, mode=mode, tier=tier.astype(np.int64), order=order, wanted_by=wanted_by, copies=copies,
        pinned=pinned.astype(np.bool_), digest=digest.hexdigest(), next_edge=next_edge,
    )  # fmt: skip


def _bits(packed: Ints, at: int, bits: int) -> Ints:
    return (packed >> at) & ((1 << bits) - 1)


def _begins(ordered: Ints) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Where another value begins than the one before."""
    begins = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    return begins
