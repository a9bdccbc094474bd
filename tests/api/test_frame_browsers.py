"""What browsers are told: who may read answers from other pages, and how little an answer may do."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

import frame
from instrument_registry.access.model import Scope
from instrument_registry.http.docs import POLICY
from instrument_registry.settings import InvalidSettings, Settings

DESK, EVIL = "https://desk.example", "https://evil.example"


@pytest.fixture
def keys() -> frame.Keys:
    return frame.Keys()


@pytest_asyncio.fixture
async def listed(keys: frame.Keys) -> AsyncIterator[httpx.AsyncClient]:
    """A door that pages of one origin may call."""
    async with frame.client_of(frame.app_with(keys, origins=[DESK])) as client:
        yield client


async def beforehand(
    client: httpx.AsyncClient, path: str, *, origin: str = DESK, method: str = "GET"
) -> httpx.Response:
    """What a browser asks before it sends what is more than a plain form."""
    asks = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "x-anything"}
    return await client.options(path, headers=asks)


def cors_of(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


class TestOtherOrigins:
    async def test_nobody_is_let_in_where_none_is_listed(self, keys: frame.Keys) -> None:
        async with frame.client_of(frame.app_with(keys)) as client:
            answers = [await beforehand(client, "/plain"), await client.get("/plain", headers={"Origin": DESK})]

        assert [(answer.status_code, cors_of(answer)) for answer in answers] == [(405, {}), (401, {})]
        assert "origin" not in answers[1].headers.get("vary", "").lower()

    @pytest.mark.parametrize(
        ("path", "methods"),
        [
            ("/plain", "GET, HEAD"),
            ("/words/bulk", "POST"),
            ("/words/a/overrides", "POST, PUT"),
            ("/words/a", "GET, HEAD"),
        ],
    )
    async def test_beforehand_they_are_told_what_the_path_can_do(
        self, listed: httpx.AsyncClient, path: str, methods: str
    ) -> None:
        answer = await beforehand(listed, path, method="POST")

        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-methods"] == methods
        assert answer.headers["access-control-allow-origin"] == DESK
        assert "X-Internal-API-Key" in answer.headers["access-control-allow-headers"].split(", ")
        assert int(answer.headers["access-control-max-age"]) > 0
        assert "access-control-allow-credentials" not in answer.headers

    @pytest.mark.parametrize(
        "origin", [EVIL, "null", "http://desk.example", f"{DESK}.evil.example", f"{DESK}:8443", ""]
    )
    async def test_an_origin_that_only_resembles_is_told_nothing(self, listed: httpx.AsyncClient, origin: str) -> None:
        answers = [
            await beforehand(listed, "/plain", origin=origin), await listed.get("/plain", headers={"Origin": origin}),
        ]  # fmt: skip

        assert [(answer.status_code, cors_of(answer)) for answer in answers] == [(405, {}), (401, {})]
        assert "Origin" in answers[1].headers.get_list("vary", split_commas=True)

    async def test_answers_and_refusals_may_be_read(self, listed: httpx.AsyncClient, keys: frame.Keys) -> None:
        _, key = keys.add(Scope.READER)
        sent = [{"Origin": DESK}, {"Origin": DESK, "X-Internal-API-Key": key}]

        answers = [await listed.get("/plain", headers=headers) for headers in sent]
        nowhere = await listed.get("/nowhere", headers={"Origin": DESK})

        assert [answer.status_code for answer in (*answers, nowhere)] == [401, 200, 404]
        for answer in (*answers, nowhere):
            assert answer.headers["access-control-allow-origin"] == DESK
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"ETag", "RateLimit", "Retry-After", "X-Correlation-ID"} <= set(exposed)

    async def test_a_path_that_is_not_there_can_do_nothing(self, listed: httpx.AsyncClient) -> None:
        assert (await beforehand(listed, "/nowhere")).status_code == 404


class TestOriginsAsSettings:
    def test_they_are_written_as_browsers_send_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(
            "INSTRUMENT_REGISTRY_CORS_ORIGINS", "https://Desk.example:443/, http://localhost:3000,http://[::1]:80"
        )

        assert Settings.load().cors_origins == (DESK, "http://localhost:3000", "http://[::1]")

    @pytest.mark.parametrize(
        ("text", "words"),
        [("*", "every page of the web"), ("desk.example", "is no origin"), (f"{DESK}/app", "is no origin"),
         ("https://a@desk.example", "is no origin"), ("null", "is no origin"), ("ftp://desk.example", "is no origin"),
         ("https://desk.example:port", "is no origin")],
    )  # fmt: skip
    def test_what_is_none_is_refused(self, monkeypatch: pytest.MonkeyPatch, text: str, words: str) -> None:
        monkeypatch.setenv("INSTRUMENT_REGISTRY_CORS_ORIGINS", f"{DESK},{text}")

        with pytest.raises(InvalidSettings, match=f"^INSTRUMENT_REGISTRY_CORS_ORIGINS: .*{words}"):
            Settings.load()


class TestSafety:
    @pytest.mark.parametrize("path", ["/plain", "/bug", "/nowhere", "http://registry/docs/swagger/swagger-ui.css"])
    async def test_no_answer_may_run_frame_or_be_guessed_at(self, keys: frame.Keys, path: str) -> None:
        async with frame.client_of(frame.app_with(keys)) as client:
            headers = (await client.get(path)).headers

        assert headers.get_list("x-content-type-options") == ["nosniff"]
        assert headers.get_list("x-frame-options") == ["DENY"]
        assert headers.get_list("referrer-policy") == ["no-referrer"]
        assert headers.get_list("content-security-policy") == ["default-src 'none'; frame-ancestors 'none'"]

    async def test_a_page_has_its_own_policy_alone(self, keys: frame.Keys) -> None:
        async with frame.client_of(frame.app_with(keys)) as client:
            headers = (await client.get("http://registry/docs")).headers

        assert headers.get_list("content-security-policy") == [POLICY]
        assert headers.get_list("referrer-policy") == ["no-referrer"]

    @pytest.mark.parametrize(("scheme", "told"), [("http", []), ("https", ["max-age=31536000"])])
    async def test_only_who_came_by_tls_is_told_to_come_so_again(
        self, keys: frame.Keys, scheme: str, told: list[str]
    ) -> None:
        async with frame.client_of(frame.app_with(keys)) as client:
            answer = await client.get(f"{scheme}://registry/docs")

        assert answer.headers.get_list("strict-transport-security") == told
