"""The promise of every strategy in every kind of conflict, kept by what the profiles hold afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.profiles.conflicts import (
    PROMISES,
    PROMISES_OF_REQUESTS,
    ConflictKind,
    ConflictStrategy,
    Limit,
    settle,
)
from instrument_registry.subscriptions.profiles.model import Item

LTP, QUOTE, FULL = Mode
DUPLICATE, MODES = ConflictKind.DUPLICATE_SUBSCRIPTION, ConflictKind.MODE_CONFLICT
LIMIT, INVALID = ConflictKind.LIMIT_EXCEEDED, ConflictKind.INVALID_INSTRUMENT
LATEST, MERGE, FAIL = ConflictStrategy


def items(*numbers: int, mode: Mode | None = None) -> tuple[Item, ...]:
    return tuple(Item(asked=f"NSE:K{number}", number=number, mode=mode) for number in numbers)


def held(found: tuple[Item, ...]) -> list[tuple[int | None, Mode | None]]:
    return [(item.number, item.mode) for item in found]


def test_every_kind_and_strategy_promises_something() -> None:
    assert set(PROMISES) == {(kind, strategy) for kind in ConflictKind for strategy in ConflictStrategy}
    assert set(PROMISES_OF_REQUESTS) == {
        (limit, strategy) for limit in (Limit.PROFILES, Limit.TIER_0) for strategy in ConflictStrategy
    }


# The newer profile (full) holds 1 and 2, the older one (ltp) holds 2 and 3: the conflict is about 2, or about 4.
@pytest.mark.parametrize(
    ("kind", "strategy", "newer", "older"),
    [
        (DUPLICATE, LATEST, [(1, None), (2, None)], [(3, None)]),
        (DUPLICATE, MERGE, [(1, None), (2, FULL)], [(2, FULL), (3, None)]),
        (DUPLICATE, FAIL, [(1, None)], [(2, None), (3, None)]),
        (MODES, LATEST, [(1, None), (2, None)], [(3, None)]),
        (MODES, MERGE, [(1, None), (2, FULL)], [(2, FULL), (3, None)]),
        (MODES, FAIL, [(1, None)], [(2, None), (3, None)]),
        (LIMIT, LATEST, [(2, None), (4, None)], [(2, None), (3, None)]),
        (LIMIT, MERGE, [(1, None), (2, None)], [(2, None), (3, None)]),
        (LIMIT, FAIL, [(1, None), (2, None)], [(2, None), (3, None)]),
        (INVALID, LATEST, [(1, None), (2, None)], [(2, None), (3, None)]),
        (INVALID, MERGE, [(1, None), (2, None)], [(2, None), (3, None)]),
        (INVALID, FAIL, [(1, None), (2, None)], [(2, None), (3, None)]),
    ],
)
def test_the_promise_is_kept(
    kind: ConflictKind, strategy: ConflictStrategy, newer: list[tuple], older: list[tuple]
) -> None:
    about = items(2) if kind in (DUPLICATE, MODES) else items(4) if kind is LIMIT else ()
    settled = settle(kind, strategy, newer=items(1, 2), older=items(2, 3), concerned=about, modes=(FULL, LTP), limit=2)

    assert (held(settled.newer), held(settled.older)) == (newer, older)


@pytest.mark.parametrize("strategy", [LATEST, MERGE])
def test_what_was_invalid_comes_in_once_it_can_be_had(strategy: ConflictStrategy) -> None:
    unresolved = Item(asked="NSE:K4")
    settled = settle(
        INVALID, strategy, newer=(*items(1), unresolved), older=(), concerned=items(4), modes=(QUOTE, QUOTE), limit=5
    )
    failed = settle(
        INVALID, FAIL, newer=(*items(1), unresolved), older=(), concerned=[unresolved], modes=(QUOTE, QUOTE), limit=5
    )

    assert held(settled.newer) == [(1, None), (4, None)]
    assert held(failed.newer) == [(1, None)]


numbers = st.lists(st.integers(1, 12), unique=True, max_size=8)
modes = st.sampled_from([None, *Mode])


@given(
    kind=st.sampled_from(list(ConflictKind)), strategy=st.sampled_from(list(ConflictStrategy)), first=numbers,
    second=numbers, about=numbers, own=modes, other=modes, limit=st.integers(8, 12),
)  # fmt: skip
def test_whatever_is_settled_stays_within_the_limit_and_touches_nothing_else(
    kind: ConflictKind, strategy: ConflictStrategy, first: list[int], second: list[int], about: list[int],
    own: Mode | None, other: Mode | None, limit: int,
) -> None:  # fmt: skip
    newer, older = items(*first, mode=own), items(*second, mode=other)
    settled = settle(kind, strategy, newer=newer, older=older, concerned=items(*about), modes=(QUOTE, LTP), limit=limit)
    after = {item.number: item for item in settled.newer}
    kept = {item.number: item for item in settled.older}

    assert len(after) == len(settled.newer) <= limit
    assert len(kept) == len(settled.older)
    for item in older:
        assert item.number in about or kept.get(item.number) == item
    if strategy is not LATEST:  # nothing else goes for it
        assert [item for item in newer if item.number not in about] == [
            item for item in settled.newer if item.number not in about
        ]
    if strategy is FAIL:
        assert settled.older == older
        assert not {item.number for item in settled.newer} & set(about)
    if strategy is LATEST and kind in (DUPLICATE, MODES):
        assert not kept.keys() & set(about)
        assert set(about) <= after.keys() or len(about) > limit
