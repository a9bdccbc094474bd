"""Upstox, third version: JSON sent as binary; a quote is what it calls full."""

import json
import uuid
from collections.abc import Iterator, Sequence

from instrument_registry.subscriptions.frames.model import Act, Frame, Operation, cut, runs
from instrument_registry.subscriptions.planner.model import Mode

NAMES = {Mode.LTP: "ltpc", Mode.QUOTE: "full", Mode.FULL: "full"}
METHODS = {Act.ADD: "sub", Act.REMOVE: "unsub", Act.MODE: "change_mode"}
OURS = uuid.UUID("8a4cf9a2-6f0b-5d55-9a39-2c6f1c0b7d11")  # names of frames are made below it


def frames(operations: Sequence[Operation], items_max: int) -> Iterator[Frame]:
    """The frames of some operations on one connection, in their order."""
    for (act, mode), some in runs(operations, lambda one: (one.act, NAMES[one.mode])):
        if act is Act.MODE:
            some = [one for one in some if one.before is None or NAMES[one.before] != mode]
        for piece in cut(some, items_max):
            keys = [f"{one.segment}|{one.token}" for one in piece]
            data: dict[str, object] = {"instrumentKeys": keys}
            if act is not Act.REMOVE:
                data["mode"] = mode
            asked = {"method": METHODS[act], "data": data}
            guid = str(uuid.uuid5(OURS, json.dumps(asked)))  # the same frame has the same name, whoever makes it
            yield Frame(json.dumps({"guid": guid, **asked}).encode(), len(piece), binary=True)
