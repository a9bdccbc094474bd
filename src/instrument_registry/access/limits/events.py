"""What is told about the limits of keys."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyLimitsSet(Fact):
    """A key may ask as often as this, where it may not ask as often as every other key."""

    type: ClassVar[str] = "api_key.limits_set"

    key_id: str
    old: dict[str, dict[str, int | None]]
    new: dict[str, dict[str, int | None]]
    reason: str

    @property
    def subject(self) -> str:
        """The key's id."""
        return self.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyLimitsRemoved(Fact):
    """A key may ask as often as every other key again."""

    type: ClassVar[str] = "api_key.limits_removed"

    key_id: str
    old: dict[str, dict[str, int | None]]
    reason: str

    @property
    def subject(self) -> str:
        """The key's id."""
        return self.key_id
