"""What is told about API keys; never anything of their secrets."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from instrument_registry.access.model import ApiKey, Scope
from instrument_registry.events import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfKey(Fact):
    key_id: str
    name: str

    @property
    def subject(self) -> str:
        """The key's id; of one that is replaced, its own."""
        return self.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given(_OfKey):
    """What a key had of a kind, and what it has from now on."""

    old: list[str]
    new: list[str]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyCreated(_OfKey):
    """Somebody was given a key."""

    type: ClassVar[str] = "api_key.created"

    scope: Scope
    expires_at: datetime | None = None
    replaces: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRevoked(_OfKey):
    """A key opens nothing any more."""

    type: ClassVar[str] = "api_key.revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRotated(_OfKey):
    """Another key takes the place of this one, which opens doors until `expires_at`."""

    type: ClassVar[str] = "api_key.rotated"

    replaced_by: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyBound(_Given):
    """A key may touch the profiles of these users alone; of nobody in particular: everybody's."""

    type: ClassVar[str] = "api_key.bound"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeySecretsGranted(_Given):
    """A key may read the values of these secrets, whatever its scope; of none of them unless it may administrate."""

    type: ClassVar[str] = "api_key.secrets_granted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestsRefused(Fact):
    """Somebody asked for what they may not: as often as `count` says, of one kind, within a minute."""

    type: ClassVar[str] = "access.refused"

    problem: str
    status: int
    method: str
    route: str
    key_id: str | None
    claimed_key_ids: list[str]
    address: str | None
    count: int
    first_at: datetime
    last_at: datetime

    @property
    def subject(self) -> str:
        """What was asked for."""
        return f"{self.method} {self.route}"


REFUSALS = "access-refusals"  # the stream in which refusals are told


def stream_of(key: ApiKey) -> str:
    """Where the facts about a key are told."""
    return f"api_key:{key.id}"
