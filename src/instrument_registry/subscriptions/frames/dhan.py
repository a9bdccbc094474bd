"""Dhan, second version: JSON as text, a code for each mode, one more than it to leave; at most a hundred a frame."""

import json
from collections.abc import Iterator, Sequence

from instrument_registry.subscriptions.frames.model import Act, Frame, Operation, cut, runs
from instrument_registry.subscriptions.planner.model import Mode

CODES = {Mode.LTP: 15, Mode.QUOTE: 17, Mode.FULL: 21}
ITEMS_MAX = 100


def frames(operations: Sequence[Operation], items_max: int) -> Iterator[Frame]:
    """The frames of some operations on one connection, in their order."""
    most = min(items_max, ITEMS_MAX)
    for act, some in runs(operations, lambda one: one.act):
        if act is not Act.ADD:
            for mode in Mode:
                yield from _each(CODES[mode] + 1, [one for one in some if one.before is mode], most)
        if act is not Act.REMOVE:
            for mode in Mode:
                yield from _each(CODES[mode], [one for one in some if one.mode is mode], most)


def _each(code: int, some: Sequence[Operation], items_max: int) -> Iterator[Frame]:
    for piece in cut(some, items_max):
        listed = [{"ExchangeSegment": one.segment, "SecurityId": one.token} for one in piece]
        asked = {"RequestCode": code, "InstrumentCount": len(listed), "InstrumentList": listed}
        yield Frame(json.dumps(asked).encode(), len(listed))
