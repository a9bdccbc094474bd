"""Downloads from a server of our own on the loopback: what comes through and what does not."""

import asyncio
import gzip
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from instrument_registry.breakers import Breakers
from instrument_registry.catalog.ingestion.addresses import FetchRefused
from instrument_registry.catalog.ingestion.fetch import Fetched, FetchFailed, FetchLimits, PublisherResting, fetch

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
TEXT = b"token,symbol\n738561,RELIANCE\n"
QUICK = FetchLimits(content_bytes=1_000_000, total_seconds=5, silence_seconds=2, first_pause_seconds=0.5)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Serve(Protocol):
    async def __call__(self, handler: Handler) -> str: ...


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        application = web.Application()
        application.router.add_get("/{path:.*}", handler)
        server = TestServer(application)
        await server.start_server()
        servers.append(server)
        return f"http://127.0.0.1:{server.port}"

    yield start
    for server in servers:
        await server.close()


def answer(body: bytes = TEXT, status: int = 200, **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handler


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def get(url: str, folder: Path, *, limits: FetchLimits = QUICK, content_types: tuple[str, ...] = ()) -> Fetched:
    async def no_pause(_: float) -> None: ...

    return await fetch(url, folder, content_types=content_types, allowed=LOOPBACK, limits=limits, sleep=no_pause)


class TestAHostThatDoesNotDeliver:
    async def test_is_left_alone_after_two_downloads_and_the_next_host_is_not(
        self, serve: Serve, tmp_path: Path
    ) -> None:
        asked = 0

        async def broken(_: web.Request) -> web.Response:
            nonlocal asked
            asked += 1
            return web.Response(status=503)

        async def no_pause(_: float) -> None: ...

        url, other = await serve(broken), (await serve(answer())).replace("127.0.0.1", "localhost")
        breakers = Breakers(tmp_path / "data")
        terms = {"allowed": LOOPBACK, "limits": QUICK, "sleep": no_pause}
        kinds = []
        for _ in range(4):
            with pytest.raises(FetchFailed) as caught:
                await fetch(f"{url}/dump.csv", tmp_path, breakers=breakers, **terms)
            kinds.append(type(caught.value))
        fetched = await fetch(f"{other}/dump.csv", tmp_path, breakers=breakers, **terms)

        assert kinds == [FetchFailed, FetchFailed, PublisherResting, PublisherResting]
        assert caught.value.facts["dependency"] == "downloads:127.0.0.1"
        assert asked == 6
        assert fetched.size_bytes == len(TEXT)


class TestFetching:
    async def test_a_file_arrives_whole_with_what_the_server_said(self, serve: Serve, tmp_path: Path) -> None:
        url = await serve(answer(Content_Type="text/csv", Last_Modified="Mon, 17 Aug 2026 02:31:00 GMT"))

        fetched = await get(f"{url}/dumps/kite_2026-08-17.csv", tmp_path)

        assert fetched.path == tmp_path / "kite_2026-08-17.csv"
        assert fetched.path.read_bytes() == TEXT
        assert (fetched.size_bytes, fetched.sha256) == (len(TEXT), hashlib.sha256(TEXT).hexdigest())
        assert fetched.last_modified == datetime(2026, 8, 17, 2, 31, tzinfo=UTC)
        assert names_in(tmp_path) == ["kite_2026-08-17.csv"]

    async def test_what_the_server_packs_stays_packed(self, serve: Serve, tmp_path: Path) -> None:
        packed = gzip.compress(TEXT)
        url = await serve(answer(packed, Content_Type="text/csv", Content_Encoding="gzip"))

        fetched = await get(f"{url}/instruments", tmp_path)

        assert fetched.path.read_bytes() == packed

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/a/b.csv", "b.csv"),
            ("/", "dump"),
            ("/..%2F..%2Fetc%2Fpasswd", "passwd"),
            ("/%2e%2e", "dump"),
            ("/.hidden", "hidden"),
            ("/a%00b.csv", "a_b.csv"),
            ("/" + "x" * 300 + ".csv", "x" * 146 + ".csv"),
        ],
    )
    async def test_the_name_stays_inside_the_folder(self, serve: Serve, tmp_path: Path, path: str, name: str) -> None:
        url = await serve(answer(Content_Type="text/csv"))

        assert (await get(url + path, tmp_path)).path == tmp_path / name

    async def test_redirects_are_followed_by_hand(self, serve: Serve, tmp_path: Path) -> None:
        async def handler(request: web.Request) -> web.Response:
            step = int(request.path.strip("/") or 0)
            if step < 3:
                raise web.HTTPFound(f"/{step + 1}")
            return web.Response(body=TEXT, content_type="text/csv")

        fetched = await get(await serve(handler), tmp_path)

        assert fetched.url.endswith("/3")

    async def test_a_failure_that_passes_is_tried_again_with_growing_pauses(self, serve: Serve, tmp_path: Path) -> None:
        statuses = [503, 429, 200]
        pauses: list[float] = []

        async def handler(_: web.Request) -> web.Response:
            status = statuses.pop(0)
            return web.Response(body=TEXT, status=status, headers={"Retry-After": "7"} if status == 429 else {})

        async def note(seconds: float) -> None:
            pauses.append(seconds)

        await fetch(await serve(handler) + "/a.csv", tmp_path, allowed=LOOPBACK, limits=QUICK, sleep=note)

        assert pauses == [0.5, 7.0]


class TestRefusing:
    @pytest.mark.parametrize(
        ("handler", "reason"),
        [
            (answer(Content_Type="text/html; charset=utf-8"), "text/html"),
            (answer(Content_Type="application/pdf"), "application/pdf"),
            (answer(b"\n <!DOCTYPE html><p>maintenance", Content_Type="text/csv"), "web page"),
            (answer(b"<HTML>", Content_Type="application/octet-stream"), "web page"),
            (answer(bytes(1_000_001), Content_Type="text/csv"), "larger than"),
            (answer(Content_Type="text/csv", Content_Encoding="br"), "packs"),
            (answer(status=302), "leads nowhere"),
            (answer(status=302, Location="file:///etc/passwd"), "Only http"),
            (answer(status=302, Location="http://169.254.169.254/latest"), "public internet"),
            (answer(status=302, Location="http://0x7f000001/"), "disguised"),
            (answer(status=302, Location="/again"), "More than 3 redirects"),
        ],
        ids=map(str, range(11)),
    )
    async def test_an_answer_that_is_no_dump_leaves_nothing_behind(
        self, serve: Serve, tmp_path: Path, handler: Handler, reason: str
    ) -> None:
        url = await serve(handler)

        with pytest.raises(FetchRefused, match=reason):
            await get(f"{url}/a.csv", tmp_path, content_types=("text/csv",))

        assert names_in(tmp_path) == []

    async def test_a_stream_without_end_is_cut_at_the_bound(self, serve: Serve, tmp_path: Path) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/csv"})
            await response.prepare(request)
            while True:
                await response.write(b"x" * 100_000)

        with pytest.raises(FetchRefused, match="larger than"):
            await get(await serve(handler) + "/a.csv", tmp_path)

        assert names_in(tmp_path) == []

    async def test_a_name_that_resolves_inward_is_refused_before_a_byte_is_sent(
        self, serve: Serve, tmp_path: Path
    ) -> None:
        asked: list[str] = []

        async def handler(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.Response(body=TEXT)

        url = (await serve(handler)).replace("127.0.0.1", "localhost")

        with pytest.raises(FetchRefused, match="public internet"):
            await fetch(url, tmp_path)
        assert asked == []

    async def test_one_inward_address_among_public_ones_is_enough(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def rebound(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.7")
            ]

        monkeypatch.setattr(socket, "getaddrinfo", rebound)

        with pytest.raises(FetchRefused, match="public internet"):
            await fetch("http://dumps.example.org/a.csv", tmp_path)

    async def test_nothing_listed_means_the_loopback_is_refused(self, serve: Serve, tmp_path: Path) -> None:
        with pytest.raises(FetchRefused):
            await fetch(await serve(answer()), tmp_path)


class TestFailing:
    @pytest.mark.parametrize("status", [401, 403, 404, 410, 206, 204, 304])
    async def test_an_answer_that_will_not_change_is_not_asked_for_again(
        self, serve: Serve, tmp_path: Path, status: int
    ) -> None:
        asked: list[str] = []

        async def handler(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.Response(status=status)

        with pytest.raises(FetchFailed, match=str(status)):
            await get(await serve(handler) + "/a.csv", tmp_path)
        assert len(asked) == 1

    async def test_three_tries_are_all(self, serve: Serve, tmp_path: Path) -> None:
        with pytest.raises(FetchFailed, match="3 tries: it answered 500") as failure:
            await get(await serve(answer(status=500)), tmp_path)

        assert failure.value.facts["tries"] == 3

    async def test_a_file_cut_short_is_not_kept(self, serve: Serve, tmp_path: Path) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/csv", "Content-Length": "1000"})
            await response.prepare(request)
            await response.write(TEXT)
            assert request.transport is not None
            request.transport.close()
            return response

        with pytest.raises(FetchFailed):
            await get(await serve(handler) + "/a.csv", tmp_path)

        assert names_in(tmp_path) == []

    async def test_a_server_that_drips_is_given_up_on(self, serve: Serve, tmp_path: Path) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/csv"})
            await response.prepare(request)
            for _ in range(100):
                await response.write(b"x")
                await asyncio.sleep(0.05)
            return response

        with pytest.raises(FetchFailed, match="too long"):
            await get(await serve(handler), tmp_path, limits=FetchLimits(total_seconds=0.3, tries=1))

        assert names_in(tmp_path) == []

    async def test_nobody_listening_is_a_failure_not_a_refusal(self, tmp_path: Path) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]

            with pytest.raises(FetchFailed):
                await get(f"http://127.0.0.1:{port}/a.csv", tmp_path)

    async def test_an_empty_answer_is_a_failure(self, serve: Serve, tmp_path: Path) -> None:
        with pytest.raises(FetchFailed, match="empty"):
            await get(await serve(answer(b"", Content_Type="text/csv")), tmp_path)
