"""The rings of one instance in one file that all its processes map: in memory, and exact over all of them.

Words of 64 bits: a head, a table of slots, then blocks for rings. A slot belongs to one party in one class as long as
it has asked within the longest window; a ring begins small and doubles while admissions that count would be pushed out.
One lock, held for microseconds, guards it all. Whoever dies in the middle leaves what is right: an admission is written
before it is counted, and a ring that was being moved is begun anew.
"""

import contextlib
import fcntl
import mmap
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from xxhash import xxh64_intdigest

from instrument_registry.access.limits.model import MINUTE_SECONDS, Verdict, Windows
from instrument_registry.access.limits.ring import Ring, admit, full, judge, moved

MAGIC = 0x6972_6C69_6D69_7401  # "irlimit", version 1
WORD = 8
FORMAT, BOOT, SEED, SIZE, NEXT, MOVING = range(6)  # words of the head
FREE = 8  # from here on: a list of free blocks for each size
HEAD_WORDS = 64
SLOTS = 8192
OWNER, COUNT, CAPACITY, BASE, NEWEST = range(5)  # words of a slot
SLOT_WORDS = 8
PROBES = 32
BLOCKS_AT = HEAD_WORDS + SLOTS * SLOT_WORDS
SMALLEST = 64
FIRST_BYTES, MOST_BYTES, PRIVATE_BYTES = 2**20, 2**28, 2**26
LONGEST_US = MINUTE_SECONDS * 1_000_000
LOCK_WITHIN_SECONDS = 0.1
OTHERS = HEAD_WORDS  # the slot of all who find none: one limit for them together
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = structlog.get_logger("limits")


class RingsBusy(Exception):
    """Whoever holds the lock does not go on: stopped, or dying."""


class Rings:
    """Rings in a file, or in the memory of this process alone when there is none."""

    def __init__(self, path: Path | None, *, elapsed_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._elapsed_ns = elapsed_ns
        self._known: dict[tuple[str, str], tuple[int, int]] = {}
        self._descriptor: int | None = None
        if path is None:
            self._map = mmap.mmap(-1, PRIVATE_BYTES)
            self._words = memoryview(self._map).cast("q")
            self._begin(size=PRIVATE_BYTES)
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Not fcntl.lockf: a mapping holds a descriptor of its own, and closing any would let go of that lock.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._prepare(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    @property
    def shared(self) -> bool:
        """Whether the other processes of this instance see it, too."""
        return self._descriptor is not None

    def take(self, party: str, kind: str, windows: Windows, *, force: bool = False) -> Verdict:
        """Let one more pass, or say how long to wait; `force` records what somebody else let pass.

        Raises: RingsBusy.
        """
        self._lock()
        try:
            now = self._elapsed_ns() // 1000
            slot, ring = self._roomy(party, kind, windows, now)
            verdict = judge(self._words, ring, windows, now=now)
            if verdict.wait_us and not force:
                return verdict
            admit(self._words, ring, now=now)
            self._words[slot + NEWEST] = now
            self._words[slot + COUNT] = ring.count
        finally:
            self._unlock()
        return Verdict(windows, tuple([within + 1 for within in verdict.inside]), 0, 0)

    def look(self, party: str, kind: str, windows: Windows) -> Verdict:
        """What `take` would say, without taking; Raises: RingsBusy."""
        self._lock()
        try:
            now = self._elapsed_ns() // 1000
            _, ring = self._roomy(party, kind, windows, now)
            return judge(self._words, ring, windows, now=now)
        finally:
            self._unlock()

    def close(self) -> None:
        """Give the file back."""
        self._words.release()
        self._map.close()
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _roomy(self, party: str, kind: str, windows: Windows, now: int) -> tuple[int, Ring]:
        """The slot of a party and its ring, grown when one more admission would push out one that counts."""
        slot, ring = self._find(party, kind, now)
        if full(self._words, ring, windows, now=now):
            ring = self._grown(slot, ring)
        return slot, ring

    def _find(self, party: str, kind: str, now: int) -> tuple[int, Ring]:
        """The slot of a party and its ring; an idle one is taken over, the common one is for who finds none."""
        words = self._words
        slot, owner = self._known.get((party, kind), (OTHERS, -1))
        if words[slot + OWNER] != owner:
            owner = xxh64_intdigest(f"{kind}:{party}".encode(), seed=words[SEED]) >> 1 or 1
            slot = self._claimed(owner, now)
            words = self._words  # claiming may have mapped a larger file
            if len(self._known) > 2 * SLOTS:
                self._known.clear()
            self._known[party, kind] = slot, owner
        return slot, Ring(words[slot + BASE], words[slot + CAPACITY], words[slot + COUNT])

    def _claimed(self, owner: int, now: int) -> int:
        words = self._words
        idle = -1
        for probe in range(PROBES):
            slot = HEAD_WORDS + (1 + (owner + probe) % (SLOTS - 1)) * SLOT_WORDS
            if words[slot + OWNER] == owner:
                return slot
            if idle < 0 and (not words[slot + OWNER] or words[slot + NEWEST] <= now - LONGEST_US):
                idle = slot
        if idle < 0:
            return OTHERS
        with self._moving(idle):
            if words[idle + CAPACITY] > SMALLEST:
                self._give_back(words[idle + BASE], words[idle + CAPACITY])
                words[idle + CAPACITY] = 0
            if not words[idle + CAPACITY] and not self._allot(idle):
                return OTHERS
            words = self._words
            words[idle + COUNT], words[idle + NEWEST], words[idle + OWNER] = 0, 0, owner
        return idle

    def _allot(self, slot: int) -> bool:
        base = self._block(SMALLEST)
        if base:
            self._words[slot + BASE], self._words[slot + CAPACITY] = base, SMALLEST
        else:
            self._words[slot + OWNER] = 0
        return bool(base)

    def _grown(self, slot: int, ring: Ring) -> Ring:
        base = self._block(ring.capacity * 2)
        if not base:
            return ring
        words = self._words
        with self._moving(slot):
            larger = moved(words, ring, base=base, capacity=ring.capacity * 2)
            words[slot + BASE], words[slot + CAPACITY], words[slot + COUNT] = base, larger.capacity, larger.count
            self._give_back(ring.base, ring.capacity)
        return larger

    def _block(self, capacity: int) -> int:
        """Words for a ring; 0 when there are none left."""
        words = self._words
        head = FREE + capacity.bit_length()
        base = words[head]
        if base:
            words[head] = words[base]
            return base
        base = words[NEXT]
        if base + capacity > words[SIZE] // WORD and not self._enlarge((base + capacity) * WORD):
            return 0
        self._words[NEXT] = base + capacity
        return base

    def _give_back(self, base: int, capacity: int) -> None:
        head = FREE + capacity.bit_length()
        self._words[base] = self._words[head]
        self._words[head] = base

    def _enlarge(self, wanted_bytes: int) -> bool:
        size = self._words[SIZE]
        while size < wanted_bytes:
            size *= 2
        if self._descriptor is None or size > MOST_BYTES:
            return False
        try:
            os.posix_fallocate(self._descriptor, 0, size)  # a hole that cannot be filled would be the process's end
        except OSError as error:
            log.warning("limits.file_not_enlarged", reason=str(error), bytes=size)
            return False
        self._words[SIZE] = size
        self._remap(self._descriptor, size)
        return True

    @contextlib.contextmanager
    def _moving(self, slot: int) -> Iterator[None]:
        """While several words of a slot change: whoever finds this mark without the lock's holder begins it anew."""
        self._words[MOVING] = slot
        yield
        self._words[MOVING] = 0

    def _lock(self) -> None:
        if self._descriptor is None:
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._wait_for_lock(self._descriptor)
        if self._words[SIZE] != len(self._map) or self._words[MOVING]:
            self._look_after(self._descriptor)

    def _unlock(self) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + LOCK_WITHIN_SECONDS
        while True:
            time.sleep(0.00002)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise RingsBusy from error

    def _look_after(self, descriptor: int) -> None:
        if self._words[SIZE] != len(self._map):
            self._remap(descriptor, self._words[SIZE])
        slot = self._words[MOVING]
        if slot:  # its holder died: the block may be lost, a wrong ring must not be believed
            self._words[slot + OWNER] = self._words[slot + CAPACITY] = self._words[slot + COUNT] = 0
            if slot == OTHERS:
                self._allot(slot)
            self._words[MOVING] = 0

    def _prepare(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size < FIRST_BYTES:
            os.posix_fallocate(descriptor, 0, FIRST_BYTES)
            size = FIRST_BYTES
        self._map = mmap.mmap(descriptor, size)
        self._words = memoryview(self._map).cast("q")
        if self._words[FORMAT] != MAGIC or self._words[BOOT] != _boot() or self._words[SIZE] > size:
            self._begin(size=size)

    def _begin(self, *, size: int) -> None:
        """With nothing remembered: another boot's instants mean nothing now."""
        words = self._words
        for word in range(BLOCKS_AT):
            words[word] = 0
        words[SEED], words[BOOT], words[SIZE] = secrets.randbits(62), _boot(), size
        words[NEXT] = BLOCKS_AT
        self._allot(OTHERS)
        words[FORMAT] = MAGIC

    def _remap(self, descriptor: int, size: int) -> None:
        larger = mmap.mmap(descriptor, size)
        self._words.release()
        self._map.close()
        self._map, self._words = larger, memoryview(larger).cast("q")


def _boot() -> int:
    try:
        return xxh64_intdigest(BOOT_ID.read_bytes()) >> 1
    except OSError:
        return os.getppid()
