"""Secrets that must be read again are sealed: AES-256-GCM with the master key of the data folder.

A sealed secret is version byte, key id, nonce, ciphertext. Its name is authenticated with it, so that nobody who can
write the table may put one secret in the place of another. `master.key` holds one key a line, the newest first: that
one seals, all of them open.
"""

import base64
import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from instrument_registry.errors import Unavailable

FILE_NAME = "master.key"
VERSION = 1
KEY_BYTES, ID_BYTES, NONCE_BYTES = 32, 4, 12
HEAD_BYTES = 1 + ID_BYTES + NONCE_BYTES
FILE_LIMIT_BYTES = 64 * 1024
LINE = re.compile(r"irmk_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")

RandomBytes = Callable[[int], bytes]


class MasterKeyUnusable(Unavailable):
    """Put back the master.key that belongs to this database; it is in the backup of the data folder."""

    title = "The master key cannot be used"


class SealBroken(Unavailable):
    """The secret cannot be opened: restore it, or set it anew."""

    title = "A sealed secret cannot be opened"


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals with the newest master key, opens with whichever one sealed."""

    newest: bytes
    keys: Mapping[bytes, AESGCM]

    def seal(self, secret: bytes, *, name: str, random_bytes: RandomBytes = secrets.token_bytes) -> bytes:
        """A secret as it may lie in a table, bound to its name."""
        head = bytes([VERSION]) + self.newest
        nonce = random_bytes(NONCE_BYTES)
        return head + nonce + self.keys[self.newest].encrypt(nonce, secret, _bound(name, head))

    def open(self, sealed: bytes, *, name: str) -> bytes:
        """The secret; Raises: SealBroken when it is damaged or another's, MasterKeyUnusable for a key not held."""
        head, nonce = sealed[: 1 + ID_BYTES], sealed[1 + ID_BYTES : HEAD_BYTES]
        if len(sealed) <= HEAD_BYTES or head[0] != VERSION:
            raise SealBroken(f"{name} is not sealed in a way we know", name=name)
        key = self.keys.get(head[1:])
        if key is None:
            raise MasterKeyUnusable(f"{name} was sealed with the key {head[1:].hex()}, which is not here", name=name)
        try:
            return key.decrypt(nonce, sealed[HEAD_BYTES:], _bound(name, head))
        except InvalidTag as error:
            raise SealBroken(f"{name} was changed since it was sealed", name=name) from error


def sealer_in(data_dir: Path) -> Sealer:
    """The sealer of a data folder, whose master key is made when there is none; Raises: MasterKeyUnusable."""
    path = data_dir / FILE_NAME
    try:
        if not path.exists():
            _create(path, _line(secrets.token_bytes(KEY_BYTES)))
        with path.open(encoding="ascii") as file:
            lines = file.read(FILE_LIMIT_BYTES).split()
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyUnusable(f"{path} cannot be read: {error}") from error
    keys = [_key(line, path) for line in lines]
    if not keys:
        raise MasterKeyUnusable(f"{path} holds no key")
    return Sealer(_id_of(keys[0]), {_id_of(key): AESGCM(key) for key in keys})


def _create(path: Path, text: str) -> None:
    """Write the file whole, readable by its owner alone; of several who try at once the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _line(key: bytes) -> str:
    return f"irmk_{_id_of(key).hex()}_{base64.urlsafe_b64encode(key).rstrip(b'=').decode()}"


def _key(line: str, path: Path) -> bytes:
    match = LINE.fullmatch(line)
    key = base64.urlsafe_b64decode(match[2] + "=") if match else b""
    if match is None or _id_of(key).hex() != match[1]:
        raise MasterKeyUnusable(f"{path} holds something that is no master key, or a damaged one")
    return key


def _id_of(key: bytes) -> bytes:
    return hashlib.sha256(b"instrument-registry master key" + key).digest()[:ID_BYTES]


def _bound(name: str, head: bytes) -> bytes:
    return name.encode() + b"\0" + head
