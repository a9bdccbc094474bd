"""Every phase of a connection has a bound, asked over real sockets: slow, long and endless requests come to an end."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
import uvicorn

from instrument_registry.processes.connections import (
    HEAD_LIMIT_BYTES,
    HEADERS_MAX,
    URL_LIMIT_BYTES,
    BoundedConnection,
)

WITHIN_SECONDS = 20.0
HOST = b"Host: here\r\n"
HELLO = b"GET /hello HTTP/1.1\r\n" + HOST + b"\r\n"


class Hasty(BoundedConnection):
    """The same with shorter waits."""

    most = 5
    head_within_seconds = 0.4
    unread_seconds = 0.5


async def app(scope: dict, receive: Callable[[], Awaitable[dict]], send: Callable[[dict], Awaitable[None]]) -> None:
    """Says hello, after a while where that is asked, or more than anybody reads."""
    if scope["path"] == "/late":
        await asyncio.sleep(3 * Hasty.head_within_seconds)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(2000 if scope["path"] == "/flood" else 1):
        await send({"type": "http.response.body", "body": b"hello" * 10_000, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


Caller = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[[], Awaitable[Caller]]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(app, port=0, http=Hasty, ws="none", lifespan="off", log_config=None, access_log=False)
    one = uvicorn.Server(config)
    config.load()
    one.lifespan = config.lifespan_class(config)
    await one.startup()
    yield one
    for connection in list(one.server_state.connections):
        connection.transport.abort()
    one.servers[0].close()


@pytest_asyncio.fixture
async def opened(server: uvicorn.Server) -> AsyncIterator[Open]:
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> Caller:
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        writers.append(writer)
        return reader, writer

    yield connect
    for writer in writers:
        writer.close()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server hangs up."""
    async with asyncio.timeout(WITHIN_SECONDS):
        return await reader.read()


def problem(said: bytes) -> dict:
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return json.loads(body)


async def test_a_head_that_drips_is_ended(opened: Open) -> None:
    reader, writer = await opened()
    ended = asyncio.create_task(rest(reader))

    writer.write(b"GET /hello HTTP/1.1\r\n" + HOST)
    for number in range(1000):
        if ended.done():
            break
        writer.write(b"X-%d: y\r\n" % number if number < 50 else b"")
        await asyncio.sleep(0.02)

    assert problem(await ended)["status"] == 408


@pytest.mark.parametrize("drip", [b"", b"\r\n"])
async def test_who_connects_and_says_nothing_is_ended(opened: Open, drip: bytes) -> None:
    reader, writer = await opened()
    ended = asyncio.create_task(rest(reader))

    while not ended.done():
        writer.write(drip)
        await asyncio.sleep(0.02)

    assert problem(await ended)["status"] == 408


async def test_empty_lines_after_an_answer_do_not_keep_a_connection(opened: Open) -> None:
    reader, writer = await opened()
    writer.write(HELLO)
    await reader.readuntil(b"\r\n0\r\n\r\n")
    ended = asyncio.create_task(rest(reader))

    while not ended.done():
        writer.write(b"\r\n")
        await asyncio.sleep(0.02)

    assert problem(await ended)["status"] == 408


async def test_who_waits_long_for_an_answer_gets_it_and_may_ask_again(opened: Open) -> None:
    reader, writer = await opened()

    writer.write(b"GET /late HTTP/1.1\r\n" + HOST + b"\r\n")
    first = await reader.readuntil(b"\r\n0\r\n\r\n")
    await asyncio.sleep(2 * Hasty.head_within_seconds)  # idle between two requests, which is another bound
    writer.write(HELLO)
    second = await reader.readuntil(b"\r\n0\r\n\r\n")

    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * URL_LIMIT_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /" + b"a" * (URL_LIMIT_BYTES + 1), 414),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (HEADERS_MAX + 1) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * HEAD_LIMIT_BYTES + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * (HEAD_LIMIT_BYTES + 1), 431),
        (b"GET / HTTP/1.1\r\nA" + b"b" * (HEAD_LIMIT_BYTES + 1), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
    ids=["url", "endless url", "headers", "header", "endless header", "endless name", "tls"],
)
async def test_what_is_too_long_is_told_so(opened: Open, sent: bytes, status: int) -> None:
    reader, writer = await opened()

    writer.write(sent)

    assert problem(await rest(reader))["status"] == status


async def test_what_is_just_not_too_long_is_answered(opened: Open) -> None:
    reader, writer = await opened()

    writer.write(b"GET /" + b"a" * (URL_LIMIT_BYTES - 1) + b" HTTP/1.1\r\n" + b"A: b\r\n" * HEADERS_MAX + b"\r\n")

    assert (await reader.readuntil(b"\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_an_answer_that_nobody_reads_is_ended(opened: Open, server: uvicorn.Server) -> None:
    _, writer = await opened()

    writer.write(b"GET /flood HTTP/1.1\r\n" + HOST + b"\r\n")
    writer.transport.pause_reading()
    async with asyncio.timeout(WITHIN_SECONDS):
        while server.server_state.total_requests == 0 and not server.server_state.connections:
            await asyncio.sleep(0.01)
        while server.server_state.connections or server.server_state.tasks:
            await asyncio.sleep(0.01)

    assert server.server_state.tasks == set()


async def test_one_connection_more_than_there_may_be_is_sent_away(opened: Open) -> None:
    kept = [await opened() for _ in range(Hasty.most)]
    for reader, writer in kept:
        writer.write(HELLO)
        await reader.readuntil(b"\r\n0\r\n\r\n")

    reader, _ = await opened()

    assert problem(await rest(reader))["status"] == 503
