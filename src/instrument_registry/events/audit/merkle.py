"""The Merkle tree of RFC 9162: hashes, roots, and the perfect subtrees that roots and proofs are joined from."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

HASH_BYTES = 32
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
EMPTY_ROOT = hashlib.sha256().digest()


class Node(NamedTuple):
    """A perfect subtree: of 2^height leaves, and how many such stand left of it."""

    height: int
    before: int


# What stands beside the way from a leaf, or an older root, to the root: each is joined from perfect subtrees.
Path = list[list[Node]]


def leaf_hash(content: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees beside each other."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def joined(hashes: Sequence[bytes]) -> bytes:
    """The hash over perfect subtrees that stand beside each other, the largest first."""
    if not hashes:
        return EMPTY_ROOT
    whole = hashes[-1]
    for left in reversed(hashes[:-1]):
        whole = node_hash(left, whole)
    return whole


def folded(hashes: Sequence[bytes]) -> bytes:
    """The hash over neighbours that fill a subtree: as many as a power of two."""
    sha256 = hashlib.sha256
    while len(hashes) > 1:
        hashes = [
            sha256(b"\x01" + left + right).digest() for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


def perfect(start: int, end: int) -> list[Node]:
    """The perfect subtrees of the leaves from `start` to before `end`, the largest first."""
    nodes = []
    for height in reversed(range((end - start).bit_length())):
        if (end - start) >> height & 1:
            nodes.append(Node(height, start >> height))
            start += 1 << height
    return nodes


def inclusion(index: int, size: int) -> Path:
    """What proves that the leaf at `index` (from 0) belongs to the tree of `size` leaves, from the leaf upwards."""
    start, end = 0, size
    beside: Path = []
    while end - start > 1:
        middle = start + _left_of(end - start)
        if index < middle:
            beside.append(perfect(middle, end))
            end = middle
        else:
            beside.append(perfect(start, middle))
            start = middle
    return beside[::-1]


def consistency(first: int, second: int) -> Path:
    """What proves that the tree of `first` leaves is the beginning of that of `second`; both at least 1."""
    start, end, left = 0, second, first
    beside: Path = []
    while left != end - start:
        middle = start + _left_of(end - start)
        if left <= middle - start:
            beside.append(perfect(middle, end))
            end = middle
        else:
            beside.append(perfect(start, middle))
            left -= middle - start
            start = middle
    if start:
        beside.append(perfect(start, end))
    return beside[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root to which an inclusion proof leads; None when it cannot be one (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return None
    at, last, root = index, size - 1, leaf
    for hash_ in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            root = node_hash(hash_, root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = node_hash(root, hash_)
        at, last = at >> 1, last >> 1
    return root if last == 0 else None


def consistent(first: int, second: int, roots: tuple[bytes, bytes], path: Sequence[bytes]) -> bool:
    """Whether a consistency proof holds between two sizes and their roots (RFC 9162, 2.1.4.2)."""
    if not 0 < first <= second:
        return False
    if first == second:
        return not path and roots[0] == roots[1]
    hashes = list(path)
    if first & (first - 1) == 0:
        hashes.insert(0, roots[0])
    if not hashes:
        return False
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    older = newer = hashes[0]
    for hash_ in hashes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            older, newer = node_hash(hash_, older), node_hash(hash_, newer)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            newer = node_hash(newer, hash_)
        at, last = at >> 1, last >> 1
    return last == 0 and (older, newer) == roots


class Frontier:
    """A tree that grows leaf by leaf and remembers its right edge alone."""

    def __init__(self) -> None:
        self.size = 0
        self.edge: list[bytes] = []  # the perfect subtrees, the largest first

    def push(self, leaf: bytes) -> None:
        """Add a leaf."""
        size, whole = self.size, leaf
        while size & 1:
            whole = node_hash(self.edge.pop(), whole)
            size >>= 1
        self.edge.append(whole)
        self.size += 1

    def root(self) -> bytes:
        """The root of what has been added."""
        return joined(self.edge)


def _left_of(width: int) -> int:
    """The leaves left of the middle: the largest power of two below the width."""
    return 1 << (width - 1).bit_length() - 1
