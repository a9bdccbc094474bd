"""Kite: JSON as text. Whoever is subscribed begins as a quote, so every other mode needs a second frame."""

import json
from collections.abc import Iterator, Sequence

from instrument_registry.subscriptions.frames.model import Act, Frame, Operation, cut, runs
from instrument_registry.subscriptions.planner.model import Mode

NAMES = {Mode.LTP: "ltp", Mode.QUOTE: "quote", Mode.FULL: "full"}


def frames(operations: Sequence[Operation], items_max: int) -> Iterator[Frame]:
    """The frames of some operations on one connection, in their order."""
    for act, some in runs(operations, lambda one: one.act):
        if act is Act.REMOVE:
            yield from _each("unsubscribe", some, items_max)
            continue
        if act is Act.ADD:
            yield from _each("subscribe", some, items_max)
        for mode in Mode:
            chosen = [one for one in some if one.mode is mode and not (act is Act.ADD and mode is Mode.QUOTE)]
            for piece in cut(chosen, items_max):
                yield _frame("mode", [NAMES[mode], _tokens(piece)], len(piece))


def _each(action: str, some: Sequence[Operation], items_max: int) -> Iterator[Frame]:
    for piece in cut(some, items_max):
        yield _frame(action, _tokens(piece), len(piece))


def _frame(action: str, value: object, count: int) -> Frame:
    return Frame(json.dumps({"a": action, "v": value}).encode(), count)


def _tokens(some: Sequence[Operation]) -> list[int]:
    return [int(one.token) for one in some]
