"""What is told about breakers."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact

STREAM = "operations"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerReset(Fact):
    """An operator let calls to a dependency pass again, in every process."""

    type: ClassVar[str] = "operations.breaker_reset"

    dependency: str
    was: str
    reason: str

    @property
    def subject(self) -> str:
        """Whose breaker it is."""
        return self.dependency
