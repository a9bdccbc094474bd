"""Who may call what, asked of every operation that the OpenAPI document names, and of the door that serves it.

Nobody's body or parameters are right here: whoever may call an operation is told so by anything but 401 and 403.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope as AsgiScope

from desk import ARRANGED, Desk
from instrument_registry.access import service
from instrument_registry.access.model import ApiKey, Scope, text_of
from instrument_registry.database import Database
from instrument_registry.events import sequencer
from instrument_registry.events.audit import sealer
from instrument_registry.events.audit.outside import Outside
from instrument_registry.http import docs
from instrument_registry.http.app import build
from instrument_registry.http.auth import authorize
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import describe, document
from instrument_registry.http.routes import PREFIX, needs, public, room

HEADER = b"x-internal-api-key"
METHODS = ("get", "put", "post", "delete", "patch", "options", "head", "trace")
OUTSIDE_THE_DOCUMENT = {
    docs.OPENAPI,
    docs.DOCS,
    f"{docs.DOCS}/start.js",
    f"{docs.DOCS}/swagger/{{path}}",
    f"{docs.DOCS}/icon/{{path}}",
}
ANSWERS_WITHIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the matrix, as the document has it."""

    method: str
    path: str
    scope: Scope | None  # none: public
    told: frozenset[int]  # of 401 and 403, what the document says may come

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations(app: FastAPI) -> list[Operation]:
    found = []
    for path, methods in document(app)["paths"].items():
        for method in METHODS:
            if method in methods:
                found += [_operation(method, path, methods[method])]
    return found


def _operation(method: str, path: str, told: Mapping[str, Any]) -> Operation:
    scope = Scope(told["x-scope"]) if "x-scope" in told else None
    assert bool(told.get("security")) == (scope is not None), f"{method} {path} says two things about keys"
    return Operation(method.upper(), path, scope, frozenset({401, 403} & {int(code) for code in told["responses"]}))


async def status(app: FastAPI, operation: Operation, *, key: str | None, address: str) -> int:
    """What an operation answers first; answers without an end are not waited for."""
    path = re.sub(r"\{\w+\}", "1", operation.path)
    headers = [(b"host", b"registry"), (b"content-length", b"0"), *([(HEADER, key.encode())] if key else [])]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": operation.method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": (address, 1), "server": ("registry", 80),
    }  # fmt: skip
    begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, object]:
        if not body:
            await asyncio.sleep(3600)
        return body.pop()

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and not begun.done():
            begun.set_result(message["status"])

    answering = asyncio.ensure_future(app(scope, receive, send))
    async with asyncio.timeout(ANSWERS_WITHIN_SECONDS):
        await asyncio.wait({answering, begun}, return_when=asyncio.FIRST_COMPLETED)
    if not begun.done():
        await answering
    answering.cancel()
    await asyncio.gather(answering, return_exceptions=True)
    return begun.result()


def leak(operation: Operation, who: str, has: Scope | None, got: int) -> str | None:
    """What is wrong with an answer to somebody, if something is."""
    if operation.scope is None:
        right, words = got not in (401, 403), "is public"
    elif has is None:
        right, words = got == 401, "wants a key: 401"
    elif has.includes(operation.scope):
        right, words = got not in (401, 403), f"may be called with {operation.scope}"
    else:
        right, words = got == 403, f"wants {operation.scope}: 403"
    if right and got in (401, 403) and got not in operation.told:
        right, words = False, "does not document that"
    return None if right else f"{operation} {words}, but {who} got {got}"


async def leaks(app: FastAPI, keys: Mapping[str, tuple[str | None, Scope | None]]) -> list[str]:
    """Every cell of the matrix that is not as the document says, and every operation the document leaves out."""
    found = [f"{path} is not in the document" for path in undocumented(app)]
    for row, operation in enumerate(operations(app)):
        if operation.scope is not None and operation.told != {401, 403}:
            found.append(f"{operation} does not document 401 and 403")
        # From an address of its own each: strangers who ask too often are refused otherwise.
        answers = [
            status(app, operation, key=key, address=f"10.{column}.{row // 250}.{row % 250 + 1}")
            for column, (key, _) in enumerate(keys.values())
        ]
        for (who, (_, has)), got in zip(keys.items(), await asyncio.gather(*answers), strict=True):
            found += [wrong] if (wrong := leak(operation, who, has, got)) else []
    return found


def undocumented(app: FastAPI) -> Iterable[str]:
    known = set(document(app)["paths"])
    served = {route.path_format for route in app.router.routes if hasattr(route, "path_format")}
    return sorted(served - known - OUTSIDE_THE_DOCUMENT)


@pytest_asyncio.fixture
async def keys(database: Database) -> AsyncIterator[dict[str, tuple[str | None, Scope | None]]]:
    """Everybody who may come: the key they show and the scope they have."""
    desk = Desk(database, Path())
    made: dict[str, tuple[str | None, Scope | None]] = {
        "nobody": (None, None),
        "garbage": ("garbage", None),
        "an unknown key": (text_of("z" * 16, "1" * 43), None),
    }
    async with database.transaction() as tx:
        for scope in Scope:
            _, text = await service.create_key(tx, name=scope, scope=scope, metadata=ARRANGED, at=desk.now)
            made[scope] = (text, scope)
        early = desk.now - timedelta(days=1)
        _, text = await service.create_key(
            tx, name="ended", scope=Scope.ADMIN, metadata=ARRANGED, at=early, expires_at=desk.now
        )
        made["an ended key"] = (text, None)
        revoked, text = await service.create_key(tx, name="gone", scope=Scope.ADMIN, metadata=ARRANGED, at=early)
        await service.revoke_key(tx, revoked.id, metadata=ARRANGED, at=early)
        made["a revoked key"] = (text, None)
    yield made


class TestMatrix:
    async def test_every_operation_lets_in_exactly_whom_the_document_says(
        self, database: Database, tmp_path: Path, keys: dict[str, tuple[str | None, Scope | None]]
    ) -> None:
        desk = Desk(database, tmp_path)
        sealing = asyncio.gather(
            sealer.run(database, Outside(tmp_path), clock=desk.clock, poll_seconds=0.05), sequencer.run(database)
        )
        async with desk.caller() as caller:
            assert caller.app is not None
            assert len(operations(caller.app)) > 100
            found = await leaks(caller.app, keys)
        sealing.cancel()
        await asyncio.gather(sealing, return_exceptions=True)

        assert found == []

    async def test_operations_that_forget_to_ask_are_found(
        self, database: Database, tmp_path: Path, keys: dict[str, tuple[str | None, Scope | None]]
    ) -> None:
        async with Desk(database, tmp_path).caller() as caller:
            assert caller.app is not None
            app = build([_planted(), _forgetful()])
            app.state.registry, app.state.key_ring = caller.app.state.registry, caller.app.state.key_ring
            found = await leaks(app, keys)

        wrong = {(words.split()[1].rpartition("/")[2], words.rpartition(" but ")[2]) for words in found}
        assert {
            ("forgot", "nobody got 200"), ("forgot", "an ended key got 200"), ("forgot", "reader got 200"),
            ("weaker", "reader got 200"), ("stricter", "operator got 403"), ("closed", "nobody got 401"),
        } <= wrong  # fmt: skip
        assert not any(name == "right" for name, _ in wrong)
        assert [words for words in found if "hidden" in words] == [f"{PREFIX}/hidden is not in the document"]


def _planted() -> APIRouter:
    """Endpoints whose admission is not what the document will say, and one that is right."""
    router = room(tag="planted")

    async def answer(request: Request) -> Response:
        """Answer."""
        return json_response({})

    for name, says, does in (
        ("right", Scope.OPERATOR, Scope.OPERATOR),
        ("weaker", Scope.ADMIN, Scope.READER),
        ("stricter", Scope.READER, Scope.ADMIN),
    ):
        router.get(f"/{name}", **describe())(_endpoint(says, does))
    router.get("/hidden", include_in_schema=False)(public(answer))
    return router


def _endpoint(says: Scope, does: Scope) -> Any:
    async def admission(scope: AsgiScope, _: Scope) -> ApiKey:
        return await authorize(scope, does)

    async def planted(request: Request) -> Response:
        """Answer."""
        return json_response({})

    return needs(says, admission=admission)(planted)


def _forgetful() -> APIRouter:
    """Routes of the framework's own kind, which ask nobody, or ask where the document says that nobody is asked."""
    router = APIRouter(prefix=PREFIX)
    problems = {code: {"description": "no"} for code in (401, 403)}
    said: dict[str, Any] = {"security": [{"ApiKey": []}], "x-scope": "operator"}

    @router.get("/forgot", openapi_extra=said, responses=problems)
    async def forgot(request: Request) -> Response:
        return json_response({})

    @router.get("/closed")
    async def closed(request: Request) -> Response:
        return json_response({}, 401)

    return router
