"""Who is calling, and may they: the API key header, checked against keys kept for a moment in each worker.

All keys in force are read together, at most twice a second and only while somebody calls: a stranger trying keys costs
the database nothing, a revoked key stops within two seconds, a new one works at once. While the database does not
answer, whoever was known goes on reading, for a bounded time; who was not is not let in, and nobody changes anything:
could-not-tell never opens a gate.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from starlette.types import Scope as AsgiScope

from instrument_registry.access import service
from instrument_registry.access.model import ApiKey, KeyEnded, KeyRejected, Scope, SealedKey, nobody, presented
from instrument_registry.clock import Clock
from instrument_registry.database import Database
from instrument_registry.errors import Forbidden, Unauthorized, Unavailable
from instrument_registry.events import Metadata
from instrument_registry.telemetry import tracing

HEADER = b"x-internal-api-key"
FRESH_SECONDS = 0.5  # older than this: read again, meanwhile believe it
TRUSTED_SECONDS = 1.5  # older than this: wait for what is being read
KEPT_SECONDS = 5.0  # read so often when nobody calls, so that they are known when the database goes away
UNKNOWN_SECONDS = 0.05  # a key we do not know may have been made since: read again, but not more often

NOBODY = nobody(random_bytes=secrets.token_bytes)

log = structlog.get_logger("access")


class KeyMissing(Unauthorized):
    """Send the header X-Internal-API-Key; the key of a local instance lies in <data dir>/operator.key."""

    title = "An API key is needed"


class KeysNotChecked(Unavailable):
    """The database is away: a key known before may read meanwhile; for all else wait for the seconds told."""

    title = "API keys cannot be checked right now"


class ScopeLacking(Forbidden):
    """Ask for a key with the scope that is needed."""

    title = "This API key may not do that"


LoadKeys = Callable[[], Awaitable[Mapping[str, SealedKey]]]
RecordUse = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Trust:
    """How long what is known is believed while the database is known not to answer."""

    seconds: Callable[[], float] = lambda: 0.0
    database_is_away: Callable[[], bool] = lambda: False


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
        trust: Trust = Trust(),
    ) -> None:
        self._load = load
        self._record_use = record_use
        self._trust = trust
        self._failed_at = float("-inf")  # when a reading brought nothing
        self._clock = clock
        self._elapsed = elapsed
        self._seen = _Seen({}, float("-inf"))
        self._reading: asyncio.Task[None] | None = None
        self._recorded: dict[str, datetime] = {}
        self._recording: set[asyncio.Task[None]] = set()

    async def recognise(self, text: str) -> ApiKey:
        """Whose key this is.

        Raises: KeyRejected, KeyEnded, or Unavailable when that cannot be told.
        """
        claimed = presented(text)
        if not self._believed():
            await self._refresh(TRUSTED_SECONDS, believing=True)
        sealed = self._seen.keys.get(claimed.id, NOBODY)
        opens = sealed.opens(claimed.secret)
        if not opens:
            # The key may have been made since. A known id with a wrong secret waits as an unknown one does, and an
            # unknown one is compared as a known one is: how long it takes does not tell which ids there are.
            await self._read_since(self._elapsed())
            sealed = self._seen.keys.get(claimed.id, NOBODY)
            opens = sealed.opens(claimed.secret)
        if not opens:
            raise KeyRejected("No key in force is this one")
        ends = sealed.key.expires_at
        if ends is not None and self._clock() >= ends:
            raise KeyEnded(f"This API key ended at {ends:%Y-%m-%d %H:%M} UTC", key_id=sealed.key.id, expires_at=ends)
        self._note_use(sealed.key)
        return sealed.key

    async def keep(self, *, every_seconds: float = KEPT_SECONDS) -> None:
        """Know the keys when the database goes away, for ever, also where nobody has called for long."""
        while True:
            if self._age() > every_seconds:
                await asyncio.wait({self._read_soon()})
            await asyncio.sleep(every_seconds)

    async def be_sure(self) -> None:
        """See that the keys are those of now, as for a change they must be; Raises: KeysNotChecked."""
        await self._refresh(TRUSTED_SECONDS)

    def trusted(self) -> bool:
        """Whether anybody is let in: what is known is fresh, or believed while the database is away."""
        return self._age() <= TRUSTED_SECONDS or self._believed()

    async def close(self) -> None:
        """Finish what was begun."""
        begun = [task for task in (self._reading, *self._recording) if task is not None]
        await asyncio.gather(*begun, return_exceptions=True)

    async def _refresh(self, trusted_seconds: float, *, believing: bool = False) -> None:
        for _ in range(2):  # what is being read when we come may have been asked for too long ago
            age = self._age()
            if age <= min(FRESH_SECONDS, trusted_seconds):
                return
            reading = self._read_soon()
            if age <= trusted_seconds:
                return
            try:
                await asyncio.shield(reading)
            except Unavailable as error:
                if believing and self._believed():
                    return
                raise _not_checked(error) from error
        if self._age() > TRUSTED_SECONDS:
            raise KeysNotChecked("API keys could not be checked in time")

    async def _read_since(self, instant: float) -> None:
        """Know what was in force at an instant, or later; however many ask, the keys are read once in a while."""
        try:
            if self._seen.asked_at < instant and self._reading is not None and not self._reading.done():
                await asyncio.shield(self._reading)
            if self._seen.asked_at < instant:
                await asyncio.sleep(UNKNOWN_SECONDS - self._age())
            while self._seen.asked_at < instant:
                await asyncio.shield(self._read_soon())
        except Unavailable as error:
            raise _not_checked(error) from error

    def _read_soon(self) -> "asyncio.Task[None]":
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(_observed)
        return self._reading

    def _believed(self) -> bool:
        """Whether what is known holds although it is old: the database is away, and not for too long."""
        age = self._age()
        failed_just_now = self._elapsed() - self._failed_at <= TRUSTED_SECONDS
        if age <= TRUSTED_SECONDS or not (failed_just_now or self._trust.database_is_away()):
            return False
        self._read_soon()  # nobody waits for it
        return age <= self._trust.seconds()

    def _age(self) -> float:
        return self._elapsed() - self._seen.asked_at

    async def _read(self) -> None:
        asked_at = self._elapsed()
        try:
            self._seen = _Seen(await self._load(), asked_at)
        except Unavailable:
            self._failed_at = self._elapsed()
            raise
        self._failed_at = float("-inf")

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


def key_ring(database: Database, clock: Clock, *, trusted_seconds: Callable[[], float] = lambda: 0.0) -> KeyRing:
    """The keys of one database, believed for so long while it does not answer."""
    trust = Trust(seconds=trusted_seconds, database_is_away=lambda: not database.breaker.closed)

    async def load() -> Mapping[str, SealedKey]:
        async with database.transaction(read_only=True) as tx:
            return await service.keys_to_recognise(tx, at=clock())

    async def record_use(key_id: str) -> None:
        async with database.transaction() as tx:
            await service.record_use(tx, [key_id], at=clock())

    return KeyRing(load, record_use, clock=clock, trust=trust)


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
        traceparent=tracing.traceparent(),
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


def _not_checked(error: Unavailable) -> KeysNotChecked:
    wait_seconds = error.facts.get("retry_after", 1)
    return KeysNotChecked(f"API keys cannot be checked: {error}", dependency="database", retry_after=wait_seconds)


def _observed(task: asyncio.Task[None]) -> None:
    """Nobody may have waited for a refresh that failed; whoever does next tries again and is told."""
    if not task.cancelled():
        task.exception()
