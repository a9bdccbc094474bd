"""The streams on Redis, as the relay sees and writes them.

A marker beside the streams says who writes, up to which position, and which id each stream ends with. Every write
compares the marker and moves it in one step with its entries. So a write is done whole or not at all, by the present
relay alone, and only onto what the relay believes is there: a Redis that lost something refuses it.
"""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisSilent

from instrument_registry.breakers import Breaker, Breakers, DependencyResting
from instrument_registry.breakers.terms import REDIS
from instrument_registry.errors import Invalid
from instrument_registry.events.streams import layout
from instrument_registry.events.streams.layout import Entry, Ordering
from instrument_registry.events.streams.redis_scripts import GROUPS, JOIN, RESET, SEE, TAKE, TRIM, WRITE

SOCKET_TIMEOUT_SECONDS = 5.0
CONNECT_TIMEOUT_SECONDS = 2.0
SENTINEL_PORT = 26379

Client = redis.Redis


class BrokerUrlRefused(Invalid):
    """The address of the Redis cannot be understood."""

    title = "The address of the event broker is not valid"


class RedisResting(DependencyResting):
    """Redis did not answer, and is not asked for a moment; the store has all that it has."""

    title = "Redis did not answer and is left alone for a moment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What stands on a Redis: whose it is, how far it goes, and whether the streams end where the marker says."""

    log: str
    owner: str
    layout: str
    position: int
    witness: str  # position and event id of the newest entry
    floor: int  # at and below it entries may be missing
    whole: bool
    entries: int


@dataclass(frozen=True, slots=True)
class Write:
    """Entries that belong between two positions."""

    before: int
    after: int
    witness: str
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Group:
    """A group of readers on Redis: up to where all is acknowledged, entries in hands, entries not yet read."""

    name: str
    position: int
    pending: int
    lag: int
    streams: int  # which it is on


def connect(url: str, *, timeout_seconds: float = SOCKET_TIMEOUT_SECONDS) -> Client:
    """A client for the Redis at an address, or for the one its sentinels name; it connects when first used.

    Raises: BrokerUrlRefused.
    """
    try:
        if "+sentinel" in urlsplit(url).scheme:
            return _by_sentinels(url, timeout_seconds)
        return redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds),
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
    except (ValueError, TypeError) as error:
        raise BrokerUrlRefused("The address of the event broker cannot be understood") from error


async def disconnect(client: Client) -> None:
    """Close every connection, so that the next command finds its Redis anew."""
    pool = client.connection_pool
    asked = pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else []
    for one in (pool, *(sentinel.connection_pool for sentinel in asked)):
        with contextlib.suppress(RedisError, OSError):
            await one.disconnect()


class Streams:
    """The streams of one log on one Redis, under one relay's name; a Redis that does not answer raises RedisResting."""

    def __init__(self, client: Client, ordering: Ordering, *, owner: str, breaker: Breaker | None = None) -> None:
        self.client, self.ordering, self.owner = client, ordering, owner
        self.breaker = breaker or Breakers().of(REDIS, resting=RedisResting)
        self.keys = (layout.MARKER, *layout.streams(ordering))
        self._known: dict[str, str] = {}

    def asking(self) -> AbstractContextManager[None]:
        """Whatever is asked of Redis in this block tells whether it answers; Raises: RedisResting."""
        return self.breaker.calling(RedisGone, RedisSilent, OSError)

    async def see(self) -> tuple[Seen | None, str]:
        """What stands there, None without a marker; and the id of the run of this Redis."""
        with self.asking():
            async with self.client.pipeline(transaction=False) as pipe:
                pipe.info("server")
                pipe.eval(SEE, len(self.keys), *self.keys)
                server, told = await pipe.execute()
        log, owner, arranged, position, witness, floor, whole, entries = told
        run_id = str(server["run_id"])
        if owner is None or position is None:
            return None, run_id
        return Seen(
            log=log or "", owner=owner, layout=arranged or "", position=int(position), witness=witness or "",
            floor=int(floor or 0), whole=whole == 1, entries=entries,
        ), run_id  # fmt: skip

    async def take(self, *, before: str) -> bool:
        """Become the one who writes, after `before`; False when somebody else has."""
        return await self._eval(TAKE, self.keys, before, self.owner) == 1

    async def reset(self, *, before: str, log: str, position: int) -> bool:
        """Begin with empty streams after a position; False when somebody else has."""
        others = [key for key in (layout.ONE_STREAM, *layout.STREAMS) if key not in self.keys]
        values = (before, self.owner, log, self.ordering.value, position, len(self.keys))
        return await self._eval(RESET, (*self.keys, *others), *values) == 1

    async def write(self, writes: Sequence[Write]) -> bool:
        """Write batches that follow each other; False when the streams were not as expected: then look again."""
        digest = self._known.get(WRITE) or await self._load(WRITE)
        with self.asking():
            async with self.client.pipeline(transaction=False) as pipe:
                for one in writes:
                    pipe.evalsha(digest, len(self.keys), *self.keys, *_values(self.owner, one))
                done = await pipe.execute(raise_on_error=False)
        for outcome in done:
            if isinstance(outcome, NoScriptError):
                self._known.clear()
                return False
            if isinstance(outcome, Exception):
                raise outcome
            if outcome != 1:
                return False
        return True

    async def trim(self, *, floor: int) -> bool:
        """Let go of everything up to a position, and of the groups that had not come so far; False as for `write`."""
        return await self._eval(TRIM, self.keys, self.owner, floor) != -1

    async def groups(self, name: str | None = None) -> list[Group]:
        """The groups on these streams, or the one of this name."""
        told = cast(
            "list[tuple[str, int, int, int, int]]", await self._eval(GROUPS, self.keys, *([name] if name else []))
        )
        return [Group(*one) for one in told]

    async def join(self, group: str, *, position: int) -> bool:
        """See that a group is there, or make it after a position; False when what comes next is not here."""
        return await self._eval(JOIN, self.keys, group, position) == 1

    async def position(self) -> int:
        """Up to where everything has been written; 0 when nothing stands here."""
        with self.asking():
            return int(await self.client.hget(self.keys[0], "position") or 0)

    async def _eval(self, script: str, keys: Sequence[str], *values: str | int) -> object:
        with self.asking():
            return await self.client.eval(script, len(keys), *keys, *values)

    async def _load(self, script: str) -> str:
        with self.asking():
            self._known[script] = digest = str(await self.client.script_load(script))
        return digest


def _values(owner: str, one: Write) -> list[str]:
    values = [owner, str(one.before), str(one.after), one.witness]
    for entry in one.entries:
        values += (str(entry.stream), layout.id_of(entry.position), str(len(entry.fields)), *entry.fields)
    return values


def _by_sentinels(url: str, timeout_seconds: float) -> Client:
    parts = urlsplit(url)
    service, _, number = parts.path.strip("/").partition("/")
    account, _, hosts = parts.netloc.rpartition("@")
    if not service:
        raise ValueError("no service")
    name, _, password = account.partition(":")
    asked: dict[str, object] = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    sentinel_password = asked.pop("sentinel_password", None)
    options = asked | {
        "ssl": parts.scheme.startswith("rediss"),
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": min(CONNECT_TIMEOUT_SECONDS, timeout_seconds),
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_host(text) for text in hosts.split(",")],
        sentinel_kwargs=options | {"password": sentinel_password},
        **options,
        decode_responses=True,
        db=int(number or 0),
        username=unquote(name) or None,
        password=unquote(password) or None,
    )
    return cast("Client", sentinel.master_for(service))


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or SENTINEL_PORT
