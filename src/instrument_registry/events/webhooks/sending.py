"""One request to one endpoint: signed, guarded, and heard no longer than its time."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from instrument_registry.events.webhooks.model import is_success
from instrument_registry.outbound.addresses import AddressRefused, Guard
from instrument_registry.outbound.resolving import GuardedResolver, request_url

AGENT = {"user-agent": "instrument-registry-webhooks"}
DRAINED_BYTES = 16_384  # of an answer, so that its connection can be used again; nothing of it is kept
KEPT_OPEN_SECONDS = 30.0
PROBLEM_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: a status, or the reason why there is none."""

    status: int | None = None
    problem: str | None = None
    retry_after_seconds: float | None = None
    duration_ms: int = 0

    @property
    def taken(self) -> bool:
        """Whether the receiver took the event."""
        return self.status is not None and is_success(self.status)


class Sender:
    """Keeps connections to endpoints; one client for each scheme, as each may go to other places."""

    def __init__(self, guard: Guard, *, timeout_seconds: float, inner: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._inner = inner
        self._clients: dict[str, aiohttp.ClientSession] = {}
        self._urls: dict[str, tuple[str, URL]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            await client.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, now: datetime) -> Answer:
        """Send a body; whatever goes wrong is an answer too."""
        began = time.perf_counter()
        try:
            scheme, address = self._looked_at(url)
            async with self._client(scheme).post(
                address, data=body, headers=headers, allow_redirects=False
            ) as response:
                await response.content.read(DRAINED_BYTES)
                if not response.content.at_eof():
                    response.close()
                return Answer(
                    status=response.status,
                    problem=_problem_of(response.status),
                    retry_after_seconds=retry_after(response.headers.get("Retry-After"), now=now),
                    duration_ms=_since(began),
                )
        except AddressRefused as error:
            problem = f"not sent: {error}"
        except TimeoutError:
            problem = "no answer in time"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        return Answer(problem=problem[:PROBLEM_CHARACTERS], duration_ms=_since(began))

    def _looked_at(self, url: str) -> tuple[str, URL]:
        # The rules are the same as long as this process runs; a name is looked up for each connection.
        if url not in self._urls:
            target = self._guard.check_url(url)
            self._urls[url] = target.scheme, request_url(target, self._guard)
        return self._urls[url]

    def _client(self, scheme: str) -> aiohttp.ClientSession:
        if scheme not in self._clients:
            connector = aiohttp.TCPConnector(
                resolver=GuardedResolver(self._guard, scheme=scheme, inner=self._inner),
                use_dns_cache=False,
                limit=0,
                keepalive_timeout=KEPT_OPEN_SECONDS,
            )
            self._clients[scheme] = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                headers=AGENT,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._clients[scheme]


def retry_after(text: str | None, *, now: datetime) -> float | None:
    """The seconds a Retry-After header asks for: a number, or a date to wait for; None when it says neither."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max((moment - now).total_seconds(), 0.0)


def _problem_of(status: int) -> str | None:
    if 300 <= status < 400:
        return "a redirect, which is not followed"
    return None if is_success(status) else "not a success"


def _since(began: float) -> int:
    return round((time.perf_counter() - began) * 1000)
