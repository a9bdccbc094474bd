"""From demand to ticks: 9,000 instruments on two Kite accounts, six sockets, one of them cut for good."""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from desk import HEADER
from instrument_registry.cli.client import Client, connect
from journeys.test_serve import Serving
from kite_feed import KiteFeed, feeding

pytestmark = pytest.mark.serial

COUNT = 9_000
FIRST = 1_000
ROOM = 1_800
ACCOUNTS = ("east", "west")
LOST_AFTER_SECONDS, ELSEWHERE_WITHIN = 5.0, timedelta(seconds=2)


def token(number: int) -> int:
    return (FIRST + number) * 256 + 1


def dump() -> str:
    rows = [
        f"{token(number)},{FIRST + number},S{number:05},NAME {number},0,,0,0.05,1,EQ,NSE,NSE" for number in range(COUNT)
    ]
    return "\n".join([HEADER, *rows]) + "\n"


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    for folder in (tmp_path, *tmp_path.parents):  # as root the server runs as nobody, who has to pass
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)
    one = Serving(tmp_path / "data", workers=1)
    one.start()
    yield one
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in one.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    one.process.wait()


@pytest_asyncio.fixture
async def feed() -> AsyncIterator[KiteFeed]:
    async with feeding() as one:
        yield one


def asking(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("INSTRUMENT_REGISTRY_DATA_DIR", serving.environment["INSTRUMENT_REGISTRY_DATA_DIR"])
    return connect(None, None)


def prepared(serving: Serving, client: Client, folder: Path, *, count: int = COUNT) -> None:
    """Instruments, two accounts with their secrets, and a demand for the first of them."""
    (folder / "kite_NSE.csv").write_text(dump(), encoding="utf-8")
    done = serving.run("ingest", "zerodha", str(folder / "kite_NSE.csv"))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ACCOUNTS:
        figures = {"connection_total": {"value": ROOM, "source": "so that six are needed, and five are enough"}}
        account = {"broker": "kite", "key": name, "figures": figures, "reason": "trial"}
        client.put(f"/subscriptions/capacity/{name}", account)
        credentials = json.dumps({"api_key": name, "access_token": "T0KEN"})
        client.put(f"/secrets/KITE_{name.upper()}", {"value": credentials, "reason": "trial"})
    for start in range(0, count, 3000):
        demand(client, range(start, min(count, start + 3000)), owner=f"s{start}")


def demand(client: Client, numbers: Iterable[int], *, owner: str = "s0") -> None:
    """Let an owner want exactly these."""
    wanted = [{"instrument": f"NSE:S{number:05}", "mode": "ltp"} for number in numbers]
    client.put(f"/subscriptions/demands/strategy/{owner}", {"user_id": "desk", "instruments": wanted})


def own_key(serving: Serving) -> str:
    """One of an operator that may read the accounts' credentials and no other secret."""
    made = serving.run("keys", "create", "ticker", "--scope", "operator", "--json")
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    names = [f"KITE_{name.upper()}" for name in ACCOUNTS]
    granted = serving.run("keys", "grant", key["id"], *names, "--reason", "trial")
    assert granted.returncode == 0, granted.stderr
    return key["key"]


def ticker(serving: Serving, account: str, feed: KiteFeed, key: str) -> "subprocess.Popen[bytes]":
    command = [
        sys.executable, "-m", "instrument_registry", "ticker", "--account", account, "--feed", feed.url, "--secret",
        f"KITE_{account.upper()}",
    ]  # fmt: skip
    environment = serving.environment | {"INSTRUMENT_REGISTRY_KEY": key, "INSTRUMENT_REGISTRY_URL": serving.url}
    with serving.said.open("ab") as output:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def refused(serving: Serving, feed: KiteFeed, key: str) -> str:
    """What a second ticker says when it ends."""
    done = serving.run(
        "ticker", "--account", "east", "--feed", feed.url, "--secret", "KITE_EAST", "--holder", "another", "--url",
        serving.url, "--key", key,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    return done.stderr


def connections(client: Client, account: str) -> list[dict]:
    return json.loads(client.get(f"/subscriptions/capacity/{account}/health"))["connections"]


def positions(client: Client) -> dict[str, int]:
    return {name: one["head"] for name, one in json.loads(client.get("/subscriptions/acks"))["accounts"].items()}


def converged(client: Client) -> bool:
    return json.loads(client.get("/subscriptions/acks"))["converged"]


async def until(happens: Callable[[], bool], within_seconds: float) -> None:
    async with asyncio.timeout(within_seconds):
        while not happens():
            await asyncio.sleep(0.02)


async def test_every_instrument_ticks_and_those_of_a_cut_socket_come_by_another(
    serving: Serving, feed: KiteFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = asking(serving, monkeypatch)
    await asyncio.to_thread(prepared, serving, client, tmp_path)
    everybody = {token(number) for number in range(COUNT)}
    own = await asyncio.to_thread(own_key, serving)
    tickers = [ticker(serving, name, feed, own) for name in ACCOUNTS]
    try:
        await until(lambda: feed.carried().keys() == everybody and len(feed.sockets) == 6, 60)
        await until(lambda: feed.ticked.keys() == everybody, 10)
        brief, heads = feed.sockets[-1], positions(client)
        await feed.kill(brief, for_good=False)
        await until(lambda: brief not in feed.sockets, 5)
        await until(lambda: feed.carried().keys() == everybody, 4)
        unmoved = positions(client) == heads
        cut = feed.sockets[0]
        others, gone = feed.sockets[1:], set(cut.tokens)
        before = [len(one.messages) for one in others]
        await feed.kill(cut, for_good=True)
        await until(lambda: cut not in feed.sockets, 5)
        await until(lambda: feed.carried().keys() == everybody, 30)
        there = datetime.now(UTC)
        lost = [one for name in ACCOUNTS for one in connections(client, name) if one["health"] == "lost"]
        await until(lambda: converged(client), 30)
        removed = [
            text for one, seen in zip(others, before, strict=True) for text in one.messages[seen:] if "unsub" in text
        ]
        second = await asyncio.to_thread(refused, serving, feed, own)
        tickers[1].kill()
        await asyncio.to_thread(tickers[1].wait)
        await until(lambda: {one.key for one in feed.sockets} == {"east"}, 10)
        tickers[1] = ticker(serving, "west", feed, own)
        await until(lambda: feed.carried().keys() == everybody, 30)
        await until(lambda: converged(client), 30)

        assert unmoved
        assert len(lost) == 1
        assert there - datetime.fromisoformat(lost[0]["since"]) < ELSEWHERE_WITHIN
        assert len(gone) > 1000
        assert removed == []
        assert max(feed.carried().values()) == 1
        assert feed.largest <= ROOM
        assert (feed.too_many, feed.strange) == (0, [])
        assert "is followed by" in second
    finally:
        for one in tickers:
            one.terminate()
        for one in tickers:
            await asyncio.to_thread(one.wait, 30)
    assert feed.sockets == []


async def test_a_registry_that_is_killed_and_its_ticker_agree_afterwards(
    serving: Serving, feed: KiteFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = asking(serving, monkeypatch)
    await asyncio.to_thread(prepared, serving, client, tmp_path, count=300)
    client.post("/actuator/config", {"SUBSCRIPTION_LINGER": 0, "PLANNER_HOLD_DROPS_PERCENT": 100})
    own = await asyncio.to_thread(own_key, serving)
    tickers = [ticker(serving, name, feed, own) for name in ACCOUNTS]
    try:
        await until(lambda: feed.carried().keys() == {token(number) for number in range(300)}, 60)
        sockets, seen = list(feed.sockets), [len(one.messages) for one in feed.sockets]
        for process in serving.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        await asyncio.to_thread(serving.process.wait)
        await asyncio.sleep(LOST_AFTER_SECONDS)
        await asyncio.to_thread(serving.start)
        client = asking(serving, monkeypatch)
        await until(lambda: converged(client), 60)
        untouched = [len(one.messages) for one in sockets] == seen
        demand(client, range(100, 400))
        await until(lambda: feed.carried().keys() == {token(number) for number in range(100, 400)}, 30)
        await until(lambda: converged(client), 30)
        told = json.loads(client.get("/events", event_types=["connection.changed"], limit=100))["events"]

        assert untouched
        assert "lost" not in {one["data"]["new"] for one in told}
        assert max(feed.carried().values()) == 1
    finally:
        for one in tickers:
            one.terminate()
        for one in tickers:
            await asyncio.to_thread(one.wait, 30)


@pytest.mark.nemesis
@pytest.mark.timeout(1800)
async def test_a_registry_that_is_killed_twenty_times_while_it_applies_agrees_with_its_ticker_each_time(
    serving: Serving, feed: KiteFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, wide = random.Random(20), 2_500
    client = asking(serving, monkeypatch)
    await asyncio.to_thread(prepared, serving, client, tmp_path, count=wide)
    client.post(
        "/actuator/config",
        {"SUBSCRIPTION_LINGER": 0, "PLANNER_HOLD_DROPS_PERCENT": 100, "PLANNER_HOLD_MOVES_PERCENT": 100},
    )
    own = await asyncio.to_thread(own_key, serving)
    tickers = [ticker(serving, name, feed, own) for name in ACCOUNTS]
    try:
        await until(lambda: feed.carried().keys() == {token(number) for number in range(wide)}, 60)
        heads, asked = positions(client), time.monotonic()
        demand(client, range(500, 500 + wide))
        await until(lambda: positions(client) != heads, 30)
        takes = time.monotonic() - asked
        for turn in range(20):
            first = (turn % 2) * 1_000
            wanted = {token(number) for number in range(first, first + wide)}
            await until(lambda: converged(client), 60)  # noqa: B023
            heads = positions(client)
            demand(client, range(first, first + wide))
            await asyncio.sleep(chance.uniform(0.5, 1.1) * takes)
            if turn % 3 == 2:  # only who applies
                serving.children("worker")[0].kill()
            else:
                for process in serving.family():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                await asyncio.to_thread(serving.process.wait)
                await asyncio.to_thread(serving.start)
                client = asking(serving, monkeypatch)
            await until(lambda: feed.carried().keys() == wanted, 60)  # noqa: B023
            await until(lambda: converged(client), 60)  # noqa: B023
            assert positions(client) != heads
            assert max(feed.carried().values()) == 1
            assert (feed.too_many, feed.strange) == (0, [])
        print(f"\n20 kills around an apply that takes {takes:.2f} s")
    finally:
        for one in tickers:
            one.terminate()
        for one in tickers:
            await asyncio.to_thread(one.wait, 30)
