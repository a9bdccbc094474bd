"""Hears brokers' own programs on this machine; without them tests say what they could not judge, in CI they fail."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv" / "tools" / "sdks"
WITHIN_SECONDS = 30.0
Call = Sequence[object]


@dataclass
class Heard:
    """What came over sockets: whether it was binary, and its bytes."""

    url: str = ""
    messages: list[tuple[bool, bytes]] = field(default_factory=list)


@asynccontextmanager
async def listening() -> AsyncIterator[Heard]:
    """A socket on this machine that takes everything and answers nothing."""
    heard = Heard()

    async def take(request: web.Request) -> web.WebSocketResponse:
        there = web.WebSocketResponse()
        await there.prepare(request)
        async for message in there:
            if message.type is WSMsgType.BINARY:
                heard.messages.append((True, message.data))
            elif message.type is WSMsgType.TEXT:
                heard.messages.append((False, message.data.encode()))
        return there

    app = web.Application()
    app.router.add_get("/{rest:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    heard.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    yield heard
    await runner.cleanup()


async def said(
    broker: str,
    calls: Sequence[Call],
    *,
    count: int,
    folder: Path,
    beside: object = None,
    kinds: frozenset[int] | None = None,
) -> list[tuple[bool, bytes]]:
    """What a broker's own program sends for some calls: `count` messages, or those that come within half a minute.

    With `kinds` only messages whose third byte is one of them are counted.
    """
    if broker != "kite" and not FOLDER.is_dir():
        missing = "brokers' own programs are not installed (`make tools`): what they would send is not known"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    async with listening() as heard:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", str(Path(__file__).with_name("sdk.py")), broker, str(FOLDER), heard.url,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=folder,
        )  # fmt: skip
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None

        def counted() -> list[tuple[bool, bytes]]:
            return [one for one in heard.messages if kinds is None or one[1][2] in kinds]

        async def asked(text: str | None, answer: bytes) -> None:
            if text is not None:
                program.stdin.write(text.encode() + b"\n")
                await program.stdin.drain()
            line = await program.stdout.readline()
            assert line.strip() == answer, (await program.stderr.read()).decode()

        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                await asked(None if beside is None else json.dumps(beside), b"ready")
                for call in calls:
                    await asked(json.dumps(call), b"said")
                while len(counted()) < count:
                    await asyncio.sleep(0.01)
        finally:
            program.kill()
            await program.wait()
        return counted()
