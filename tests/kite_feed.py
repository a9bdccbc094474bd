"""A mock of Kite's socket on this machine, as strict as the real one: KiteTicker cannot tell it from there.

It takes three sockets a key and refuses a fourth with 429, takes 3,000 tokens a socket and closes one that wants more,
counts messages, and can kill a socket and refuse it from then on.
"""

import asyncio
import json
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

TOKENS_MAX, SOCKETS_MAX = 3000, 3
TICK_SECONDS = 0.5
MODES = ("ltp", "quote", "full")


@dataclass(eq=False)
class FedSocket:
    """One socket: its key, what it is subscribed to, and what came over it."""

    key: str
    there: web.WebSocketResponse
    tokens: dict[int, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


@dataclass
class KiteFeed:
    """What the feed sees of everybody."""

    url: str = ""
    sockets: list[FedSocket] = field(default_factory=list)  # that are open
    refused: Counter[str] = field(default_factory=Counter)  # 429, by key
    too_many: int = 0  # sockets closed because they wanted too much
    strange: list[str] = field(default_factory=list)
    largest: int = 0  # tokens in one message
    messages: int = 0
    ticked: Counter[int] = field(default_factory=Counter)
    sockets_max: dict[str, int] = field(default_factory=dict)  # by key, where it is another number

    def carried(self, key: str | None = None) -> Counter[int]:
        """How often each token is carried, by all sockets or by those of a key."""
        return Counter(token for one in self.sockets if key in (None, one.key) for token in one.tokens)

    async def kill(self, socket: FedSocket, *, for_good: bool) -> None:
        """End a socket as a cut line does; for good: its key has one socket less from then on."""
        if for_good:
            self.sockets_max[socket.key] = self.sockets_max.get(socket.key, SOCKETS_MAX) - 1
        if socket.there._req is not None and socket.there._req.transport is not None:
            socket.there._req.transport.abort()

    def heard(self, socket: FedSocket, text: str) -> bool:
        """Take a message; whether the socket may stay."""
        self.messages += 1
        socket.messages.append(text)
        said = json.loads(text)
        act, value = said.get("a"), said.get("v")
        mode = "quote"
        if act == "mode":
            mode, value = value
        if act not in ("subscribe", "unsubscribe", "mode") or mode not in MODES:
            self.strange.append(text)
            return True
        self.largest = max(self.largest, len(value))
        for token in value:
            if act == "unsubscribe":
                socket.tokens.pop(token, None)
            elif act == "mode" or token not in socket.tokens:
                socket.tokens[token] = mode
        if len(socket.tokens) > TOKENS_MAX:
            self.too_many += 1
            return False
        return True


def ticks(tokens: list[int], price: int) -> bytes:
    """Prices as Kite sends them in the mode ltp."""
    packets = b"".join(struct.pack("!HIi", 8, token, price) for token in tokens)
    return struct.pack("!H", len(tokens)) + packets


@asynccontextmanager
async def feeding() -> AsyncIterator[KiteFeed]:
    """A feed that ticks every token it carries twice a second."""
    feed = KiteFeed()

    async def take(request: web.Request) -> web.StreamResponse:
        key = request.query["api_key"]
        most = feed.sockets_max.get(key, SOCKETS_MAX)
        if sum(one.key == key for one in feed.sockets) >= most or not request.query.get("access_token"):
            feed.refused[key] += 1
            return web.Response(status=429)
        there = web.WebSocketResponse(autoping=True, max_msg_size=0)
        await there.prepare(request)
        socket = FedSocket(key, there)
        feed.sockets.append(socket)
        try:
            async for message in there:
                if message.type is WSMsgType.TEXT and not feed.heard(socket, message.data):
                    break
        finally:
            feed.sockets.remove(socket)
        return there

    async def tick() -> None:
        price = 10_000
        while True:
            await asyncio.sleep(TICK_SECONDS)
            price += 5
            for socket in list(feed.sockets):
                if socket.tokens and not socket.there.closed:
                    try:
                        await socket.there.send_bytes(ticks(list(socket.tokens), price))
                    except ConnectionError:
                        continue
                    feed.ticked.update(list(socket.tokens))

    app = web.Application()
    app.router.add_get("/", take)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    feed.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    ticking = asyncio.create_task(tick())
    try:
        yield feed
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        await runner.cleanup()
