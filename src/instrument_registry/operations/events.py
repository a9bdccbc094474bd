"""What is told about operations."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact

STREAM = "operations"


@dataclass(frozen=True, slots=True, kw_only=True)
class CachesEvicted(Fact):
    """Every process forgets what these caches of it hold."""

    type: ClassVar[str] = "operations.caches_evicted"

    caches: list[str]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkAsked(Fact):
    """Background work is to be done now, before its time."""

    type: ClassVar[str] = "operations.work_asked"

    work: str
    number: int
    reason: str

    @property
    def subject(self) -> str:
        """What is to be done."""
        return self.work


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyReset(Fact):
    """Everything that was set live was taken back; caches and breakers begin anew."""

    type: ClassVar[str] = "operations.reset"

    configuration_version: int | None
    orders: list[str]
    breakers: list[str]
    reason: str
