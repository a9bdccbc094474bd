"""Who may come in at the HTTP door."""

import asyncio

import httpx
import pytest

import frame
from instrument_registry.access.model import Scope


@pytest.fixture
def keys() -> frame.Keys:
    return frame.Keys()


async def get(keys: frame.Keys, path: str, key: str | None = None, **headers: str) -> httpx.Response:
    async with frame.client_of(frame.app_with(keys), key, **headers) as client:
        return await client.get(path)


class TestKeys:
    async def test_none_is_asked_for(self, keys: frame.Keys) -> None:
        answer = await get(keys, "/plain")

        assert answer.status_code == 401
        assert answer.json()["type"] == "/problems/KeyMissing"
        assert "X-Internal-API-Key" in answer.headers["www-authenticate"]

    @pytest.mark.parametrize(
        "key", ["", "x", "irk_" + "a" * 16, "irk_" + "a" * 16 + "_" + "b" * 43, "irk_é", "x" * 9000]
    )
    async def test_an_unknown_one_is_refused(self, keys: frame.Keys, key: str) -> None:
        keys.add(Scope.ADMIN)
        async with frame.client_of(frame.app_with(keys)) as client:
            answer = await client.get("/plain", headers=[(b"X-Internal-API-Key", key.encode())])

        assert answer.status_code == 401
        assert answer.json()["type"] == "/problems/KeyRejected"
        assert "www-authenticate" in answer.headers

    async def test_a_right_id_with_another_secret_is_refused(self, keys: frame.Keys) -> None:
        _, one = keys.add(Scope.READER)
        _, other = keys.add(Scope.READER)

        answer = await get(keys, "/plain", one.rpartition("_")[0] + "_" + other.rpartition("_")[2])

        assert answer.status_code == 401

    async def test_a_reader_may_read(self, keys: frame.Keys) -> None:
        _, key = keys.add(Scope.READER)

        answer = await get(keys, "/plain", key)

        assert (answer.status_code, answer.json()) == (200, {"word": "3"})

    @pytest.mark.parametrize(
        ("has", "path", "status"),
        [
            (Scope.READER, "/secret", 403),
            (Scope.OPERATOR, "/secret", 403),
            (Scope.ADMIN, "/secret", 200),
            (Scope.ADMIN, "/plain", 200),
        ],
    )
    async def test_each_scope_includes_the_ones_before(
        self, keys: frame.Keys, has: Scope, path: str, status: int
    ) -> None:
        _, key = keys.add(has)

        answer = await get(keys, path, key)

        assert answer.status_code == status
        if status == 403:
            assert answer.json()["needed"] == "admin"
            assert answer.json()["has"] == has

    async def test_the_key_comes_before_the_parameters(self, keys: frame.Keys) -> None:
        answer = await get(keys, "/words?nonsense=1")

        assert answer.status_code == 401

    async def test_without_a_database_nobody_is_let_in(self, keys: frame.Keys) -> None:
        _, key = keys.add(Scope.READER)
        keys.away = True

        answer = await get(keys, "/plain", key)

        assert answer.status_code == 503

    async def test_use_is_recorded_once_a_minute(self, keys: frame.Keys) -> None:
        key_id, key = keys.add(Scope.READER)
        async with frame.client_of(frame.app_with(keys), key) as client:
            for _ in range(5):
                await client.get("/plain")
            await asyncio.sleep(0)

        assert keys.used == [key_id]


class TestKitesWay:
    @pytest.mark.parametrize("form", ["token anything:{key}", "token {key}:anything", "Token {key}:{key}"])
    async def test_either_half_may_be_the_key(self, keys: frame.Keys, form: str) -> None:
        _, key = keys.add(Scope.READER)

        answer = await get(keys, "http://registry/instruments", Authorization=form.format(key=key))

        assert (answer.status_code, answer.text) == (200, "instrument_token\n")

    @pytest.mark.parametrize("header", ["token a:b", "Bearer {key}", "token", ""])
    async def test_anything_else_is_refused(self, keys: frame.Keys, header: str) -> None:
        _, key = keys.add(Scope.READER)

        answer = await get(keys, "http://registry/instruments", Authorization=header.format(key=key))

        assert answer.status_code == 401

    async def test_our_own_header_works_there_too(self, keys: frame.Keys) -> None:
        _, key = keys.add(Scope.READER)

        answer = await get(keys, "http://registry/instruments", key)

        assert answer.status_code == 200

    async def test_it_opens_nothing_else(self, keys: frame.Keys) -> None:
        _, key = keys.add(Scope.READER)

        answer = await get(keys, "/plain", Authorization=f"token a:{key}")

        assert answer.status_code == 401
