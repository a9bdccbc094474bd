"""What is told about API keys; never anything of their secrets."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from instrument_registry.access.model import ApiKey, Scope
from instrument_registry.events import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyCreated(Fact):
    """Somebody was given a key."""

    type: ClassVar[str] = "api_key.created"

    key_id: str
    name: str
    scope: Scope

    @property
    def subject(self) -> str:
        """The key's id."""
        return self.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRevoked(Fact):
    """A key opens nothing any more."""

    type: ClassVar[str] = "api_key.revoked"

    key_id: str
    name: str

    @property
    def subject(self) -> str:
        """The key's id."""
        return self.key_id


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
