"""What goes over a broker's socket: operations on instruments, and the frames that carry them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TypeVar

from instrument_registry.subscriptions.planner.model import Mode

T = TypeVar("T")


class Act(StrEnum):
    """What is done to an instrument on a connection."""

    REMOVE = "remove"
    MODE = "mode"
    ADD = "add"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One instrument on one connection; `before` is the mode it has there, for a removal or a change."""

    act: Act
    token: str
    segment: str
    mode: Mode
    before: Mode | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it is sent, and how many instruments it names."""

    payload: bytes
    instruments: int
    binary: bool = False


Codec = Callable[[Sequence[Operation], int], Iterator[Frame]]  # operations of one connection, instruments a frame


def ordered(operations: Iterable[Operation]) -> list[Operation]:
    """In a safe order: what is freed first, then lower modes, then what is new, then higher modes."""
    return sorted(operations, key=lambda one: (_turn(one), one.segment, one.token))


def runs(operations: Sequence[Operation], key: Callable[[Operation], T]) -> Iterator[tuple[T, list[Operation]]]:
    """Operations that may go into one frame, as they follow each other: those with the same key."""
    for what, some in groupby(operations, key):
        yield what, list(some)


def cut(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Pieces of at most so many."""
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _turn(one: Operation) -> int:
    if one.act is Act.REMOVE:
        return 0
    if one.act is Act.ADD:
        return 2
    return 1 if one.before is not None and one.mode < one.before else 3
