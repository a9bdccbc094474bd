"""What every connection carries, as a socket knows it, and a digest of it that a ticker can compute for itself."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from instrument_registry.subscriptions.planner.model import NOWHERE, Mode
from instrument_registry.subscriptions.plans.content import Content

DIGEST_CHARACTERS = 32
MODES = tuple(Mode)


@dataclass(frozen=True, slots=True, order=True)
class Socket:
    """A connection of an account."""

    account: str
    connection: str


@dataclass(frozen=True, slots=True)
class Carried:
    """One instrument on one connection: in which mode, and under which name (`segment|token`)."""

    mode: Mode
    name: str


def apart(name: str) -> tuple[str, str]:
    """Segment and token of a name."""
    segment, _, token = name.partition("|")
    return segment, token


Load = Mapping[int, Carried]  # by instrument number
Loads = Mapping[Socket, Load]


def loads_of(content: Content) -> dict[Socket, dict[int, Carried]]:
    """What every connection of a plan carries; those that carry nothing, too."""
    sockets = [Socket(*one) for one in content.sockets]
    found: dict[Socket, dict[int, Carried]] = {one: {} for one in sockets}
    ids, modes = content.problem.ids.tolist(), content.problem.mode.tolist()
    for at, names in ((content.at, content.names), (content.second, content.second_names)):
        connections = at.tolist()
        for place in np.flatnonzero(at != NOWHERE).tolist():
            found[sockets[connections[place]]][ids[place]] = Carried(MODES[modes[place]], names[place])
    return found


def digest_of(load: Load) -> str:
    """SHA-256 of the lines `segment|token|mode` in ascending order, its first 32 hexadecimal digits.

    Modes are ltp, quote and full; nothing carried is the digest of the empty text.
    """
    lines = sorted(f"{one.name}|{one.mode.name.lower()}" for one in load.values())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGEST_CHARACTERS]
