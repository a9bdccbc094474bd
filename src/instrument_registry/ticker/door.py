"""The registry, asked over HTTP by a ticker."""

import ssl
from collections.abc import AsyncGenerator, Mapping
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from instrument_registry.consumer.protocol import CONNECT_SECONDS, PREFIX, headers, refusal
from instrument_registry.errors import Unavailable
from instrument_registry.ticker.protocol import Acknowledged, Lease, Line

ROOM = f"{PREFIX}/subscriptions"
SECRETS = "/api/v1/secrets"
SILENCE_SECONDS = 15.0  # a stream says something every five
ANSWER_SECONDS = 10.0
LADDERS_MAX = PRICES_AT_ONCE_MAX = 1_000
LINE_BYTES_MAX = 16 * 1024 * 1024
BROKEN = (OSError, aiohttp.ClientError, TimeoutError, ValueError)  # a line without an end is a ValueError

Answer = TypeVar("Answer")


class _Value(msgspec.Struct):
    value: str


class _Account(msgspec.Struct):
    position: int | None = None


class _Convergence(msgspec.Struct):
    accounts: dict[str, _Account] = {}


class _Connection(msgspec.Struct):
    connection: str
    health: str | None = None


class _Health(msgspec.Struct):
    connections: list[_Connection]


class _Ladder(msgspec.Struct):
    underlying: str | None = None


class _Ladders(msgspec.Struct):
    ladders: list[_Ladder]


class Door:
    """One account at one registry; open as long as it is entered."""

    def __init__(self, url: str, key: str, account: str, *, trust: ssl.SSLContext | None = None) -> None:
        self._url, self._key, self._account = url.rstrip("/"), key, account
        self._trust = trust

    async def __aenter__(self) -> "Door":
        connector = aiohttp.TCPConnector(ssl=self._trust) if self._trust is not None else aiohttp.TCPConnector()
        timeout = aiohttp.ClientTimeout(connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, read_bufsize=LINE_BYTES_MAX, trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def secret(self, name: str) -> str:
        """The value of a secret; Raises: what the registry refused, Unavailable."""
        return (await self._asked("GET", f"{SECRETS}/{quote(name, safe='')}/value", _Value)).value

    async def lease(self, holder: str) -> Lease:
        """Follow the account from now on, or go on following it; Raises: Conflict while somebody else does."""
        return await self._asked("POST", f"{ROOM}/leases/{self._name}", Lease, {"holder": holder})

    async def leave(self, epoch: int) -> None:
        """Let others follow it at once."""
        await self._asked("DELETE", f"{ROOM}/leases/{self._name}?epoch={epoch}", None)

    async def lines(self, start: str) -> AsyncGenerator[Line, None]:
        """Snapshots and steps as they come, after a position or from `snapshot`; Raises: as everything here."""
        path = f"{self._url}{ROOM}/deltas?account={self._name}&from={start}"
        sent = headers(self._key, accept="application/x-ndjson")
        async with self._session.get(path, headers=sent, allow_redirects=False) as answer:
            if answer.status >= 300:
                raise refusal(answer.status, await answer.read())
            async for line in answer.content:
                yield msgspec.json.decode(line, type=Line)

    async def acknowledge(self, *, epoch: int, position: int, carries: Mapping[str, str]) -> Acknowledged:
        """Say how far we have come; Raises: Conflict when another ticker follows the account."""
        body = {"account": self._account, "epoch": epoch, "position": position, "connections": dict(carries)}
        return await self._asked("POST", f"{ROOM}/acks", Acknowledged, body)

    async def position_of(self, account: str) -> int:
        """How far the ticker of another account has come."""
        known = (await self._asked("GET", f"{ROOM}/acks", _Convergence)).accounts.get(account)
        return 0 if known is None or known.position is None else known.position

    async def lost(self) -> set[str]:
        """The connections of ours that count as lost."""
        told = await self._asked("GET", f"{ROOM}/capacity/{self._name}/health", _Health)
        return {one.connection for one in told.connections if one.health == "lost"}

    async def report(
        self, *, epoch: int, connections: Mapping[str, Mapping[str, str]], ticks: Mapping[str, str]
    ) -> None:
        """Say how connections are, and when instruments ticked last."""
        body = {"epoch": epoch, "connections": dict(connections), "ticks": dict(ticks)}
        await self._asked("POST", f"{ROOM}/capacity/{self._name}/health", None, body)

    async def underlyings(self) -> set[str]:
        """Whose prices ladders wait for; of very many the first LADDERS_MAX."""
        told = await self._asked("GET", f"{ROOM}/ladders?limit={LADDERS_MAX}", _Ladders)
        return {one.underlying for one in told.ladders if one.underlying}

    async def prices(self, prices: list[dict[str, str]]) -> None:
        """Say what underlyings cost."""
        for start in range(0, len(prices), PRICES_AT_ONCE_MAX):
            some = {"prices": prices[start : start + PRICES_AT_ONCE_MAX]}
            await self._asked("POST", f"{ROOM}/reference-prices", None, some)

    @property
    def _name(self) -> str:
        return quote(self._account, safe="")

    async def _asked(self, method: str, path: str, kind: type[Answer] | None, body: object | None = None) -> Answer:
        sent = headers(self._key, accept="application/json")
        content = None if body is None else msgspec.json.encode(body)
        try:
            async with self._session.request(
                method, self._url + path, data=content, headers=sent, allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            ) as answer:  # fmt: skip
                told = await answer.read()
        except BROKEN as error:
            raise Unavailable(f"{self._url}: {str(error) or type(error).__name__}") from error
        if answer.status >= 300:
            raise refusal(answer.status, told)
        return msgspec.json.decode(told, type=kind) if kind is not None else None  # type: ignore[return-value]
