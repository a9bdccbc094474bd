"""The ticker's follower, against a registry of a few lines: order, waiting, snapshots, who else follows."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

import pytest

from instrument_registry.errors import Conflict, Gone, Unavailable
from instrument_registry.ticker import following
from instrument_registry.ticker.following import Follower
from instrument_registry.ticker.protocol import Acknowledged, After, Item, Lease, Line, Start, digest_of
from instrument_registry.ticker.sockets import Socket


class Registry:
    """In the place of the door: answers from lists, and keeps what it is told."""

    def __init__(self, *streams: list[Line | Exception]) -> None:
        self.streams, self.asked = list(streams), list[str]()
        self.acknowledged: list[tuple[int, dict[str, str]]] = []
        self.elsewhere: list[int] = []  # how far another account has come, each time it is asked
        self.resync: list[str] = []
        self.reported: list[dict[str, Mapping[str, str]]] = []
        self.refuses: Exception | None = None
        self.left: list[int] = []

    async def lease(self, holder: str) -> Lease:
        return Lease(epoch=7)

    async def leave(self, epoch: int) -> None:
        self.left.append(epoch)

    async def lost(self) -> set[str]:
        return set()

    async def lines(self, start: str) -> AsyncGenerator[Line, None]:
        self.asked.append(start)
        if not self.streams:
            await asyncio.Event().wait()
        for line in self.streams.pop(0):
            if isinstance(line, Exception):
                raise line
            yield line

    async def acknowledge(self, *, epoch: int, position: int, carries: Mapping[str, str]) -> Acknowledged:
        if self.refuses is not None:
            raise self.refuses
        self.acknowledged.append((position, dict(carries)))
        resync, self.resync = self.resync, []
        return Acknowledged(resync=resync, head=position)

    async def position_of(self, account: str) -> int:
        return self.elsewhere.pop(0)

    async def underlyings(self) -> set[str]:
        return set()

    async def report(self, *, epoch: int, connections: dict[str, Mapping[str, str]], ticks: Mapping[str, str]) -> None:
        self.reported.append(connections)


class Carrying(Socket):
    """A connection without a process."""

    @property
    def runs(self) -> bool:
        return True

    async def _order(self, act: str, items: object, frames: list[str]) -> str:
        return digest_of({name: item.mode for name, item in self.table.items()})

    async def end(self) -> None:
        """It holds nothing."""


def line(kind: str, position: int, *tokens: int, after: After | None = None) -> Line:
    items = [Item(segment="NSE", token=str(token), mode="ltp") for token in tokens]
    return Line(kind=kind, position=position, connection="A-0", items=items, after=after)


def digest(*tokens: int) -> str:
    return digest_of({("NSE", str(token)): "ltp" for token in tokens})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "Socket", Carrying)
    monkeypatch.setattr(following, "AFTER_ASKED_SECONDS", 0.001)
    monkeypatch.setattr(following, "AFTER_SECONDS", 0.2)


async def followed(registry: Registry, *, until: int) -> Follower:
    """A follower once that many streams were asked for and what they brought is carried out."""
    start = Start(api_key="k", access_token="t")
    one = Follower(registry, account="A", broker="kite", holder="me", start=start)  # type: ignore[arg-type]
    work = asyncio.create_task(one.run())
    async with asyncio.timeout(10):
        while len(registry.asked) < until and not work.done():
            await asyncio.sleep(0.005)
    if work.done():
        await work
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return one


@pytest.mark.usefixtures("quick")
class TestFollowing:
    async def test_goes_on_after_the_last_step_it_took(self) -> None:
        registry = Registry([line("snapshot", 4, 1, 2), line("remove", 5, 1), Unavailable("away")], [line("add", 6, 3)])
        await followed(registry, until=3)

        assert registry.asked == ["snapshot", "5", "6"]
        assert registry.acknowledged[-1] == (6, {"A-0": digest(2, 3)})
        assert registry.left == [7]

    async def test_begins_with_a_snapshot_when_it_carries_something_else_or_steps_are_gone(self) -> None:
        registry = Registry([line("snapshot", 4, 1)], [Gone("forgotten")], [line("snapshot", 9, 2)])
        registry.resync = ["A-0"]
        await followed(registry, until=4)

        assert registry.asked[:3] == ["snapshot", "snapshot", "snapshot"]
        assert registry.acknowledged[-1] == (9, {"A-0": digest(2)})

    async def test_breaks_when_it_is_made_elsewhere(self) -> None:
        registry = Registry([line("snapshot", 1, 1), line("remove", 2, 1, after=After(account="B", position=3))])
        registry.elsewhere = [1, 2, 3]
        await followed(registry, until=2)

        assert registry.elsewhere == []
        assert registry.acknowledged[-1] == (2, {"A-0": digest()})

    async def test_breaks_after_a_while_all_the_same(self) -> None:
        registry = Registry([line("snapshot", 1, 1), line("remove", 2, 1, after=After(account="B", position=3))])
        registry.elsewhere = [0] * 100_000
        await followed(registry, until=2)

        assert registry.acknowledged[-1] == (2, {"A-0": digest()})

    async def test_stops_when_another_ticker_has_the_account(self) -> None:
        registry = Registry([line("snapshot", 1, 1)])
        registry.refuses = Conflict("A is at epoch 8; you said 7")

        with pytest.raises(Conflict, match="epoch 8"):
            await followed(registry, until=2)

    async def test_says_nothing_of_a_connection_that_is_not_open(self) -> None:
        registry = Registry([line("snapshot", 1, 1)])
        await followed(registry, until=2)

        assert set(map(str, registry.reported)) <= {"{}"}
