"""What is told about capacity: what accounts can carry, and how their connections are."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact

# What is said of an account by name: numbers as text with their source, the rest as it is written.
Said = dict[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFact(Fact):
    """Something happened to what an account can carry; `standing` is the version planners know it by."""

    type: ClassVar[str] = "capacity.account"

    account: str
    broker: str
    standing: int

    @property
    def subject(self) -> str:
        """The account."""
        return stream_of(self.account)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityChanged(AccountFact):
    """An account has other limits from now on, or is there for the first time: only what differs is named."""

    type: ClassVar[str] = "capacity.changed"

    account_version: int
    old: Said
    new: Said
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityRetired(AccountFact):
    """An account carries nothing any more."""

    type: ClassVar[str] = "capacity.retired"

    account_version: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionChanged(AccountFact):
    """A connection is another way: its ticker said so, or has been silent. None: it is not open, and may be opened."""

    type: ClassVar[str] = "connection.changed"

    connection: str
    old: str | None
    new: str | None
    reason: str | None


def stream_of(account: str) -> str:
    """Where the facts about an account are told."""
    return f"capacity:{account}"
