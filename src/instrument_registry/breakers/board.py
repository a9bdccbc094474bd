"""Where the processes of an instance share what they know of a breaker: a small file they all have in memory.

Not in the database, which may be what is down. Whoever only looks whether the breaker is closed reads one word; whoever
changes something holds the file's lock, and never waits long for it: a process that was stopped may hold it.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from instrument_registry.breakers.model import PROBES_MOST, REASON_BYTES, Standing, State

T = TypeVar("T")

SIZE_BYTES = 512
WORD_BYTES = 8
CODES = (State.CLOSED, State.HALF_OPEN, State.OPEN)
# crc, code, generation, due at, openings, successes, since, probes, length of the reason, reason
BODY = struct.Struct(f"<IIQdIIQ{PROBES_MOST}dI{REASON_BYTES}s")
LOCK_TRIES = 20
LOCK_PAUSE_SECONDS = 0.0005


class Busy(Exception):
    """Somebody holds the lock and does not give it back."""


class Board:
    """One breaker's file; without one, this process's memory alone."""

    def __init__(self, path: Path | None) -> None:
        self._within = threading.Lock()
        self._descriptor: int | None = None
        if path is None:
            self._memory = mmap.mmap(-1, SIZE_BYTES)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            weakref.finalize(self, os.close, descriptor)
            if os.fstat(descriptor).st_size != SIZE_BYTES:
                os.ftruncate(descriptor, SIZE_BYTES)
            self._memory = mmap.mmap(descriptor, SIZE_BYTES)
            self._descriptor = descriptor
        self.words = memoryview(self._memory).cast("Q")  # the first says generation and state

    def read(self) -> Standing:
        """What is known; a damaged file knows nothing."""
        return _unpacked(self._memory[WORD_BYTES : WORD_BYTES + BODY.size])

    def change(self, decide: Callable[[Standing], tuple[Standing, T]]) -> T:
        """Let nobody else change it while something is decided; Raises: Busy."""
        with self._within, self._locked():
            before = self.read()
            after, outcome = decide(before)
            if after != before or word_of(after) != self.words[0]:
                self._memory[WORD_BYTES : WORD_BYTES + BODY.size] = _packed(after)
                self.words[0] = word_of(after)
            return outcome

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._descriptor is None:
            yield
            return
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOCK_PAUSE_SECONDS)
        else:
            raise Busy
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def word_of(standing: Standing) -> int:
    """Generation and state in one word, 0 for a new file."""
    return (standing.generation << 2) | CODES.index(standing.state)


def _packed(standing: Standing) -> bytes:
    reason = standing.reason.encode()[:REASON_BYTES]
    probes = (*standing.probing_until, *[0.0] * PROBES_MOST)[:PROBES_MOST]
    body = BODY.pack(
        0, CODES.index(standing.state), standing.generation, standing.due_at, standing.openings, standing.successes,
        standing.since_ms, *probes, len(reason), reason,
    )  # fmt: skip
    return struct.pack("<I", zlib.crc32(body[4:])) + body[4:]


def _unpacked(body: bytes) -> Standing:
    crc, code, generation, due_at, openings, successes, since_ms, *rest = BODY.unpack(body)
    *probes, length, reason = rest
    if crc != zlib.crc32(body[4:]) or code >= len(CODES):
        return Standing()
    return Standing(
        state=CODES[code], generation=generation, due_at=due_at, openings=openings, successes=successes,
        since_ms=since_ms, probing_until=tuple(until for until in probes if until),
        reason=reason[:length].decode(errors="ignore"),
    )  # fmt: skip
