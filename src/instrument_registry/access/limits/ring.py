"""The last admissions of somebody in a ring: how many lie within a window is one bisection, never a walk.

A ring is words in a larger array: admission number i lies at `base + i % capacity`. Instants only grow.
"""

from bisect import bisect_right
from dataclasses import dataclass

from instrument_registry.access.limits.model import Verdict, Windows


@dataclass(slots=True)
class Ring:
    """Where a ring lies and how many admissions it has seen."""

    base: int
    capacity: int
    count: int


def judge(words: "memoryview[int]", ring: Ring, windows: Windows, *, now: int) -> Verdict:
    """Whether one more may pass now, and how the windows stand without it."""
    inside, wait = [], 0
    for window in windows:
        within = after(words, ring, now - window.span_us)
        limit = min(window.limit, ring.capacity)  # one that could not grow knows no more
        if within >= limit:
            leaves = words[ring.base + (ring.count - limit) % ring.capacity] + window.span_us
            wait = max(wait, leaves - now, 1)
        inside.append(within)
    newest = now - words[ring.base + (ring.count - 1) % ring.capacity] if ring.count else windows[0].span_us
    return Verdict(windows, tuple(inside), newest, wait)


def after(words: "memoryview[int]", ring: Ring, since: int) -> int:
    """How many admissions came after an instant."""
    kept = min(ring.count, ring.capacity)
    if not kept or words[ring.base + (ring.count - 1) % ring.capacity] <= since:
        return 0
    first = (ring.count - kept) % ring.capacity
    if words[ring.base + first] > since:
        return kept
    end = first + kept
    if end <= ring.capacity:
        return ring.base + end - bisect_right(words, since, ring.base + first, ring.base + end)
    wrapped = end - ring.capacity
    if words[ring.base] > since:  # all that wrapped around came after it
        last = ring.base + ring.capacity
        return wrapped + last - bisect_right(words, since, ring.base + first, last)
    return ring.base + wrapped - bisect_right(words, since, ring.base, ring.base + wrapped)


def full(words: "memoryview[int]", ring: Ring, windows: Windows, *, now: int) -> bool:
    """Whether one more admission would push out one that still counts."""
    if ring.count < ring.capacity or ring.capacity >= windows[0].limit:
        return False
    return words[ring.base + ring.count % ring.capacity] > now - windows[0].span_us


def moved(words: "memoryview[int]", ring: Ring, *, base: int, capacity: int) -> Ring:
    """The same admissions in a larger ring at another place, the oldest first."""
    kept = min(ring.count, ring.capacity)
    first = ring.base + (ring.count - kept) % ring.capacity
    straight = min(kept, ring.base + ring.capacity - first)
    words[base : base + straight] = words[first : first + straight]
    words[base + straight : base + kept] = words[ring.base : ring.base + kept - straight]
    return Ring(base, capacity, kept)


def admit(words: "memoryview[int]", ring: Ring, *, now: int) -> None:
    """Put one admission into the ring; the caller keeps the new count after that."""
    words[ring.base + ring.count % ring.capacity] = now
    ring.count += 1
