"""What is told about archives."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events.model import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class OfArchive(Fact):
    """What all of them say: which archive, and what it holds."""

    archive: str
    rows: int
    digest: str

    @property
    def subject(self) -> str:
        """The archive's name."""
        return self.archive


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveVerified(OfArchive):
    """A month was written to a file and read back the same."""

    type: ClassVar[str] = "archive.verified"

    file_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveDropped(OfArchive):
    """A month is in its archive alone from now on."""

    type: ClassVar[str] = "archive.dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRestored(OfArchive):
    """A month came back from its archive as it was."""

    type: ClassVar[str] = "archive.restored"

    keep_days: int
    reason: str
