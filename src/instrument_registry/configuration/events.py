"""What is told about configuration."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact

STREAM = "configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationChanged(Fact):
    """Parameters have other values from this version on; null: that from further down. Secrets are not told."""

    type: ClassVar[str] = "configuration.changed"

    configuration_version: int
    old: dict[str, str | None]
    new: dict[str, str | None]
    reason: str
    reverts_to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationScheduled(Fact):
    """Parameters will have other values from an instant on."""

    type: ClassVar[str] = "configuration.scheduled"

    change: int
    due_at: str
    new: dict[str, str | None]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationUnscheduled(Fact):
    """A change that was to come will not: it was cancelled, or could not be made."""

    type: ClassVar[str] = "configuration.unscheduled"

    change: int
    reason: str
