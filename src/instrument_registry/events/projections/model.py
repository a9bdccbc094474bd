"""What a projection is, and what building it anew found."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from instrument_registry.database import Transaction
from instrument_registry.errors import Conflict, NotFound
from instrument_registry.events.model import Event


class AlreadyProjected(Conflict):
    """Somebody else has been further; read the position again."""

    title = "The projection has moved on"


class NoSuchProjection(NotFound):
    """There is none of this name."""

    title = "There is no such projection"


Apply = Callable[[Transaction, int, Sequence[Event]], Awaitable[None]]
Clear = Callable[[Transaction, int], Awaitable[None]]
Digest = Callable[[Transaction, int], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Something derived from facts, by generation: how events change it, how it is emptied, what it amounts to.

    `apply` sees each event once and in order, in the transaction that moves the position.
    """

    name: str
    apply: Apply
    clear: Clear
    digest: Digest
    types: tuple[str, ...] | None = None
    bulk: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far a generation of a projection is."""

    name: str
    generation: int
    position: int
    active: bool
    moved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What building a projection anew came to; `before` is the digest of the generation that it replaced."""

    name: str
    generation: int
    position: int
    events: int
    before: str
    after: str

    @property
    def equal(self) -> bool:
        """Whether the one that was kept up event by event said the same."""
        return self.before == self.after
