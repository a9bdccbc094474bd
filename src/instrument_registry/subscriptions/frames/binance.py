"""Binance spot: JSON as text; what is subscribed is a stream, whose name says the mode."""

import json
import zlib
from collections.abc import Iterator, Sequence

from instrument_registry.subscriptions.frames.model import Act, Frame, Operation, cut, runs
from instrument_registry.subscriptions.planner.model import Mode

STREAMS = {Mode.LTP: "trade", Mode.QUOTE: "bookTicker", Mode.FULL: "depth20"}
ITEMS_MAX = 200


def frames(operations: Sequence[Operation], items_max: int) -> Iterator[Frame]:
    """The frames of some operations on one connection, in their order."""
    most = min(items_max, ITEMS_MAX)
    for act, some in runs(operations, lambda one: one.act):
        if act is not Act.ADD:
            yield from _each("UNSUBSCRIBE", [_stream(one, one.before) for one in some if one.before is not None], most)
        if act is not Act.REMOVE:
            yield from _each("SUBSCRIBE", [_stream(one, one.mode) for one in some], most)


def _each(method: str, streams: Sequence[str], items_max: int) -> Iterator[Frame]:
    for piece in cut(streams, items_max):
        asked = {"method": method, "params": list(piece)}
        number = zlib.crc32(json.dumps(asked).encode())  # the same frame has the same number, whoever makes it
        yield Frame(json.dumps({**asked, "id": number}).encode(), len(piece))


def _stream(one: Operation, mode: Mode) -> str:
    return f"{one.token.lower()}@{STREAMS[mode]}"
