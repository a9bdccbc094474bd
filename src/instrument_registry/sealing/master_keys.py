"""Master keys: one a line, the newest first. The first one wraps, all of them unwrap.

They come from a file or from the environment. A file is looked at again when a value names a key that is not known, and
before anything is sealed: a key that was added is used without a restart, and no read waits for a disk.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from instrument_registry.errors import Unavailable

KEY_BYTES, ID_BYTES = 32, 4
LINE = re.compile(r"irmk_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")


class MasterKeyUnusable(Unavailable):
    """Put back the master keys that belong to this database; they are in the backup of the data folder."""

    title = "The master key cannot be used"


class Source(Protocol):
    """Where the lines are."""

    @property
    def shown(self) -> str:
        """What to call it in a sentence."""
        ...

    def mark(self) -> object:
        """Something that differs when the lines do; None when there are none."""
        ...

    def text(self) -> str:
        """The lines; Raises: MasterKeyUnusable."""
        ...

    def make(self) -> None:
        """Write a first line where there is none; Raises: MasterKeyUnusable."""
        ...


@dataclass(frozen=True, slots=True)
class KeyText:
    """Lines that were handed over, and stay as they are while the process lives."""

    lines: str = field(repr=False)
    shown: str = "INSTRUMENT_REGISTRY_MASTER_KEYS"

    def mark(self) -> object:
        """Always the same."""
        return self.shown

    def text(self) -> str:
        """The lines."""
        return self.lines

    def make(self) -> None:
        """Nobody can write them; Raises: MasterKeyUnusable."""
        raise MasterKeyUnusable(f"{self.shown} holds no key; `instrument-registry secrets keys --mint` makes one")


class MasterKeys:
    """The master keys as one process knows them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._mark: object = None
        self._keys: Mapping[bytes, AESGCM] = {}

    @property
    def shown(self) -> str:
        """Where they come from."""
        return self._source.shown

    def newest(self) -> tuple[bytes, AESGCM]:
        """The key that wraps, with its id; the first one is made when there is none. Raises: MasterKeyUnusable."""
        self._look()
        if not self._keys:
            self._source.make()
            self._look()
        return next(iter(self._keys.items()))

    def find(self, key_id: bytes) -> AESGCM | None:
        """A key by its id, also one that was added since; Raises: MasterKeyUnusable for a damaged file."""
        if key_id not in self._keys:
            self._look()
        return self._keys.get(key_id)

    def held(self) -> list[bytes]:
        """The ids of all that are here now, the newest first; Raises: MasterKeyUnusable."""
        self._look()
        return list(self._keys)

    def _look(self) -> None:
        mark = self._source.mark()
        if mark is None or mark == self._mark:  # a file that has gone takes nothing from who has read it
            return
        keys = parsed(self._source.text(), shown=self.shown)
        self._keys, self._mark = {id_of(key): AESGCM(key) for key in keys}, mark


def parsed(text: str, *, shown: str) -> list[bytes]:
    """The keys of some lines; Raises: MasterKeyUnusable, with nothing of what the lines hold."""
    keys = [_key(line, number, shown) for number, line in enumerate(text.split(), start=1)]
    if not keys:
        raise MasterKeyUnusable(f"{shown} holds no key")
    return keys


def line_of(key: bytes) -> str:
    """A key as it is written."""
    return f"irmk_{id_of(key).hex()}_{base64.urlsafe_b64encode(key).rstrip(b'=').decode()}"


def mint() -> str:
    """The line of a key nobody has seen."""
    return line_of(secrets.token_bytes(KEY_BYTES))


def id_of(key: bytes) -> bytes:
    """What a key is called: tells nothing of it."""
    return hashlib.sha256(b"instrument-registry master key" + key).digest()[:ID_BYTES]


def _key(line: str, number: int, shown: str) -> bytes:
    match = LINE.fullmatch(line)
    key = base64.urlsafe_b64decode(match[2] + "=") if match else b""
    if match is None or id_of(key).hex() != match[1]:
        raise MasterKeyUnusable(f"{shown} holds something that is no master key, or a damaged one, at number {number}")
    return key
