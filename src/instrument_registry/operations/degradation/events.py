"""What is told of features that were turned off by themselves."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact

STREAM = "operations"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureGivenUp(Fact):
    """A feature failed too often and is turned off by itself, in every process, until it is tried again."""

    type: ClassVar[str] = "operations.feature_given_up"

    feature: str
    failed: int
    requests: int  # of the last minute, in the process that found out
    bound_percent: float
    reason: str

    @property
    def subject(self) -> str:
        """Which feature."""
        return self.feature


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureResumed(Fact):
    """A feature that was given up is on again: it was tried and worked, or an operator reset its breaker."""

    type: ClassVar[str] = "operations.feature_resumed"

    feature: str

    @property
    def subject(self) -> str:
        """Which feature."""
        return self.feature
