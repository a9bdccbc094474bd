"""The streams on Redis, as the relay sees and writes them.

A marker beside the streams says who writes, up to which position, and which id each stream ends with. Every write
compares the marker and moves it in one step with its entries. So a write is done whole or not at all, by the present
relay alone, and only onto what the relay believes is there: a Redis that lost something refuses it.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from instrument_registry.errors import Invalid
from instrument_registry.events.streams import layout
from instrument_registry.events.streams.layout import Entry, Ordering

SOCKET_TIMEOUT_SECONDS = 5.0
CONNECT_TIMEOUT_SECONDS = 2.0
SENTINEL_PORT = 26379

Client = redis.Redis

# What the marker says, whether each stream ends with the id the marker names, and how many entries there are.
SEE = """
local marker = redis.call('HMGET', KEYS[1], 'log', 'owner', 'layout', 'position', 'witness', 'floor')
local whole, entries = 1, 0
for i = 2, #KEYS do
    local noted = redis.call('HGET', KEYS[1], 'last:' .. (i - 2)) or '0-0'
    local stream, last = redis.pcall('XINFO', 'STREAM', KEYS[i]), nil
    if not stream.err then
        for j = 1, #stream, 2 do
            if stream[j] == 'last-generated-id' then last = stream[j + 1] end
            if stream[j] == 'length' then entries = entries + stream[j + 1] end
        end
    end
    if last ~= noted then whole = 0 end
end
return {marker[1], marker[2], marker[3], marker[4], marker[5], marker[6], whole, entries}
"""

# owner before, owner from now on. Trimming nothing makes it a script that has written, which may go on without memory.
TAKE = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('XTRIM', KEYS[2], 'MINID', '0')
redis.call('HSET', KEYS[1], 'owner', ARGV[2])
return 1
"""

# owner before ('' for none), owner from now on, log, layout, position to begin after; KEYS
# beyond the first ARGV[6] go for good
RESET = """
if (redis.call('HGET', KEYS[1], 'owner') or '') ~= ARGV[1] then return 0 end
redis.call('UNLINK', unpack(KEYS))
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'log', ARGV[3], 'layout', ARGV[4], 'position', ARGV[5],
           'floor', ARGV[5], 'witness', '')
for i = 2, tonumber(ARGV[6]) do
    redis.call('XGROUP', 'CREATE', KEYS[i], 'made', '0', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', KEYS[i], 'made')
end
return 1
"""

# owner, position before, position after, witness; then for each entry: stream, id, number of texts, texts
WRITE = """
local marker = redis.call('HMGET', KEYS[1], 'owner', 'position')
if marker[1] ~= ARGV[1] or marker[2] ~= ARGV[2] then return 0 end
if redis.call('EXISTS', unpack(KEYS)) ~= #KEYS then return 0 end
local set, last, i = {'position', ARGV[3]}, {}, 5
if ARGV[4] ~= '' then set[3], set[4] = 'witness', ARGV[4] end
while i <= #ARGV do
    local texts = tonumber(ARGV[i + 2])
    local added = redis.pcall('XADD', KEYS[ARGV[i] + 2], ARGV[i + 1], unpack(ARGV, i + 3, i + 2 + texts))
    if type(added) == 'table' and added.err then
        if string.find(added.err, 'equal or smaller', 1, true) then return 0 end
        return added
    end
    last[ARGV[i]] = ARGV[i + 1]
    i = i + 3 + texts
end
for stream, id in pairs(last) do
    set[#set + 1] = 'last:' .. stream
    set[#set + 1] = id
end
redis.call('HSET', KEYS[1], unpack(set))
return 1
"""

# owner, floor. A group that had not come so far is taken away: a member that is refused reads the store from where
# the group was; one that missed something in silence would not. Trimming goes first: without memory a script may set
# something only after that.
TRIM = """
local marker = redis.call('HMGET', KEYS[1], 'owner', 'floor')
if marker[1] ~= ARGV[1] then return -1 end
if tonumber(marker[2]) >= tonumber(ARGV[2]) then return 0 end
local behind = {}
for i = 2, #KEYS do
    local groups = redis.pcall('XINFO', 'GROUPS', KEYS[i])
    if groups.err then return -1 end
    for _, group in ipairs(groups) do
        local name, read = group[2], nil
        for j = 1, #group, 2 do
            if group[j] == 'last-delivered-id' then read = group[j + 1] end
        end
        local held = redis.call('XPENDING', KEYS[i], name)
        if #redis.call('XRANGE', KEYS[i], '(' .. read, ARGV[2] .. '-0', 'COUNT', 1) > 0
           or (held[1] > 0 and tonumber(string.match(held[2], '^%d+')) <= tonumber(ARGV[2])) then
            behind[name] = true
        end
    end
end
local gone = 0
for i = 2, #KEYS do
    gone = gone + redis.call('XTRIM', KEYS[i], 'MINID', string.format('%.0f-0', ARGV[2] + 1))
    for name in pairs(behind) do redis.call('XGROUP', 'DESTROY', KEYS[i], name) end
end
redis.call('HSET', KEYS[1], 'floor', ARGV[2])
return gone
"""

# For each group: its name, how far all is acknowledged, how many entries are held, how many are not yet read.
GROUPS = """
local top, found, order = tonumber(redis.call('HGET', KEYS[1], 'position') or '0'), {}, {}
local function place(id) return tonumber(string.match(id, '^%d+')) end
for i = 2, #KEYS do
    local stream = redis.pcall('XINFO', 'GROUPS', KEYS[i])
    if stream.err then stream = {} end
    for _, group in ipairs(stream) do
        local is = {}
        for j = 1, #group, 2 do is[group[j]] = group[j + 1] end
        local seen = found[is.name]
        if not seen then
            seen = {top, 0, 0}
            found[is.name] = seen
            order[#order + 1] = is.name
        end
        local unread = redis.call('XRANGE', KEYS[i], '(' .. is['last-delivered-id'], '+', 'COUNT', 1)[1]
        if unread then
            seen[1] = math.min(seen[1], place(unread[1]) - 1)
            if is.lag then seen[3] = seen[3] + is.lag
            else seen[3] = seen[3] + #redis.call('XRANGE', KEYS[i], '(' .. is['last-delivered-id'], '+') end
        end
        if is.pending > 0 then
            seen[1] = math.min(seen[1], place(redis.call('XPENDING', KEYS[i], is.name)[2]) - 1)
            seen[2] = seen[2] + is.pending
        end
    end
end
local told = {}
for _, name in ipairs(order) do
    local seen = found[name]
    told[#told + 1] = {name, seen[1], seen[2], seen[3]}
end
return told
"""


class BrokerUrlRefused(Invalid):
    """The address of the Redis cannot be understood."""

    title = "The address of the event broker is not valid"


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


def connect(url: str) -> Client:
    """A client for the Redis at an address, or for the one its sentinels name; it connects when first used.

    Raises: BrokerUrlRefused.
    """
    try:
        if "+sentinel" in urlsplit(url).scheme:
            return _by_sentinels(url)
        return redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=SOCKET_TIMEOUT_SECONDS,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
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
    """The streams of one log on one Redis, under one relay's name."""

    def __init__(self, client: Client, ordering: Ordering, *, owner: str) -> None:
        self.client, self.ordering, self.owner = client, ordering, owner
        self.keys = (layout.MARKER, *layout.streams(ordering))
        self._known: dict[str, str] = {}

    async def see(self) -> tuple[Seen | None, str]:
        """What stands there, None without a marker; and the id of the run of this Redis."""
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

    async def groups(self) -> list[Group]:
        """The groups on these streams."""
        told = cast("list[tuple[str, int, int, int]]", await self._eval(GROUPS, self.keys))
        return [Group(*one) for one in told]

    async def _eval(self, script: str, keys: Sequence[str], *values: str | int) -> object:
        return await self.client.eval(script, len(keys), *keys, *values)

    async def _load(self, script: str) -> str:
        self._known[script] = digest = str(await self.client.script_load(script))
        return digest


def _values(owner: str, one: Write) -> list[str]:
    values = [owner, str(one.before), str(one.after), one.witness]
    for entry in one.entries:
        values += (str(entry.stream), layout.id_of(entry.position), str(len(entry.fields)), *entry.fields)
    return values


def _by_sentinels(url: str) -> Client:
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
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
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
