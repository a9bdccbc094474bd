"""Downloads of public dumps, guarded: where they may go, how much they may bring, how long they may take."""

import asyncio
import hashlib
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urljoin

import aiohttp
from yarl import URL

from instrument_registry.breakers import Breakers, DependencyResting
from instrument_registry.breakers.terms import DOWNLOADS
from instrument_registry.catalog.ingestion.addresses import FetchRefused, check_url, guard_of
from instrument_registry.errors import Unavailable
from instrument_registry.outbound.addresses import Network, Target
from instrument_registry.outbound.resolving import GuardedResolver, request_url

MEBIBYTE = 1024 * 1024
CHUNK_BYTES = 256 * 1024
REDIRECTS = {301, 302, 303, 307, 308}
WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}
PAGES = ("text/html", "application/xhtml+xml")
ANY_BYTES = ("application/octet-stream", "binary/octet-stream")
PAGE_STARTS = (b"<!doctype html", b"<html")
HEADERS = {"User-Agent": "instrument-registry", "Accept-Encoding": "gzip", "Accept": "*/*"}
NAME_CHARACTERS = 150

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """The bounds of one download."""

    content_bytes: int = 256 * MEBIBYTE  # as it travels: packed, if the server packs it
    total_seconds: float = 300.0  # of one try, from the first name looked up to the last byte
    connect_seconds: float = 10.0
    silence_seconds: float = 30.0
    redirects: int = 3
    tries: int = 3
    first_pause_seconds: float = 1.0  # doubles from try to try
    longest_pause_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A downloaded file and what its server said about it."""

    path: Path
    url: str  # after redirects
    size_bytes: int
    sha256: str  # of the bytes as they travelled
    content_type: str | None
    last_modified: datetime | None


class FetchFailed(Unavailable):
    """The download did not come through; the next attempt may."""

    title = "The download failed"


class PublisherResting(FetchFailed, DependencyResting):
    """The publisher's host did not deliver several times, and is not asked until `retry_after` seconds have passed."""

    title = "The publisher does not deliver and is left alone for a while"


class _TryAgain(FetchFailed):
    """A failure that often passes by itself."""

    def __init__(self, detail: str, *, pause_seconds: float = 0.0, **facts: object) -> None:
        super().__init__(detail, **facts)
        self.pause_seconds = pause_seconds


async def fetch(
    url: str,
    folder: Path,
    *,
    name: str | None = None,
    content_types: Sequence[str] = (),
    allowed: Sequence[Network] = (),
    limits: FetchLimits | None = None,
    sleep: Sleep = asyncio.sleep,
    breakers: Breakers | None = None,
) -> Fetched:
    """Download one file into a folder, under the name given or the last part of the URL.

    `allowed` lists networks that may be asked although they are not public: none, unless an operator says so.
    The file appears whole or not at all.

    Raises: FetchRefused for an address, redirect, size or content that is not wanted; FetchFailed when it did not come,
    and at once, as PublisherResting, for a host that has not delivered several times.
    """
    limits = limits or FetchLimits()
    target = check_url(url, allowed=allowed)
    breaker = (breakers or Breakers()).of(f"{DOWNLOADS}:{target.host}", resting=PublisherResting)
    asked = _Asked(
        folder=folder, name=_file_name(name or unquote(PurePosixPath(URL(url).path).name)), content_types=content_types
    )
    pause = limits.first_pause_seconds
    for attempt in range(1, limits.tries + 1):
        try:
            with breaker.calling(TimeoutError, aiohttp.ClientError, _TryAgain):
                async with asyncio.timeout(limits.total_seconds), _session(allowed, limits) as session:
                    return await _download(session, target, asked, allowed=allowed, limits=limits)
        except (TimeoutError, aiohttp.ClientError, _TryAgain) as error:
            if attempt == limits.tries:
                raise FetchFailed(
                    f"{target.host} did not deliver in {attempt} tries: {_what(error)}", url=url, tries=attempt
                ) from error
            wanted = error.pause_seconds if isinstance(error, _TryAgain) else 0.0
            await sleep(min(max(pause, wanted), limits.longest_pause_seconds))
            pause *= 2
    raise FetchFailed("No try was allowed", url=url)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    folder: Path
    name: str
    content_types: Sequence[str]


def _session(allowed: Sequence[Network], limits: FetchLimits) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=GuardedResolver(guard_of(allowed)), use_dns_cache=False, force_close=True
        ),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=limits.connect_seconds, sock_read=limits.silence_seconds
        ),
        headers=HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a packed body stays packed: it is unfolded later, within bounds
        trust_env=False,
    )


async def _download(
    session: aiohttp.ClientSession,
    target: Target,
    asked: _Asked,
    *,
    allowed: Sequence[Network],
    limits: FetchLimits,
) -> Fetched:
    for _ in range(limits.redirects + 1):
        async with session.get(request_url(target, guard_of(allowed)), allow_redirects=False) as response:
            if response.status not in REDIRECTS:
                _check_answer(response, target, asked, limits)
                return await _keep(response, target, asked, limits)
            target = _redirected(target, response.headers.get("Location", ""), allowed)
    raise FetchRefused(f"More than {limits.redirects} redirects", url=target.url)


def _redirected(target: Target, location: str, allowed: Sequence[Network]) -> Target:
    if not location:
        raise FetchRefused("A redirect leads nowhere", url=target.url)
    following = check_url(urljoin(target.url, location), allowed=allowed)
    if target.scheme == "https" and following.scheme != "https":
        raise FetchRefused("A redirect leads from https to http", url=target.url, location=following.url)
    return following


def _check_answer(response: aiohttp.ClientResponse, target: Target, asked: _Asked, limits: FetchLimits) -> None:
    if response.status in WORTH_ANOTHER_TRY:
        raise _TryAgain(
            f"it answered {response.status}",
            pause_seconds=_retry_after(response),
            url=target.url,
            status=response.status,
        )
    if response.status != 200:
        raise FetchFailed(f"{target.host} answered {response.status}", url=target.url, status=response.status)
    if (response.content_length or 0) > limits.content_bytes:
        raise _too_large(target, limits)
    if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", "gzip", "x-gzip", ""):
        raise FetchRefused("The server packs its answer in a way we do not read", url=target.url)
    kind = _content_type(response)
    wanted = tuple(content_type.lower() for content_type in asked.content_types)
    if kind in PAGES or (wanted and kind is not None and kind not in (*wanted, *ANY_BYTES)):
        raise FetchRefused(
            f"The server sent {kind}, not a dump", url=target.url, content_type=kind, expected=list(wanted)
        )


async def _keep(response: aiohttp.ClientResponse, target: Target, asked: _Asked, limits: FetchLimits) -> Fetched:
    """Stream the body to a temporary file and give it its name once it is whole."""
    path = asked.folder / asked.name
    with _appearing_whole(path) as file:
        size, digest = await _stream(response, file, target, limits)
    return Fetched(
        path=path,
        url=target.url,
        size_bytes=size,
        sha256=digest,
        content_type=_content_type(response),
        last_modified=_last_modified(response.headers.get("Last-Modified")),
    )


@contextmanager
def _appearing_whole(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as workshop:
        partial = Path(workshop, "partial")
        with partial.open("wb") as file:
            yield file
        partial.replace(path)


async def _stream(
    response: aiohttp.ClientResponse, file: IO[bytes], target: Target, limits: FetchLimits
) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        if size == 0 and chunk.lstrip()[:14].lower().startswith(PAGE_STARTS):
            raise FetchRefused("The server sent a web page, not a dump", url=target.url)
        size += len(chunk)
        if size > limits.content_bytes:
            raise _too_large(target, limits)
        digest.update(chunk)
        file.write(chunk)
    if size == 0:
        raise _TryAgain("its answer was empty", url=target.url)
    return size, digest.hexdigest()


def _too_large(target: Target, limits: FetchLimits) -> FetchRefused:
    return FetchRefused(
        f"The file is larger than {limits.content_bytes:,} bytes", url=target.url, limit=limits.content_bytes
    )


def _content_type(response: aiohttp.ClientResponse) -> str | None:
    return response.content_type.lower() if "Content-Type" in response.headers else None


def _retry_after(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() and len(text) < 6 else 0.0


def _last_modified(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _file_name(text: str) -> str:
    """A name without folders or anything a shell or a disk could take for more."""
    name = "".join(character if character.isalnum() or character in "._- ()" else "_" for character in text)
    return name[-NAME_CHARACTERS:].lstrip(". ") or "dump"


def _what(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(error) or type(error).__name__
