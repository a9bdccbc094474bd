"""API keys: `irk_<id>_<secret>`, the id to find the key by, the secret known to its holder alone.

The secret is 256 random bits, so its plain SHA-256 is kept: nobody can guess through 2^256 values, and a slow password
hash would only make every request slow. Somebody who reads the table learns nothing that opens a door.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from instrument_registry.errors import Conflict, Invalid, NotFound, Unauthorized

PREFIX = "irk"
ID_BYTES = 10
SECRET_BYTES = 32
NAME_LIMIT = 100
FORM = re.compile(rf"{PREFIX}_([a-z2-7]{{16}})_([A-Za-z0-9_-]{{43}})")

RandomBytes = Callable[[int], bytes]


class Scope(StrEnum):
    """What a key may do; each includes the ones before it."""

    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, needed: "Scope") -> bool:
        """Whether who has this scope may do what needs another one."""
        return RANK[self] >= RANK[needed]


RANK = {scope: rank for rank, scope in enumerate(Scope)}


class KeyRejected(Unauthorized):
    """Send a key that was created here and not revoked."""

    title = "The API key is not valid"


class KeyNotFound(NotFound):
    """List the keys to see their ids."""

    title = "There is no such API key"


class KeyAlreadyRevoked(Conflict):
    """Nothing is left to do."""

    title = "The API key is already revoked"


class BadKeyName(Invalid):
    """Choose a printable name of 1 to 100 characters."""

    title = "The name of the API key is not valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """Somebody's permission to use the registry; never the secret itself."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = None  # to the minute

    def revoke(self, *, at: datetime, by: str) -> Self:
        """The key as it is once nobody may use it any more; Raises: KeyAlreadyRevoked."""
        if self.revoked_at is not None:
            raise KeyAlreadyRevoked(
                f"Revoked at {self.revoked_at:%Y-%m-%d %H:%M} UTC by {self.revoked_by}", key_id=self.id
            )
        return replace(self, revoked_at=at, revoked_by=by)


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A key that is in force, with what is needed to recognise its secret."""

    key: ApiKey
    digest: bytes

    def opens(self, secret: str) -> bool:
        """Whether this is the key's secret, in a time that tells nothing about how nearly it was."""
        return hmac.compare_digest(self.digest, digest_of(secret))


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """What somebody at a door says: not yet believed."""

    id: str
    secret: str


def mint(*, name: str, scope: Scope, created_by: str, at: datetime, random_bytes: RandomBytes) -> tuple[SealedKey, str]:
    """A new key and the text its holder needs, which cannot be shown again; Raises: BadKeyName."""
    if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable() or name != name.strip():
        raise BadKeyName(f"A name has 1 to {NAME_LIMIT} printable characters and no space around it")
    key_id = base64.b32encode(random_bytes(ID_BYTES)).decode("ascii").lower()
    secret = base64.urlsafe_b64encode(random_bytes(SECRET_BYTES)).rstrip(b"=").decode("ascii")
    key = ApiKey(id=key_id, name=name, scope=scope, created_at=at, created_by=created_by)
    return SealedKey(key, digest_of(secret)), f"{PREFIX}_{key_id}_{secret}"


def presented(text: str) -> PresentedKey:
    """Take a key apart; Raises: KeyRejected when it has not the form of one."""
    match = FORM.fullmatch(text)
    if match is None:
        raise KeyRejected("This has not the form of an API key: irk_<id>_<secret>")
    return PresentedKey(match[1], match[2])


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("ascii")).digest()
