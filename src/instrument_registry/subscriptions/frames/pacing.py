"""When frames may go: no faster than the broker takes messages, and none longer than it takes one."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from instrument_registry.errors import Invalid
from instrument_registry.subscriptions.capacity.model import FrameLimits
from instrument_registry.subscriptions.frames.model import Codec, Frame, Operation

SECOND_MS = 1000


class FrameTooLong(Invalid):
    """Raise the account's `frame_bytes`: one instrument alone is longer."""

    title = "A message cannot be short enough"


@dataclass(frozen=True, slots=True)
class Paced:
    """A frame, and how many milliseconds after the first instant it may go at the earliest."""

    frame: Frame
    not_before_ms: int


def within(codec: Codec, operations: Sequence[Operation], limits: FrameLimits) -> list[Frame]:
    """The frames of some operations, of which none names more or is longer than the broker takes.

    Raises: FrameTooLong.
    """
    items = limits.items_max
    made = list(codec(operations, items))
    if limits.bytes_max is None:
        return made
    while (longest := max((len(one.payload) for one in made), default=0)) > limits.bytes_max:
        if items == 1:
            detail = f"A message about one instrument has {longest} bytes, and the broker takes {limits.bytes_max}"
            raise FrameTooLong(detail, bytes=longest, frame_bytes=limits.bytes_max)
        items = max(1, min(items - 1, items * limits.bytes_max // longest))
        made = list(codec(operations, items))
    return made


def paced(frames: Sequence[Frame], limits: FrameLimits, *, sent_ms: Sequence[int] = (), now_ms: int = 0) -> list[Paced]:
    """When each frame may go, one after the other, as early as can be.

    In no second, wherever it begins, go more messages than the broker takes, pongs and what was sent before
    (`sent_ms`, which may lie in the future too) among them; and none sooner after another than `spacing_ms`.
    """
    if limits.rate is None and not limits.spacing_ms:
        return [Paced(frame, now_ms) for frame in frames]
    busy, told = sorted(sent_ms), []
    at = now_ms
    for frame in frames:
        at = _free(at, busy, limits)
        busy.insert(bisect_right(busy, at), at)
        told.append(Paced(frame, at))
    return told


def _free(at: int, busy: Sequence[int], limits: FrameLimits) -> int:
    """The first instant from one on at which a message disturbs nobody."""
    while True:
        near = busy[bisect_right(busy, at - SECOND_MS) : bisect_left(busy, at + SECOND_MS)]
        if _allowed(at, near, limits):
            return at
        later = (one + wait for one in near for wait in (limits.spacing_ms, SECOND_MS))
        at = min(one for one in later if one > at)


def _allowed(at: int, near: Sequence[int], limits: FrameLimits) -> bool:
    """Whether a message may go beside those less than a second away."""
    if any(abs(at - one) < limits.spacing_ms for one in near):
        return False
    if limits.rate is None:
        return True
    return all(
        sum(start <= one < start + SECOND_MS for one in (*near, at)) <= limits.rate
        for start in (*near, at)
        if start <= at
    )
