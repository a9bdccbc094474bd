"""Angel One SmartStream: JSON as text, tokens by exchange; a mode is a subscription of its own."""

import hashlib
import json
from collections.abc import Iterator, Sequence

from instrument_registry.subscriptions.frames.model import Act, Frame, Operation, cut, runs
from instrument_registry.subscriptions.planner.model import Mode

MODES = {Mode.LTP: 1, Mode.QUOTE: 2, Mode.FULL: 3}
EXCHANGES = {"nse_cm": 1, "nse_fo": 2, "bse_cm": 3, "bse_fo": 4, "mcx_fo": 5, "ncx_fo": 7, "cde_fo": 13}
UNSUBSCRIBE, SUBSCRIBE = 0, 1
NAME_CHARACTERS = 10


def frames(operations: Sequence[Operation], items_max: int) -> Iterator[Frame]:
    """The frames of some operations on one connection, in their order."""
    for act, some in runs(operations, lambda one: one.act):
        for before in Mode:
            left = [one for one in some if (one.before if act is not Act.ADD else None) is before]
            yield from _each(UNSUBSCRIBE, before, left, items_max)
        if act is not Act.REMOVE:
            for mode in Mode:
                yield from _each(SUBSCRIBE, mode, [one for one in some if one.mode is mode], items_max)


def _each(action: int, mode: Mode, some: Sequence[Operation], items_max: int) -> Iterator[Frame]:
    for piece in cut(some, items_max):
        by_exchange: dict[int, list[str]] = {}
        for one in piece:
            by_exchange.setdefault(EXCHANGES[one.segment], []).append(one.token)
        listed = [{"exchangeType": exchange, "tokens": tokens} for exchange, tokens in sorted(by_exchange.items())]
        asked = {"action": action, "params": {"mode": MODES[mode], "tokenList": listed}}
        name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:NAME_CHARACTERS]
        yield Frame(json.dumps({"correlationID": name, **asked}).encode(), len(piece))
