"""The processes of an account's connections: each holds one, is told what to carry, and says how it is."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from instrument_registry.ticker.protocol import Item, Line, Order, Said, Start, Token, modes_of, stepped

ANSWER_SECONDS = 10.0
BEATS_SECONDS = 3.0  # a process of which nothing was heard for so long says nothing of its connection
AGAIN_SECONDS = 1.0
LINE_BYTES_MAX = 16 * 1024 * 1024
MODES, BEGINS_AS = ("ltp", "quote", "full"), "quote"
PROGRAMS = {"kite": "instrument_registry.ticker.kite"}

log = structlog.get_logger("ticker")
Clock = Callable[[], float]


@dataclass(slots=True)
class Socket:
    """One connection: what it is to carry, its process, and what that said last."""

    name: str
    broker: str
    start: Start
    table: dict[Token, Item] = field(default_factory=dict)
    most: int = 1  # instruments in one message, as many as the registry has put into one
    open: bool = False
    heard_at: float = 0.0
    ticks: dict[str, tuple[float, float]] = field(default_factory=dict)
    digest: str = ""
    _process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None
    _number: int = 0
    _answers: dict[int, asyncio.Future[str]] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.returncode is None

    def alive(self, now: float) -> bool:
        """Whether its socket is open, as far as was heard lately."""
        return self.runs and self.open and now - self.heard_at < BEATS_SECONDS

    async def take(self, line: Line) -> str:
        """Carry what a snapshot or a step says; the digest of what it carries then."""
        begun = self.runs
        self.most = max([self.most, *(one.instruments for one in line.frames)])
        stepped(self.table, line.kind, line.items)
        if not begun:
            if not self.table:
                return ""
            await self.begin()
            if line.kind != "snapshot":
                return await self._order("snapshot", list(self.table.values()), _subscribing(self.table, self.most))
        return await self._order(line.kind, line.items, [one.text for one in line.frames if one.text is not None])

    async def begin(self) -> None:
        """Start its process, which opens the socket and goes on trying."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", PROGRAMS[self.broker],
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            limit=LINE_BYTES_MAX,
        )  # fmt: skip
        self.open, self.digest = False, ""
        self._send(self.start)
        self._reading = asyncio.create_task(self._read(self._process))

    async def begin_again(self) -> None:
        """Start a process anew that has died, and let it carry what it did."""
        log.warning("ticker.process_died", connection=self.name)
        await self.begin()
        await self._order("snapshot", list(self.table.values()), _subscribing(self.table, self.most))

    async def end(self) -> None:
        """Close the socket and end the process."""
        process, self._process, self.open = self._process, None, False
        if process is not None and process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._reading is not None:
            self._reading.cancel()

    def take_ticks(self) -> dict[str, tuple[float, float]]:
        """What has ticked since the last time."""
        ticks, self.ticks = self.ticks, {}
        return ticks

    async def _order(self, act: str, items: Sequence[Item], frames: list[str]) -> str:
        self._number += 1
        number, answer = self._number, asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        told = [(one.segment, one.token, one.mode) for one in items]
        self._send(Order(number=number, act=act, items=told, frames=frames))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self.digest = await answer
        except TimeoutError:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()  # it hangs; another takes its place
            raise
        return self.digest

    def _send(self, said: msgspec.Struct) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(msgspec.json.encode(said) + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        loop = asyncio.get_running_loop()
        assert process.stdout is not None
        async for line in process.stdout:
            said = msgspec.json.decode(line, type=Said)
            self.heard_at = loop.time()
            if said.open is not None:
                if said.open is not self.open:
                    log.info("ticker.socket", connection=self.name, open=said.open, problem=said.problem)
                self.open = said.open
            self.ticks.update(said.ticks)
            if said.number is not None and said.digest is not None:
                answer = self._answers.pop(said.number, None)
                if answer is not None and not answer.done():
                    answer.set_result(said.digest)


def _subscribing(table: dict[Token, Item], most: int) -> list[str]:
    """The messages that bring an empty connection to a table, for Kite: whoever is subscribed begins as a quote."""
    tokens = {mode: [int(token) for (_, token), one in modes_of(table).items() if one == mode] for mode in MODES}
    everybody = [token for each in tokens.values() for token in each]
    messages: list[dict[str, object]] = [{"a": "subscribe", "v": some} for some in _cut(everybody, most)]
    for mode in MODES:
        if mode != BEGINS_AS:
            messages += [{"a": "mode", "v": [mode, some]} for some in _cut(tokens[mode], most)]
    return [msgspec.json.encode(one).decode() for one in messages]


def _cut(tokens: list[int], most: int) -> list[list[int]]:
    return [tokens[start : start + most] for start in range(0, len(tokens), most)]
