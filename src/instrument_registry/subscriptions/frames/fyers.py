"""Fyers data socket: binary. A symbol's prices and its depth are subscribed apart, so everything is both.

What its own program asks over HTTP before it subscribes, how symbols are called on the socket, is in the tokens that we
have: exchange and segment in their first four digits, the exchange's own number from the eleventh on. Only indices go
under names that stand in a table of theirs: of them a token says nothing, and they cannot be had here.

The length at the head of a message is that of the message. Their program adds the length of its access token, which no
plan knows: who sends its frames and wants them to be equal to theirs, to the last byte, has it put in by `with_token`.
"""

import struct
from collections.abc import Iterator, Sequence

from instrument_registry.errors import Invalid
from instrument_registry.subscriptions.frames.model import Act, Frame, Operation, cut, runs
from instrument_registry.subscriptions.planner.model import Mode

SUBSCRIBE, UNSUBSCRIBE = 4, 5
CHANNEL = 11  # the one its own program uses when nobody names another
ITEMS_MAX = 1500
SEGMENTS = {
    "1010": "nse_cm", "1011": "nse_fo", "1012": "cde_fo", "1020": "nse_com", "1120": "mcx_fo", "1210": "bse_cm",
    "1211": "bse_fo", "1212": "bcs_fo",
}  # fmt: skip
PRICES, DEPTH = "sf", "dp"
SEGMENT_DIGITS, NUMBER_AT = 4, 10
HEAD = struct.Struct("!H")
SOURCE = "PythonSDK-3.2.0"  # what their program calls itself
BESIDE = 9  # the bytes that it counts too much, beside the token and its name


class NoFyersToken(Invalid):
    """Take the token from the broker's own file."""

    title = "This is no token of Fyers"


def frames(operations: Sequence[Operation], items_max: int) -> Iterator[Frame]:
    """The frames of some operations on one connection, in their order; Raises: NoFyersToken."""
    most = min(items_max, ITEMS_MAX)
    for act, some in runs(operations, lambda one: one.act):
        gone, come = _left(act, some), _come(act, some)
        for what in (DEPTH, PRICES):
            yield from _each(UNSUBSCRIBE, what, gone[what], most)
        for what in (PRICES, DEPTH):
            yield from _each(SUBSCRIBE, what, come[what], most)


def with_token(frame: Frame, *, characters: int) -> Frame:
    """A frame as their program sends it when its access token has so many characters."""
    (length,) = HEAD.unpack_from(frame.payload)
    told = HEAD.pack(length + BESIDE + characters + len(SOURCE))
    return Frame(told + frame.payload[HEAD.size :], frame.instruments, binary=True)


def _left(act: Act, some: Sequence[Operation]) -> dict[str, list[Operation]]:
    full = [one for one in some if act is not Act.ADD and one.before is Mode.FULL]
    if act is Act.REMOVE:
        return {PRICES: list(some), DEPTH: full}
    return {PRICES: [], DEPTH: [one for one in full if one.mode is not Mode.FULL]}


def _come(act: Act, some: Sequence[Operation]) -> dict[str, list[Operation]]:
    full = [one for one in some if act is not Act.REMOVE and one.mode is Mode.FULL]
    if act is Act.ADD:
        return {PRICES: list(some), DEPTH: full}
    return {PRICES: [], DEPTH: [one for one in full if one.before is not Mode.FULL]}


def _each(kind: int, what: str, some: Sequence[Operation], items_max: int) -> Iterator[Frame]:
    for piece in cut(some, items_max):
        names = [_name(what, one.token).encode("ascii") for one in piece]
        listed = struct.pack("!H", len(names)) + b"".join(bytes([len(name)]) + name for name in names)
        body = bytes([kind, 2, 1]) + struct.pack("!H", len(listed)) + listed + bytes([2, 0, 1, CHANNEL])
        yield Frame(HEAD.pack(len(body)) + body, len(piece), binary=True)


def _name(what: str, token: str) -> str:
    segment = SEGMENTS.get(token[:SEGMENT_DIGITS])
    if segment is None or not token[NUMBER_AT:].isdecimal():
        raise NoFyersToken(f"{token[:40]!r} is no token of Fyers: it begins with exchange and segment", token=token)
    return f"{what}|{segment}|{token[NUMBER_AT:]}"
