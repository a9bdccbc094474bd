"""Whatever goes wrong at the HTTP door leaves as a problem document that says what to do."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from starlette.types import Message
from structlog.testing import capture_logs

import frame
from instrument_registry.access.model import Scope
from instrument_registry.http.app import build
from instrument_registry.http.deadline import Deadline
from instrument_registry.http.routes import PREFIX

KNOWN = "Known here: query, limit, cursor, order, broker"
ORDERS = "Choose from: name, rank"


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    keys = frame.Keys()
    _, key = keys.add(Scope.OPERATOR, name="ops")
    async with frame.client_of(frame.app_with(keys), key) as client:
        yield client


def problem(response: httpx.Response) -> dict[str, object]:
    """The members of a problem document, after what every one of them must have."""
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = response.json()
    assert body["status"] == response.status_code
    assert body["correlation_id"] == response.headers["x-correlation-id"]
    assert str(body["type"]).startswith("/problems/")
    assert body["instance"] == response.request.url.raw_path.decode().partition("?")[0]
    return body


def fields(response: httpx.Response) -> list[tuple[str, str, str]]:
    """What is wrong, field by field."""
    errors = problem(response)["errors"]
    assert isinstance(errors, list)
    return [(error["field"], error["problem"], error["remedy"]) for error in errors]


class TestForeseen:
    async def test_a_conflict_keeps_its_facts_and_its_standard_members_win(self, client: httpx.AsyncClient) -> None:
        answer = await client.put("/words/a/overrides", json={"words": []})

        body = problem(answer)
        assert answer.status_code == 409
        assert body["type"] == "/problems/AlreadyThere"
        assert body["title"] == "The word is already there"
        assert body["detail"] == "ops put it there"
        assert body["since"] == "2026-08-18T06:30:00Z"
        assert body["status"] == 409  # a fact of the same name said 200

    async def test_unavailable_says_when_to_come_again(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/away")

        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert problem(answer)["detail"] == "The index is being built"


class TestUnforeseen:
    async def test_a_bug_is_logged_once_and_tells_nothing(self, client: httpx.AsyncClient) -> None:
        with capture_logs() as logs:
            answer = await client.get("/bug")

        assert answer.status_code == 500
        assert problem(answer)["type"] == "/problems/Unforeseen"
        assert "hunter2" not in answer.text
        assert "ZeroDivisionError" not in answer.text
        assert [line["event"] for line in logs if line["log_level"] == "error"] == ["http.failed"]

    async def test_what_takes_too_long_is_stopped(self) -> None:
        app = build([frame.words])
        for layer in app.user_middleware:
            if layer.cls is Deadline:
                layer.kwargs["seconds"] = 0.05

        async with frame.client_of(app) as client:
            answer = await client.get("/slow")

        assert answer.status_code == 503
        assert problem(answer)["type"] == "/problems/TookTooLong"


class TestRouting:
    async def test_a_path_that_is_not_there(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/nothing")

        assert answer.status_code == 404
        assert problem(answer)["type"] == "/problems/NoSuchPath"

    async def test_a_slash_at_the_end_is_another_path(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/plain/")

        assert answer.status_code == 404

    async def test_a_method_that_is_not_there_names_all_that_are(self, client: httpx.AsyncClient) -> None:
        answer = await client.delete("/words/a/overrides")

        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST, PUT"
        assert problem(answer)["allowed"] == ["POST", "PUT"]

    async def test_a_fixed_path_is_no_name_for_other_methods(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/words/bulk")

        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("query=a&limt=5", ("query.limt", "is not known here", f"Did you mean limit? {KNOWN}")),
            ("limit=5", ("query.query", "is missing", "Add it")),
            ("query=a&limit=500", ("query.limit", "is not a whole number <= 100", "Send a whole number <= 100")),
            ("query=a&limit=x", ("query.limit", "is not a whole number", "Send a whole number")),
            ("query=a&limit=", ("query.limit", "is not a whole number", "Send a whole number")),
            ("query=", ("query.query", "is not text of length >= 1", "Send text of length >= 1")),
            ("query=a&order=nam", ("query.order", "is not one of the known values", f"Did you mean name? {ORDERS}")),
            ("query=a&query=b", ("query.query", "is given twice", "Send it once")),
            ("query=a&limit=null", ("query.limit", "is not a value", "Leave it out")),
            ("query=%ff", ("query", "is not UTF-8", "Percent-encode UTF-8")),
            ("query=a%00", ("query", "holds a zero byte", "Leave it out")),
            ("query=" + "a" * 9000, ("query", "is too long", "Send at most 8192 bytes")),
        ],
    )  # fmt: skip
    async def test_a_bad_parameter_is_named_with_its_remedy(
        self, client: httpx.AsyncClient, query: str, expected: tuple[str, str, str]
    ) -> None:
        answer = await client.get(f"/words?{query}")

        assert answer.status_code == 422
        assert fields(answer) == [expected]

    async def test_parameters_of_plain_routes_are_checked_too(self, client: httpx.AsyncClient) -> None:
        unknown = await client.get("/plain?limits=3")
        wrong = await client.get("/plain?limit=x")

        assert fields(unknown) == [("query.limits", "is not known here", "Did you mean limit? Known here: limit")]
        assert fields(wrong)[0][2] == "Send a whole number"
        assert (unknown.status_code, wrong.status_code) == (422, 422)

    async def test_a_value_that_was_refused_is_shown_cut(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/words?query=a&limit=" + "9" * 5000)

        errors = problem(answer)["errors"]
        assert isinstance(errors, list)
        assert len(errors[0]["value"]) == 200

    async def test_lists_repeat_their_name(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/words?query=a&broker=zerodha&broker=upstox")

        assert answer.status_code == 200


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b'{"words": ["a", 3]}', ("body.words[1]", "is not text", "Send text")),
            (b'{"word": []}', ("body.word", "is not known here", "Did you mean words? Known here: words")),
            (b"{}", ("body.words", "is missing", "Add it")),
            (b"[]", ("body", "is not an object", "Send an object")),
            (b"[" * 100_000, ("body", "is not an object", "Send an object")),
            (b"", ("body", "is missing", "Send one JSON object")),
            (b"{", ("body", "is not JSON: Input data was truncated", "Send one JSON object")),
            (b'{"words": ["\\u0000"]}', ("body", "holds a zero character", "Leave it out")),
        ],
    )
    async def test_a_bad_body_names_the_field(
        self, client: httpx.AsyncClient, body: bytes, expected: tuple[str, str, str]
    ) -> None:
        answer = await client.post("/words/bulk", content=body, headers={"Content-Type": "application/json"})

        assert answer.status_code == 422
        assert fields(answer) == [expected]

    async def test_a_path_that_is_cut_is_still_a_reference(self, client: httpx.AsyncClient) -> None:
        lengths = range(450, 470)
        told = [(await client.get(f"/{'a' * length}%F0%9D%91%BB")).json()["instance"] for length in lengths]

        assert {len(one) for one in told} >= {498, 499, 500}
        assert all(re.fullmatch(r"(?:[^%]|%[0-9A-F]{2})*", one) for one in told)

    async def test_deep_nesting_where_text_belongs_is_refused(self, client: httpx.AsyncClient) -> None:
        body = b'{"words": ' + b"[" * 100_000
        answer = await client.post("/words/bulk", content=body, headers={"Content-Type": "application/json"})

        assert answer.status_code == 422

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Type": "text/plain"},
            {},
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        ],
    )
    async def test_another_media_type_or_coding_is_refused(
        self, client: httpx.AsyncClient, headers: dict[str, str]
    ) -> None:
        answer = await client.post("/words/bulk", content=b'{"words": []}', headers=headers)

        assert answer.status_code == 415
        assert answer.headers["accept"] == "application/json"
        assert problem(answer)["type"] == "/problems/UnsupportedMedia"

    async def test_a_body_that_says_it_is_too_large_is_not_read(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/words/bulk", content=b"x" * (4 * 2**20 + 1))

        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"
        assert problem(answer)["limit_bytes"] == 4 * 2**20

    async def test_a_caller_who_leaves_is_no_failure_of_ours(self) -> None:
        keys = frame.Keys()
        _, key = keys.add(Scope.READER)
        scope = {
            "type": "http",
            "method": "POST",
            "path": PREFIX + "/words/bulk",
            "raw_path": b"/words/bulk",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"x-internal-api-key", key.encode())],
        }
        sent: list[Message] = []

        async def leave() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        with capture_logs() as logs:
            await frame.app_with(keys)(scope, leave, send)

        assert [line["event"] for line in logs] == ["http.request"]
        assert sent[0]["status"] == 400

    async def test_a_body_that_grows_too_large_is_stopped(self, client: httpx.AsyncClient) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 2**20
                yield b" " * 2**20

        answer = await client.post("/words/bulk", content=endless(), headers={"Content-Type": "application/json"})

        assert answer.status_code == 413
        assert sent <= 6 * 2**20
