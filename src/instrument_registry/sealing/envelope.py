"""A sealed value: AES-256-GCM under a data key that seals nothing else, and that data key wrapped by a master key.

    form 1 byte | id of the master key 4 | nonce 12 | wrapped data key 48 | nonce 12 | ciphertext and tag

What a value is bound to (its name, its version, its environment) is authenticated with both. So nobody who can write
tables may put one value in the place of another, and a change of master keys touches the first 65 bytes alone.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from instrument_registry.errors import Unavailable
from instrument_registry.sealing.key_file import FILE_NAME, KeyFile
from instrument_registry.sealing.master_keys import ID_BYTES, KEY_BYTES, KeyText, MasterKeys, MasterKeyUnusable
from instrument_registry.settings import ENVIRONMENT_DEFAULT, Settings

FORM = 2
NONCE_BYTES, TAG_BYTES = 12, 16
WRAPPED_AT = 1 + ID_BYTES + NONCE_BYTES
VALUE_AT = WRAPPED_AT + KEY_BYTES + TAG_BYTES
LEAST_BYTES = VALUE_AT + NONCE_BYTES + TAG_BYTES
KEY_ID_AT, KEY_ID_BYTES = 2, ID_BYTES  # as SQL counts: substring(sealed from 2 for 4)

RandomBytes = Callable[[int], bytes]


class SealBroken(Unavailable):
    """The secret cannot be opened: restore it, or set it anew."""

    title = "A sealed secret cannot be opened"


@dataclass(frozen=True, slots=True)
class Bound:
    """What a value belongs to, and to nothing else."""

    name: str
    version: int
    environment: str

    def __str__(self) -> str:
        return f"{self.name} version {self.version} of {self.environment}"

    def data(self, purpose: bytes) -> bytes:
        """What is authenticated: each part with its length, so that no two bindings are the same bytes."""
        parts = (purpose, self.name.encode(), self.version.to_bytes(8, "big"), self.environment.encode())
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed value where it lies: the id of its row, and what it must be bound to."""

    id: int
    sealed: bytes
    bound: Bound

    @property
    def key_id(self) -> bytes:
        """Which master key wraps it."""
        return self.sealed[1 : 1 + ID_BYTES]


class Sealer:
    """Seals under the newest master key, opens with whichever one wrapped; `environment` is the process's own."""

    def __init__(self, keys: MasterKeys, *, environment: str = ENVIRONMENT_DEFAULT) -> None:
        self.keys, self.environment = keys, environment

    def seal(self, value: bytes, bound: Bound, *, random_bytes: RandomBytes = secrets.token_bytes) -> bytes:
        """A value as it may lie in a table; Raises: MasterKeyUnusable."""
        data_key, nonce = random_bytes(KEY_BYTES), random_bytes(NONCE_BYTES)
        ciphertext = AESGCM(data_key).encrypt(nonce, value, bound.data(b"value"))
        return self._wrapped(data_key, bound, random_bytes=random_bytes) + nonce + ciphertext

    def open(self, sealed: bytes, bound: Bound) -> bytes:
        """The value; Raises: SealBroken when it is damaged or another's, MasterKeyUnusable for a key not held."""
        data_key = self._unwrapped(sealed, bound)
        nonce, ciphertext = sealed[VALUE_AT : VALUE_AT + NONCE_BYTES], sealed[VALUE_AT + NONCE_BYTES :]
        try:
            return AESGCM(data_key).decrypt(nonce, ciphertext, bound.data(b"value"))
        except InvalidTag as error:
            raise _broken(bound) from error

    def rewrap(self, sealed: bytes, bound: Bound, *, random_bytes: RandomBytes = secrets.token_bytes) -> bytes:
        """The same sealed value with its data key under the newest master key; Raises: as `open`."""
        return self._wrapped(self._unwrapped(sealed, bound), bound, random_bytes=random_bytes) + sealed[VALUE_AT:]

    def _wrapped(self, data_key: bytes, bound: Bound, *, random_bytes: RandomBytes) -> bytes:
        key_id, key = self.keys.newest()
        head, nonce = bytes([FORM]) + key_id, random_bytes(NONCE_BYTES)
        return head + nonce + key.encrypt(nonce, data_key, bound.data(b"data key" + head))

    def _unwrapped(self, sealed: bytes, bound: Bound) -> bytes:
        head, nonce, wrapped = sealed[: 1 + ID_BYTES], sealed[1 + ID_BYTES : WRAPPED_AT], sealed[WRAPPED_AT:VALUE_AT]
        if len(sealed) < LEAST_BYTES or head[0] != FORM:
            raise SealBroken(f"{bound} is cut short, or not sealed in a way we know", name=bound.name)
        key = self.keys.find(head[1:])
        if key is None:
            detail = f"{bound} is sealed under the master key {head[1:].hex()}, which is not in {self.keys.shown}"
            raise MasterKeyUnusable(detail, name=bound.name, key_id=head[1:].hex())
        try:
            return key.decrypt(nonce, wrapped, bound.data(b"data key" + head))
        except InvalidTag as error:
            raise _broken(bound) from error


def sealer_in(data_dir: Path, *, environment: str = ENVIRONMENT_DEFAULT) -> Sealer:
    """A sealer of a data folder, whose master key is made when something is first sealed."""
    return Sealer(MasterKeys(KeyFile(data_dir / FILE_NAME)), environment=environment)


@cache
def sealer_of(settings: Settings, *, may_make_key: bool = True) -> Sealer:
    """The one sealer of a process: keys from the environment, the file that it names, or the data folder."""
    if settings.master_keys is not None:
        keys = MasterKeys(KeyText(settings.master_keys.get_secret_value()))
    elif settings.master_keys_file is not None:
        keys = MasterKeys(KeyFile(settings.master_keys_file, may_be_made=False))
    else:
        keys = MasterKeys(KeyFile(settings.data_dir / FILE_NAME, may_be_made=may_make_key))
    return Sealer(keys, environment=settings.environment)


def _broken(bound: Bound) -> SealBroken:
    detail = f"{bound} was changed since it was sealed, or sealed for another name, version or environment"
    return SealBroken(detail, name=bound.name)
