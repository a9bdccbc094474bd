"""The facts the audit tells of itself."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events.model import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditKeyRegistered(Fact):
    """Checkpoints of the audit are signed with this key from now on."""

    type: ClassVar[str] = "audit.key_registered"

    key_id: str
    verifier: str

    @property
    def subject(self) -> str:
        """The key's id."""
        return self.key_id
