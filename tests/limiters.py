"""A worker that limits, as a process of its own: ours, and the naive ones that the same tests must find out.

Run: python tests/limiters.py, then lines on standard input: `be KIND PLACE LIMIT SECONDS`; `hammer FROM UNTIL`, which
are instants of the monotonic clock, answered by those before and after each request that was let pass; `take`, answered
by the headers.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import redis.asyncio as redis

from instrument_registry.access.limits.limiter import Limiter
from instrument_registry.access.limits.model import Verdict, Window
from instrument_registry.http.limiting import headers

Take = Callable[[], Awaitable[bool]]
BETWEEN_SECONDS = 0.001


def fixed_window(url: str, *, limit: int, seconds: int) -> Take:
    """Counts by the clock's own windows: twice the limit around their edges."""
    client = redis.Redis.from_url(url)

    async def take() -> bool:
        name = f"fixed:{int(time.time() // seconds)}"
        count = await client.incr(name)
        await client.expire(name, 2 * seconds)
        return count <= limit

    return take


def sliding_counter(url: str, *, limit: int, seconds: int) -> Take:
    """Believes that the window before was used evenly: too many when it was not."""
    client = redis.Redis.from_url(url)
    script = """
    local before = tonumber(redis.call('GET', KEYS[1]) or '0')
    local now = tonumber(redis.call('GET', KEYS[2]) or '0')
    if before * (1 - ARGV[1]) + now >= tonumber(ARGV[2]) then return 0 end
    redis.call('INCR', KEYS[2])
    redis.call('EXPIRE', KEYS[2], ARGV[3])
    return 1
    """

    async def take() -> bool:
        number, part = divmod(time.time() / seconds, 1)
        names = (f"counter:{number - 1:.0f}", f"counter:{number:.0f}")
        return await client.eval(script, 2, *names, part, limit, 2 * seconds) == 1

    return take


def limits_package(url: str, *, limit: int, seconds: int) -> Take:
    """What others made of the same idea."""
    from limits import RateLimitItemPerSecond
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import MovingWindowRateLimiter

    limiter = MovingWindowRateLimiter(RedisStorage(f"async+{url}", implementation="redispy"))
    item = RateLimitItemPerSecond(limit, seconds)
    return lambda: limiter.hit(item, "somebody")


NAIVE = {"fixed": fixed_window, "counter": sliding_counter, "limits": limits_package}


async def hammer(take: Take, begins: float, ends: float) -> list[tuple[int, int]]:
    """Ask as often as it goes; the instants around each request that was let pass."""
    passed = []
    await asyncio.sleep(begins - time.monotonic())
    while time.monotonic() < ends:
        before = time.monotonic_ns()
        if await take():
            passed.append((before, time.monotonic_ns()))
        else:
            await asyncio.sleep(BETWEEN_SECONDS)
    return passed


class Worker:
    """What this process is for now."""

    limiter: Limiter | None = None
    take: Take
    asked: Callable[[], Awaitable[Verdict]]

    async def be(self, kind: str, place: str, *, limit: int, seconds: int) -> None:
        if self.limiter is not None:
            await self.limiter.close()
            self.limiter = None
        folder, _, url = place.partition("|")
        if kind in NAIVE:
            self.take = NAIVE[kind](url, limit=limit, seconds=seconds)
            return
        self.limiter = Limiter(Path(folder), redis_url=url or None, instances=4, workers=1)
        self.asked = partial(self.limiter.take, "somebody", "read", (Window("read", limit, seconds),))
        self.take = self.passes

    async def passes(self) -> bool:
        return (await self.asked()).admitted


async def main() -> None:
    worker, reader = Worker(), asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        word, *words = line.decode().split()
        told: object = {}
        if word == "be":
            await worker.be(words[0], words[1], limit=int(words[2]), seconds=int(words[3]))
        elif word == "hammer":
            told = await hammer(worker.take, *map(float, words))
        else:
            told = {name.decode(): value.decode() for name, value in headers(await worker.asked())}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
