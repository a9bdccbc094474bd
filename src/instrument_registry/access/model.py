"""API keys: `irk_<id>_<secret><checksum>`, the id to find the key by, the secret known to its holder alone.

The secret is 256 random bits, so its plain SHA-256 is kept: nobody can guess through 2^256 values, and a slow password
hash would only make every request slow. Somebody who reads the table learns nothing that opens a door.

The checksum is the CRC-32 of everything before it: whoever looks for lost keys in texts finds no false ones, and a key
that was mistyped or cut off is refused without a look at any other.
"""

import base64
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from instrument_registry.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized

PREFIX = "irk"
ID_BYTES = 10
SECRET_BYTES = 32
NAME_LIMIT = 100
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET_DIGITS = 43  # of 62: as many as 256 bits need
CHECKSUM_DIGITS = 6  # as many as 32 bits need
FORM = re.compile(rf"{PREFIX}_([a-z2-7]{{16}})_([0-9A-Za-z]{{{SECRET_DIGITS}}})([0-9A-Za-z]{{{CHECKSUM_DIGITS}}})")
OVERLAP_MAX = timedelta(days=30)
LIFETIME_MAX = timedelta(days=3660)
ENDS_SOON = timedelta(days=14)

RandomBytes = Callable[[int], bytes]


class Scope(StrEnum):
    """What a key may do; each includes the ones before it."""

    READER = "reader"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, needed: "Scope") -> bool:
        """Whether who has this scope may do what needs another one."""
        return RANK[self] >= RANK[needed]

    def give(self, wanted: "Scope") -> "Scope":
        """What who has this scope gives to another; Raises: ScopeExceeded when they have less themselves."""
        if not self.includes(wanted):
            raise ScopeExceeded(f"Who has the scope {self} cannot give {wanted}", has=self, wanted=wanted)
        return wanted


class KeyState(StrEnum):
    """What a key is good for."""

    IN_FORCE = "in_force"
    ENDING = "ending"  # in force, and not for long
    ENDED = "ended"
    REVOKED = "revoked"


RANK = {scope: rank for rank, scope in enumerate(Scope)}


class KeyRejected(Unauthorized):
    """Send a key that was created here and not revoked."""

    title = "The API key is not valid"


class KeyEnded(KeyRejected):
    """Make a new key, or rotate keys before they end."""

    title = "The API key has ended"


class KeyNotFound(NotFound):
    """List the keys to see their ids."""

    title = "There is no such API key"


class KeyAlreadyRevoked(Conflict):
    """Nothing is left to do."""

    title = "The API key is already revoked"


class KeyAlreadyReplaced(Conflict):
    """Rotate the key that replaced it."""

    title = "The API key is already replaced"


class KeyHasEnded(Conflict):
    """Make a new key."""

    title = "The API key has ended and cannot be rotated"


class BadExpiry(Invalid):
    """Choose an instant in the future, at most ten years ahead."""

    title = "The end of the API key is not valid"


class BadOverlap(Invalid):
    """Choose an overlap of at most 30 days."""

    title = "The overlap is not valid"


class ScopeExceeded(Forbidden):
    """Give at most the scope of the key in use."""

    title = "Nobody can give more than they have"


class BadUsers(Invalid):
    """Name 1 to 1000 users of 1 to 64 printable characters; to bind a key to nobody, delete its users."""

    title = "A key cannot be bound to these users"


class BoundKey(Forbidden):
    """Use a key that is bound to nobody."""

    title = "A key that is bound to users cannot do that"


class BadGrant(Invalid):
    """Name 1 to 100 secrets; to grant a key none, delete its secrets."""

    title = "A key cannot be granted these secrets"


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
    expires_at: datetime | None = None  # from this instant on it opens nothing
    replaces: str | None = None
    replaced_by: str | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = None  # to the minute
    users: tuple[str, ...] = ()  # whose profiles alone it may touch; none: everybody's
    secrets: tuple[str, ...] = ()  # whose values it may read whatever its scope

    def may_touch(self, user_id: str) -> bool:
        """Whether it is bound to this user, or to nobody."""
        return not self.users or user_id in self.users

    def state(self, at: datetime) -> KeyState:
        """What the key is good for at an instant."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is None:
            return KeyState.IN_FORCE
        if at >= self.expires_at:
            return KeyState.ENDED
        return KeyState.ENDING if self.expires_at - at <= ENDS_SOON else KeyState.IN_FORCE

    def revoke(self, *, at: datetime, by: str) -> Self:
        """The key as it is once nobody may use it any more; Raises: KeyAlreadyRevoked."""
        self._require_not_revoked()
        return replace(self, revoked_at=at, revoked_by=by)

    def replaced(self, *, by: str, at: datetime, overlap: timedelta) -> Self:
        """The key as it is once another one takes its place: good for a while longer, but never for longer than it was.

        Raises: KeyAlreadyRevoked, KeyAlreadyReplaced, KeyHasEnded, BadOverlap.
        """
        self._require_not_revoked()
        if self.replaced_by is not None:
            raise KeyAlreadyReplaced(f"The key {self.replaced_by} replaced it", key_id=self.id, by=self.replaced_by)
        if self.state(at) is KeyState.ENDED:
            raise KeyHasEnded(f"It ended at {self.expires_at:%Y-%m-%d %H:%M} UTC", key_id=self.id)
        if not timedelta(0) <= overlap <= OVERLAP_MAX:
            raise BadOverlap(f"An overlap lasts from 0 seconds to {OVERLAP_MAX.days} days")
        end = at + overlap
        return replace(self, replaced_by=by, expires_at=end if self.expires_at is None else min(end, self.expires_at))

    def _require_not_revoked(self) -> None:
        if self.revoked_at is not None:
            raise KeyAlreadyRevoked(
                f"Revoked at {self.revoked_at:%Y-%m-%d %H:%M} UTC by {self.revoked_by}", key_id=self.id
            )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The key that somebody asks for."""

    name: str
    scope: Scope
    expires_at: datetime | None = None
    replaces: str | None = None


def mint(wanted: Wanted, *, created_by: str, at: datetime, random_bytes: RandomBytes) -> tuple[SealedKey, str]:
    """A new key and the text its holder needs, which cannot be shown again; Raises: BadKeyName, BadExpiry."""
    name, expires_at = wanted.name, wanted.expires_at
    if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable() or name != name.strip():
        raise BadKeyName(f"A name has 1 to {NAME_LIMIT} printable characters and no space around it")
    if expires_at is not None and not at < expires_at <= at + LIFETIME_MAX:
        raise BadExpiry(f"A key ends after now and at most {LIFETIME_MAX.days // 366} years ahead, not at {expires_at}")
    key_id = base64.b32encode(random_bytes(ID_BYTES)).decode("ascii").lower()
    secret = _digits(int.from_bytes(random_bytes(SECRET_BYTES), "big"), SECRET_DIGITS)
    key = ApiKey(
        id=key_id, name=name, scope=wanted.scope, created_at=at, created_by=created_by, expires_at=expires_at,
        replaces=wanted.replaces,
    )  # fmt: skip
    return SealedKey(key, digest_of(secret)), text_of(key_id, secret)


def nobody(*, random_bytes: RandomBytes) -> SealedKey:
    """A key that no secret opens: what an unknown one is compared with, so that it takes as long as a known one."""
    never = datetime.min.replace(tzinfo=UTC)
    key = ApiKey(id="", name="nobody", scope=Scope.READER, created_at=never, created_by="", expires_at=never)
    return SealedKey(key, random_bytes(len(digest_of(""))))


def text_of(key_id: str, secret: str) -> str:
    """A key as its holder sends it."""
    begun = f"{PREFIX}_{key_id}_{secret}"
    return begun + _checksum(begun)


def presented(text: str) -> PresentedKey:
    """Take a key apart; Raises: KeyRejected when it has not the form of one, or was mistyped."""
    match = FORM.fullmatch(text)
    if match is None:
        raise KeyRejected("This has not the form of an API key: irk_<id>_<secret and checksum>")
    if match[3] != _checksum(text[:-CHECKSUM_DIGITS]):
        raise KeyRejected("The checksum at the end of this API key is wrong: it was mistyped or damaged")
    return PresentedKey(match[1], match[2])


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("ascii")).digest()


def _checksum(text: str) -> str:
    return _digits(zlib.crc32(text.encode("ascii")), CHECKSUM_DIGITS)


def _digits(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))
