"""The rings of several instances on one Redis: one script decides, by the server's own clock, in one step.

A ring is one string: count, capacity and newest instant, then the instants of the last admissions, eight bytes each. It
begins small and doubles, as `rings.py` does. Checks that wait at the same moment travel together.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from redis.exceptions import NoScriptError, RedisError

from instrument_registry.access.limits.model import Verdict, Windows
from instrument_registry.events.streams.redis_streams import Client, connect, disconnect

TIMEOUT_SECONDS = 0.25
TOGETHER_MAX = 100
SMALLEST = 64
CLOCK_BACK_US = 1_000_000  # a clock that was set back further makes what is remembered worthless

# ARGV: smallest capacity, then limit and length in microseconds of each window, the longest first.
# Answers: microseconds to wait (0: let pass), microseconds since the newest, how many lie within each window.
TAKE = f"""
local key, time = KEYS[1], redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local head, count, capacity, newest = redis.call('GETRANGE', key, 0, 23), 0, tonumber(ARGV[1]), 0
if #head == 24 then count, capacity, newest = struct.unpack('<I8I8I8', head) end
if now < newest then
    if newest - now > {CLOCK_BACK_US} then count = 0 else now = newest end
end
local function at(number)
    local place = 24 + number % capacity * 8
    return (struct.unpack('<I8', redis.call('GETRANGE', key, place, place + 7)))
end
local longest, oldest = tonumber(ARGV[3]), math.max(0, count - capacity)
if count >= capacity and capacity < tonumber(ARGV[2]) and at(oldest) > now - longest then
    local body, cut = redis.call('GETRANGE', key, 24, -1), count % capacity * 8
    body = string.sub(body, cut + 1) .. string.sub(body, 1, cut)
    count, capacity, oldest = capacity, capacity * 2, 0
    redis.call('SET', key, struct.pack('<I8I8I8', count, capacity, newest) .. body,
               'PX', string.format('%.0f', longest / 1000 + 1000))
end
local wait, told = 0, {{}}
for i = 2, #ARGV, 2 do
    local limit, span = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    local since, low, high = now - span, oldest, count
    if count > 0 and newest <= since then low = count end
    if low < high and at(low) > since then high = low end
    while low < high do
        local middle = math.floor((low + high) / 2)
        if at(middle) > since then high = middle else low = middle + 1 end
    end
    if count - low >= limit then wait = math.max(wait, at(count - limit) + span - now, 1) end
    told[#told + 1] = count - low
end
local quiet = now - newest
if count == 0 then quiet = longest end
if wait == 0 then
    redis.call('SETRANGE', key, 24 + count % capacity * 8, struct.pack('<I8', now))
    redis.call('SETRANGE', key, 0, struct.pack('<I8I8I8', count + 1, capacity, now))
    redis.call('PEXPIRE', key, string.format('%.0f', longest / 1000 + 1000))
    for i = 1, #told do told[i] = told[i] + 1 end
    quiet = 0
end
return {{wait, quiet, unpack(told)}}
"""


class RedisAway(Exception):
    """It did not answer, not in time, or not with a verdict."""


class _Asked(NamedTuple):
    key: str
    windows: Windows
    answer: "asyncio.Future[Verdict]"


class RedisRings:
    """The rings on the Redis at an address; it is asked when first used."""

    def __init__(self, url: str) -> None:
        self._client: Client = connect(url, timeout_seconds=TIMEOUT_SECONDS)
        self._waiting: list[_Asked] = []
        self._sending: asyncio.Task[None] | None = None
        self._digest: str | None = None

    async def take(self, party: str, kind: str, windows: Windows) -> Verdict:
        """Let one more pass, or say how long to wait; Raises: RedisAway."""
        asked = _Asked(f"irl:{kind}:{party}", windows, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        return await asked.answer

    async def answers(self) -> bool:
        """Whether a script can be left there; asked over new connections, for it may be another Redis now."""
        await disconnect(self._client)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                self._digest = str(await self._client.script_load(TAKE))
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Hang up."""
        if self._sending is not None:
            await asyncio.gather(self._sending, return_exceptions=True)
        await disconnect(self._client)

    async def _send(self) -> None:
        """Send what waits, batch after batch, until nothing does."""
        while self._waiting:
            batch, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    told = await self._told(batch)
            except (RedisError, OSError, TimeoutError) as error:
                self._tell_away([*batch, *self._waiting], error)
                self._waiting = []
                return
            for asked, one in zip(batch, told, strict=True):
                if not asked.answer.done():  # its request may have been given up
                    wait, quiet, *inside = one
                    asked.answer.set_result(Verdict(asked.windows, tuple(inside), quiet, wait))

    async def _told(self, batch: Sequence[_Asked]) -> list[list[int]]:
        if self._digest is None:
            self._digest = str(await self._client.script_load(TAKE))
        try:
            if len(batch) == 1:  # which is usual, and costs half of what a pipeline does
                return [await self._client.evalsha(self._digest, 1, *_words(batch[0]))]
            async with self._client.pipeline(transaction=False) as pipe:
                for asked in batch:
                    pipe.evalsha(self._digest, 1, *_words(asked))
                return await pipe.execute()
        except NoScriptError:  # it was started anew, or forgot all
            self._digest = None
            return await self._told(batch)

    @staticmethod
    def _tell_away(unanswered: Sequence[_Asked], error: Exception) -> None:
        for asked in unanswered:
            if not asked.answer.done():
                asked.answer.set_exception(RedisAway(f"{type(error).__name__}"))


def _words(asked: _Asked) -> list[str | int]:
    """The key and what the script is told."""
    words: list[str | int] = [asked.key, SMALLEST]
    for window in asked.windows:
        words += (window.limit, window.span_us)
    return words
