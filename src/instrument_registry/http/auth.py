"""Who is calling, and may they: the API key header, checked against keys kept for a moment in each worker.

All keys in force are read together, at most twice a second and only while somebody calls: a stranger trying keys costs
the database nothing, a revoked key stops within two seconds, a new one works at once. Without a database for longer
than that nobody is let in: could-not-tell never opens a gate.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from starlette.types import Scope as AsgiScope

from instrument_registry.access import service
from instrument_registry.access.model import ApiKey, KeyRejected, Scope, SealedKey, presented
from instrument_registry.clock import Clock
from instrument_registry.database import Database
from instrument_registry.errors import Forbidden, Unauthorized, Unavailable
from instrument_registry.events import Metadata

HEADER = b"x-internal-api-key"
FRESH_SECONDS = 0.5  # older than this: read again, meanwhile believe it
TRUSTED_SECONDS = 1.5  # older than this: wait for what is being read
UNKNOWN_SECONDS = 0.05  # a key we do not know may have been made since

log = structlog.get_logger("access")


class KeyMissing(Unauthorized):
    """Send the header X-Internal-API-Key; the key of a local instance lies in <data dir>/operator.key."""

    title = "An API key is needed"


class ScopeLacking(Forbidden):
    """Ask for a key with the scope that is needed."""

    title = "This API key may not do that"


LoadKeys = Callable[[], Awaitable[Mapping[str, SealedKey]]]
RecordUse = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Seen:
    keys: Mapping[str, SealedKey]
    asked_at: float  # when the question was put, not when it was answered: what came between may be missing


class KeyRing:
    """The keys in force as this process knows them, never older than it says."""

    def __init__(
        self,
        load: LoadKeys,
        record_use: RecordUse,
        *,
        clock: Clock,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._record_use = record_use
        self._clock = clock
        self._elapsed = elapsed
        self._seen = _Seen({}, float("-inf"))
        self._reading: asyncio.Task[None] | None = None
        self._recorded: dict[str, datetime] = {}
        self._recording: set[asyncio.Task[None]] = set()

    async def recognise(self, text: str) -> ApiKey:
        """Whose key this is.

        Raises: KeyRejected, or Unavailable when that cannot be told.
        """
        claimed = presented(text)
        await self._refresh(TRUSTED_SECONDS)
        sealed = self._seen.keys.get(claimed.id)
        if sealed is None:
            await self._refresh(UNKNOWN_SECONDS)
            sealed = self._seen.keys.get(claimed.id)
        if sealed is None or not sealed.opens(claimed.secret):
            raise KeyRejected("No key in force is this one")
        self._note_use(sealed.key)
        return sealed.key

    async def close(self) -> None:
        """Finish what was begun."""
        begun = [task for task in (self._reading, *self._recording) if task is not None]
        await asyncio.gather(*begun, return_exceptions=True)

    async def _refresh(self, trusted_seconds: float) -> None:
        for _ in range(2):  # what is being read when we come may have been asked for too long ago
            age = self._age()
            if age <= min(FRESH_SECONDS, trusted_seconds):
                return
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read())
                self._reading.add_done_callback(_observed)
            if age <= trusted_seconds:
                return
            await asyncio.shield(self._reading)
        if self._age() > TRUSTED_SECONDS:
            raise Unavailable("API keys could not be checked in time")

    def _age(self) -> float:
        return self._elapsed() - self._seen.asked_at

    async def _read(self) -> None:
        asked_at = self._elapsed()
        self._seen = _Seen(await self._load(), asked_at)

    def _note_use(self, key: ApiKey) -> None:
        now = self._clock()
        last = self._recorded.get(key.id, key.last_used_at)
        if last is not None and now - last < service.TOUCH_EVERY:
            return
        self._recorded = {known: at for known, at in self._recorded.items() if known in self._seen.keys}
        self._recorded[key.id] = now
        task = asyncio.create_task(self._keep_use(key.id))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)

    async def _keep_use(self, key_id: str) -> None:
        try:
            await self._record_use(key_id)
        except Unavailable as error:  # the answer does not wait for it, and the next use tries again
            self._recorded.pop(key_id, None)
            log.warning("access.use_not_recorded", key_id=key_id, reason=str(error))


def key_ring(database: Database, clock: Clock) -> KeyRing:
    """The keys of one database."""

    async def load() -> Mapping[str, SealedKey]:
        async with database.transaction(read_only=True) as tx:
            return await service.keys_in_force(tx)

    async def record_use(key_id: str) -> None:
        async with database.transaction() as tx:
            await service.record_use(tx, [key_id], at=clock())

    return KeyRing(load, record_use, clock=clock)


async def authorize(scope: AsgiScope, needed: Scope) -> ApiKey:
    """The caller of a request, if they may do what needs this scope.

    Raises: KeyMissing, KeyRejected, ScopeLacking, Unavailable.
    """
    given = next((value for name, value in scope["headers"] if name == HEADER), None)
    if given is None:
        raise KeyMissing("Send your API key in the header X-Internal-API-Key")
    return await _admitted(scope, given.decode("latin-1").strip(), needed)


async def authorize_like_kite(scope: AsgiScope, needed: Scope) -> ApiKey:
    """As `authorize`, and also by `Authorization: token <api_key>:<access_token>`, where either may be our key.

    Raises: KeyMissing, KeyRejected, ScopeLacking, Unavailable.
    """
    given = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    if given is None:
        return await authorize(scope, needed)
    scheme, _, credentials = given.decode("latin-1").strip().partition(" ")
    if scheme.lower() != "token":
        raise KeyRejected("Authorization must be: token <api_key>:<access_token>")
    api_key, _, access_token = credentials.strip().partition(":")
    return await _admitted(scope, api_key if api_key.startswith("irk_") else access_token, needed)


def caller_of(scope: AsgiScope) -> ApiKey:
    """The caller of a request that has been authorized."""
    caller: ApiKey = scope["caller"]
    return caller


def metadata_of(scope: AsgiScope) -> Metadata:
    """Who caused what a request changes, for the facts that tell of it."""
    correlation_id: str = scope["correlation_id"]
    client: tuple[str, int] | None = scope.get("client")
    return Metadata(
        actor=f"api_key:{caller_of(scope).id}",
        correlation_id=correlation_id,
        source="http",
        address=client[0] if client else None,
    )


async def _admitted(scope: AsgiScope, text: str, needed: Scope) -> ApiKey:
    ring: KeyRing = scope["app"].state.key_ring
    caller = await ring.recognise(text)
    scope["caller"] = caller  # whoever notes a refusal wants to know whose it was
    if not caller.scope.includes(needed):
        raise ScopeLacking(
            f"This needs the scope {needed}; the key has {caller.scope}", needed=needed, has=caller.scope
        )
    return caller


def _observed(task: asyncio.Task[None]) -> None:
    """Nobody may have waited for a refresh that failed; whoever does next tries again and is told."""
    if not task.cancelled():
        task.exception()
