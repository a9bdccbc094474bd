"""What every answer at the HTTP door has: an id, the right coding, a tag, pages that hold together, numbers."""

import gzip
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
import zstandard
from prometheus_client import REGISTRY
from starlette.routing import Route
from starlette.types import Message, Receive, Send
from starlette.types import Scope as AsgiScope
from structlog.testing import capture_logs

import frame
from instrument_registry.access.model import Scope
from instrument_registry.http.compression import chosen_coding
from instrument_registry.http.metrics import Requests


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    keys = frame.Keys()
    _, key = keys.add(Scope.READER)
    async with frame.client_of(frame.app_with(keys), key) as client:
        yield client


class TestCorrelation:
    async def test_the_callers_id_comes_back_and_is_in_the_log_line(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/plain", headers={"X-Correlation-ID": "order-7/retry:2"})

        assert answer.headers["x-correlation-id"] == "order-7/retry:2"

    @pytest.mark.parametrize("given", [b"", b"a b", b"a\tb", b"\xff", b"x" * 129, b"-a", b'a";drop'])
    async def test_an_id_that_would_spoil_a_log_is_replaced(self, client: httpx.AsyncClient, given: bytes) -> None:
        answer = await client.get("/plain", headers=[(b"X-Correlation-ID", given)])

        made = answer.headers["x-correlation-id"]
        assert len(made) == 32
        assert made.isalnum()

    async def test_it_is_in_the_body_of_lists(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/words?query=a", headers={"X-Correlation-ID": "mine"})

        assert answer.json()["correlation_id"] == "mine"

    async def test_every_request_is_one_line(self, client: httpx.AsyncClient) -> None:
        with capture_logs() as logs:
            await client.get("/words/a%2Fb?x=1")
            await client.get("/words?query=a")

        assert [(line["route"].rpartition("/")[2], line["status"]) for line in logs] == [
            ("{key}", 422),
            ("words", 200),
        ]
        assert logs[0]["path"].endswith("/words/a%2Fb")
        assert logs[1]["key_id"] == "aaaaaaaaaaaaaaaa"


class TestCompression:
    @pytest.mark.parametrize(
        ("accepted", "coding"),
        [
            (b"gzip", b"gzip"),
            (b"gzip, deflate, br, zstd", b"zstd"),
            (b"zstd;q=0.5, gzip", b"gzip"),
            (b"zstd;q=0, *", b"gzip"),
            (b"*", b"zstd"),
            (b"br", None),
            (b"identity", None),
            (b"gzip;q=0", None),
            (b"gzip;q=x", None),
            (b"GZIP ; Q=0.3", b"gzip"),
            (b"", None),
        ],
    )
    def test_the_callers_preference_decides_then_ours(self, accepted: bytes, coding: bytes | None) -> None:
        assert chosen_coding(accepted) == coding

    async def test_a_small_answer_is_left_alone_but_varies(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/text/100", headers={"Accept-Encoding": "gzip"})

        assert "content-encoding" not in answer.headers
        assert answer.headers["vary"] == "Accept-Encoding"

    @pytest.mark.parametrize("coding", ["gzip", "zstd"])
    @pytest.mark.parametrize("length", [2_000, 500_000])
    async def test_a_large_answer_is_compressed_with_its_length(
        self, client: httpx.AsyncClient, coding: str, length: int
    ) -> None:
        async with client.stream("GET", f"/text/{length}", headers={"Accept-Encoding": coding}) as answer:
            raw = b"".join([piece async for piece in answer.aiter_raw()])

        assert answer.headers["content-encoding"] == coding
        assert int(answer.headers["content-length"]) == len(raw) < length // 10
        plain = (
            gzip.decompress(raw) if coding == "gzip" else zstandard.ZstdDecompressor().decompressobj().decompress(raw)
        )
        assert plain == b'{"word":"%s"}' % (b"x" * length)

    @pytest.mark.parametrize("coding", ["gzip", "zstd"])
    @pytest.mark.parametrize("pieces", [0, 1, 50_000])
    async def test_a_stream_is_compressed_piece_by_piece(
        self, client: httpx.AsyncClient, coding: str, pieces: int
    ) -> None:
        raw = []
        async with client.stream("GET", f"/stream/{pieces}", headers={"Accept-Encoding": coding}) as answer:
            raw = [piece async for piece in answer.aiter_raw()]

        whole = b"".join(raw)
        plain = (
            zlib.decompressobj(31).decompress(whole)
            if coding == "gzip"
            else zstandard.ZstdDecompressor().decompressobj().decompress(whole)
        )
        assert plain == b"".join(b"%d,RELIANCE,NSE\n" % number for number in range(pieces))
        assert "content-length" not in answer.headers

    async def test_problems_are_problems_when_compressed(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/words?" + "x" * 2000 + "=1", headers={"Accept-Encoding": "zstd"})

        assert answer.status_code == 422
        assert answer.json()["status"] == 422


class TestTags:
    async def test_what_the_caller_has_is_not_sent_again(self, client: httpx.AsyncClient) -> None:
        first = await client.get("/words/a")
        again = await client.get("/words/a", headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
        other = await client.get("/words/b", headers={"If-None-Match": first.headers["etag"]})

        assert (first.status_code, again.status_code, other.status_code) == (200, 304, 200)
        assert again.content == b""
        assert again.headers["etag"] == first.headers["etag"]

    async def test_a_star_matches_everything(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/words/a", headers={"If-None-Match": "*"})

        assert answer.status_code == 304

    async def test_a_strong_tag_is_weakened_by_a_coding_and_still_known(self, client: httpx.AsyncClient) -> None:
        path = "http://registry/docs/swagger/swagger-ui.css"
        plain = await client.get(path)
        coded = await client.get(path, headers={"Accept-Encoding": "zstd"})
        again = await client.get(path, headers={"If-None-Match": coded.headers["etag"]})

        assert coded.headers["etag"] == "W/" + plain.headers["etag"]
        assert (again.status_code, again.content) == (304, b"")


class TestPages:
    async def test_pages_follow_each_other(self, client: httpx.AsyncClient) -> None:
        first = (await client.get("/words?query=a&limit=2")).json()
        cursor = first["pagination"]["next_cursor"]
        second = (await client.get("/words", params={"query": "a", "limit": 2, "cursor": cursor})).json()

        assert [item["word"] for item in first["instruments"] + second["instruments"]] == ["a0", "a1", "a2", "a3"]
        assert set(first) == {
            "instruments",
            "pagination",
            "catalog_position",
            "index_age_seconds",
            "correlation_id",
            "response_time_ms",
        }
        assert first["response_time_ms"] > 0

    async def test_a_cursor_of_another_question_is_refused(self, client: httpx.AsyncClient) -> None:
        cursor = (await client.get("/words?query=a")).json()["pagination"]["next_cursor"]

        answer = await client.get("/words", params={"query": "b", "cursor": cursor})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "query.cursor"


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "word"),
        [
            ("BYBIT:BTC/USDT:USDT;PERP", "BYBIT:BTC/USDT:USDT;PERP"),
            ("BYBIT:BTC%2FUSDT:USDT;PERP", "BYBIT:BTC/USDT:USDT;PERP"),
            ("BYBIT:BTC%2fUSDT%3AUSDT%3BPERP", "BYBIT:BTC/USDT:USDT;PERP"),
            ("BYBIT:BTC/USDT:USDT;PERP/history", "history of BYBIT:BTC/USDT:USDT;PERP"),
            ("BYBIT:BTC%2FUSDT:USDT;PERP/history", "history of BYBIT:BTC/USDT:USDT;PERP"),
            ("X%2Fhistory", "X/history"),
            ("X%2Fhistory/history", "history of X/history"),
            ("NSE:INDIA%2520VIX;IDX", "NSE:INDIA%20VIX;IDX"),
            ("NSE:INDIA%20VIX;IDX", "NSE:INDIA VIX;IDX"),
            ("NSE:M&M", "NSE:M&M"),
            ("NSE:%E2%82%B9", "NSE:₹"),
        ],
    )
    async def test_names_with_slashes_arrive_whole(self, client: httpx.AsyncClient, path: str, word: str) -> None:
        answer = await client.get(f"/words/{path}")

        assert answer.json() == {"word": word}

    @pytest.mark.parametrize("path", ["%00", "a%01b", "x" * 301])
    async def test_what_can_be_no_name_is_refused(self, client: httpx.AsyncClient, path: str) -> None:
        answer = await client.get(f"/words/{path}")

        assert answer.status_code == 404
        assert answer.json()["type"] == "/problems/NoSuchName"

    async def test_head_is_answered_where_get_is(self, client: httpx.AsyncClient) -> None:
        answer = await client.head("/plain")

        assert answer.status_code == 200


class TestLogLines:
    @pytest.mark.parametrize(
        ("route", "status", "level"),
        [("/health", 200, "debug"), ("/health/ready", 503, "debug"), ("/health", 0, "debug"), ("/health", 500, "info"),
         ("/metrics", 200, "debug"), ("/api/words", 200, "info"), ("/api/words", 503, "info")],
    )  # fmt: skip
    async def test_a_probe_that_is_answered_as_foreseen_is_no_news(self, route: str, status: int, level: str) -> None:
        async def app(scope: AsgiScope, receive: Receive, send: Send) -> None:
            if status:
                await send({"type": "http.response.start", "status": status, "headers": []})

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            pass

        scope = {"type": "http", "method": "GET", "path": route, "route": Route(route, lambda request: None)}
        with capture_logs() as logs:
            await Requests(app)(scope, receive, send)

        assert [(line["event"], line["log_level"]) for line in logs] == [("http.request", level)]


class TestNumbers:
    async def test_requests_are_counted_by_route_and_status(self, client: httpx.AsyncClient) -> None:
        route = "/api/v1/internal/instrument-registry/words/{key}"
        labels = {"method": "GET", "route": route, "status": "200"}
        name = "instrument_registry_http_requests_total"
        before = REGISTRY.get_sample_value(name, labels) or 0

        await client.get("/words/a")
        await client.get("/words/b")

        assert REGISTRY.get_sample_value(name, labels) == before + 2
        assert REGISTRY.get_sample_value("instrument_registry_http_requests_in_flight") == 0

    async def test_paths_that_are_not_there_share_one_label(self, client: httpx.AsyncClient) -> None:
        labels = {"method": "other", "route": "unmatched", "status": "404"}
        name = "instrument_registry_http_requests_total"
        before = REGISTRY.get_sample_value(name, labels) or 0

        await client.request("BREW", "/coffee/1")
        await client.request("BREW", "/coffee/2")

        assert REGISTRY.get_sample_value(name, labels) == before + 2
