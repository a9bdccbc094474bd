"""Requests refused for want of permission: counted by who, where and minute, and told when the minute is over.

A storm of them costs the database nothing: as many facts as there are callers and routes, and at most so many.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from starlette.types import Scope

from instrument_registry.access import service
from instrument_registry.access.events import RequestsRefused
from instrument_registry.access.model import FORM
from instrument_registry.clock import Clock
from instrument_registry.database import Database
from instrument_registry.errors import RegistryError, Unavailable
from instrument_registry.http.correlation import correlation_of
from instrument_registry.http.problems import status_of

DISTINCT_MAX = 500  # beyond these only how many there were is kept
CLAIMED_MAX = 5
TELL_EVERY_SECONDS = 60.0
OTHERS = "(others)"

log = structlog.get_logger("access")

# Problem, method, route, key id, address of whoever has no key, minute.
Kind = tuple[str, str, str, str | None, str | None, datetime | None]


@dataclass(slots=True)
class _Count:
    """What is kept of refusals that are alike."""

    status: int
    address: str | None
    correlation_id: str
    first_at: datetime
    last_at: datetime
    count: int = 0
    claimed: list[str] = field(default_factory=list)


class Refusals:
    """The refusals of one process that have not been told yet."""

    def __init__(self, clock: Clock, *, distinct_max: int = DISTINCT_MAX) -> None:
        self._clock, self._distinct_max = clock, distinct_max
        self._counts: dict[Kind, _Count] = {}

    def note(self, scope: Scope, error: RegistryError) -> None:
        """Count a refusal."""
        at = self._clock()
        caller, client = scope.get("caller"), scope.get("client")
        address = client[0] if client else None
        key_id = caller.id if caller else None
        route = getattr(scope.get("route"), "path_format", OTHERS)
        kind: Kind = (
            type(error).__name__, scope["method"], route, key_id, None if key_id else address,
            at.replace(second=0, microsecond=0),
        )  # fmt: skip
        claimed = None if caller else _claimed(scope)
        self._add(
            kind,
            _Count(
                status_of(type(error)), address, correlation_of(scope) or "", at, at, 1, [claimed] if claimed else []
            ),
        )

    async def tell(self, database: Database) -> int:
        """Tell of everything that has been counted, in one transaction; how many facts. Without a database it waits."""
        counts, self._counts = self._counts, {}
        told = not counts
        try:
            if counts:
                async with database.transaction() as tx:
                    for kind, count in counts.items():
                        await service.record_refusal(tx, _fact(kind, count), correlation_id=count.correlation_id)
                told = True
        except Unavailable as error:
            log.warning("access.refusals_not_told", reason=str(error), kinds=len(counts))
        finally:
            if not told:
                since, self._counts = self._counts, counts
                for kind, count in since.items():
                    self._add(kind, count)
        return len(counts) if told else 0

    async def tell_every_minute(self, database: Database) -> None:
        """Tell for ever, shortly after each minute of the clock."""
        while True:
            now = self._clock()
            await asyncio.sleep(TELL_EVERY_SECONDS - now.second + 0.1)
            await self.tell(database)

    def _add(self, kind: Kind, more: _Count) -> None:
        if kind not in self._counts and len(self._counts) >= self._distinct_max:
            kind, more.address = (kind[0], OTHERS, OTHERS, None, None, None), None
        count = self._counts.setdefault(kind, more)
        if count is not more:
            count.count += more.count
            count.last_at, count.address = more.last_at, more.address
            count.claimed += [one for one in more.claimed if one not in count.claimed]
            del count.claimed[CLAIMED_MAX:]


def _claimed(scope: Scope) -> str | None:
    """The id in front of a key that was refused: not believed, never its secret."""
    for name, value in scope["headers"]:
        if name in (b"x-internal-api-key", b"authorization") and (match := FORM.search(value.decode("latin-1"))):
            return match[1]
    return None


def _fact(kind: Kind, count: _Count) -> RequestsRefused:
    problem, method, route, key_id, _, _ = kind
    return RequestsRefused(
        occurred_at=count.last_at, problem=problem, status=count.status, method=method, route=route, key_id=key_id,
        claimed_key_ids=count.claimed, address=count.address, count=count.count, first_at=count.first_at,
        last_at=count.last_at,
    )  # fmt: skip
