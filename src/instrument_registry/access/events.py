"""What is told about API keys; never anything of their secrets."""

from dataclasses import dataclass
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


def stream_of(key: ApiKey) -> str:
    """Where the facts about a key are told."""
    return f"api_key:{key.id}"
