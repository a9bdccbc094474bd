"""The reference ticker: a process a connection drives the unmodified KiteTicker, on a feed as strict as Kite's."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from instrument_registry.subscriptions.frames import CODECS, Act, Operation, ordered
from instrument_registry.subscriptions.planner import Mode
from instrument_registry.ticker.protocol import Frame, Item, Line, Start, digest_of
from instrument_registry.ticker.sockets import Socket
from kite_feed import KiteFeed, feeding

WITHIN_SECONDS = 20.0


@pytest_asyncio.fixture
async def feed() -> AsyncIterator[KiteFeed]:
    async with feeding() as one:
        yield one


@pytest_asyncio.fixture
async def connection(feed: KiteFeed) -> AsyncIterator[Socket]:
    one = Socket("K-0", "kite", Start(api_key="key", access_token="token", feed=feed.url))
    yield one
    await one.end()


async def until(happens: Callable[[], bool], within_seconds: float = WITHIN_SECONDS) -> None:
    async with asyncio.timeout(within_seconds):
        while not happens():
            await asyncio.sleep(0.02)


def line(kind: str, *wanted: tuple[int, str], before: str | None = None) -> Line:
    act = Act.ADD if kind == "snapshot" else Act(kind)
    operations = [
        Operation(
            act=act, token=str(token), segment="NSE", mode=Mode[mode.upper()],
            before=None if act is Act.ADD else Mode[(before or mode).upper()],
        )
        for token, mode in wanted
    ]  # fmt: skip
    frames = [Frame(text=one.payload.decode()) for one in CODECS["kite"](ordered(operations), 3000)]
    items = [Item(segment="NSE", token=str(token), mode=mode) for token, mode in wanted]
    return Line(kind=kind, position=1, connection="K-0", items=items, frames=frames)


def digest(*carried: tuple[int, str]) -> str:
    return digest_of({("NSE", str(token)): mode for token, mode in carried})


async def test_a_connection_carries_steps_and_comes_back_with_all_of_them(feed: KiteFeed, connection: Socket) -> None:
    told = [
        await connection.take(line("snapshot", (1, "quote"), (2, "full"), (3, "ltp"))),
        await connection.take(line("mode", (3, "full"), before="ltp")),
        await connection.take(line("remove", (1, "quote"))),
        await connection.take(line("add", (4, "ltp"))),
    ]
    await until(lambda: bool(feed.sockets) and feed.sockets[0].tokens == {2: "full", 3: "full", 4: "ltp"})
    (first,) = feed.sockets
    await feed.kill(first, for_good=False)
    await until(lambda: bool(feed.sockets) and feed.sockets[0] is not first)
    await until(lambda: feed.sockets[0].tokens == {2: "full", 3: "full", 4: "ltp"})
    await until(lambda: {"2", "3", "4"} <= connection.ticks.keys())

    assert told == [
        digest((1, "quote"), (2, "full"), (3, "ltp")), digest((1, "quote"), (2, "full"), (3, "full")),
        digest((2, "full"), (3, "full")), digest((2, "full"), (3, "full"), (4, "ltp")),
    ]  # fmt: skip
    assert feed.strange == []


async def test_a_snapshot_leaves_alone_what_is_right_already(feed: KiteFeed, connection: Socket) -> None:
    await connection.take(line("snapshot", (1, "quote"), (2, "full")))
    await until(lambda: bool(feed.sockets) and feed.sockets[0].tokens == {1: "quote", 2: "full"})
    before = len(feed.sockets[0].messages)
    same = await connection.take(line("snapshot", (1, "quote"), (2, "full")))
    other = await connection.take(line("snapshot", (2, "full"), (3, "quote")))
    await until(lambda: feed.sockets[0].tokens == {2: "full", 3: "quote"})

    assert same == digest((1, "quote"), (2, "full"))
    assert other == digest((2, "full"), (3, "quote"))
    assert feed.sockets[0].messages[before:] == ['{"a": "unsubscribe", "v": [1]}', '{"a": "subscribe", "v": [3]}']


async def test_the_feed_refuses_a_fourth_socket_of_a_key_and_one_token_too_many(feed: KiteFeed) -> None:
    start = Start(api_key="key", access_token="token", feed=feed.url)
    sockets = [Socket(f"K-{number}", "kite", start) for number in range(4)]
    for number, one in enumerate(sockets):
        await one.take(line("snapshot", (number + 1, "ltp")))
    await until(lambda: feed.refused["key"] > 0 and len(feed.sockets) == 3)
    await sockets[0].take(line("add", *((token, "ltp") for token in range(100, 3100))))
    await until(lambda: feed.too_many > 0)
    for one in sockets:
        await one.end()
