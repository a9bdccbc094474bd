"""What is told about retention."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionChanged(Fact):
    """Something is kept for another number of days from now on."""

    type: ClassVar[str] = "retention.changed"

    kind: str
    old: int
    new: int
    reason: str

    @property
    def subject(self) -> str:
        """What the policy is about."""
        return self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionApplied(Fact):
    """Rows that had been kept long enough went for good."""

    type: ClassVar[str] = "retention.applied"

    kind: str
    before: str
    rows: int

    @property
    def subject(self) -> str:
        """What the policy is about."""
        return self.kind
