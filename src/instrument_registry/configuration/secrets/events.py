"""What is told about secrets: never a value."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact

STREAM = "secrets"  # about all of them; what is about one has its own


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFact(Fact):
    """Something about one secret of one environment."""

    name: str
    environment: str

    @property
    def subject(self) -> str:
        """What it is about."""
        return f"secret:{self.environment}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSet(SecretFact):
    """A secret has another version from now on; the former one can be read until then, `generated`: nobody chose it."""

    type: ClassVar[str] = "secret.set"

    secret_version: int
    key_id: str
    generated: bool
    former_ends_at: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRead(SecretFact):
    """Somebody was shown a value."""

    type: ClassVar[str] = "secret.read"

    secret_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretDeleted(SecretFact):
    """A secret is gone with every version of it."""

    type: ClassVar[str] = "secret.deleted"

    secret_versions: list[int]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretForgotten(SecretFact):
    """The time of a former version is over, and its value is gone."""

    type: ClassVar[str] = "secret.forgotten"

    secret_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsRewrapped(Fact):
    """Values lie under the newest master key by now that lay under others."""

    type: ClassVar[str] = "secrets.rewrapped"

    key_id: str
    kind: str
    values: int


def stream_of(name: str, environment: str) -> str:
    """Where the facts about a secret are told."""
    return f"secret:{environment}/{name}"
