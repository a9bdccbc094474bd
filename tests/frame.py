"""The HTTP frame around a few endpoints of our own, without a database: for tests of what every endpoint gets."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import httpx
import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from instrument_registry.access.model import Scope, SealedKey, Wanted, mint
from instrument_registry.errors import Conflict, NotFound, Unavailable
from instrument_registry.http.app import build
from instrument_registry.http.auth import KeyRing, authorize_like_kite, caller_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, entity_tag, json_response, list_response, not_modified
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import PREFIX, needs, public, room, root

NOON = datetime(2026, 8, 18, 6, 30, tzinfo=UTC)


class Word(msgspec.Struct, frozen=True, kw_only=True):
    word: str


class Page(msgspec.Struct, frozen=True, kw_only=True):
    instruments: list[Word]
    pagination: Pagination
    catalog_position: int
    index_age_seconds: float
    correlation_id: str
    response_time_ms: float


class WordsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    query: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=100, description="Words on a page.")] = 20
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None
    order: Literal["rank", "name"] = "rank"
    broker: list[str] = []


class WordsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    words: Annotated[list[str], msgspec.Meta(max_length=10_000)]


class AlreadyThere(Conflict):
    title = "The word is already there"


words = room(tag="words")
kite = root(tag="kite")


@words.get("/words", **describe(query=WordsQuery, answer=Page))
async def list_words(request: Request) -> Response:
    query = read_query(request.scope, WordsQuery)
    question = (query.query, query.order, query.broker)
    start = decode_cursor(query.cursor, int, question=question) if query.cursor else 0
    found = [Word(word=f"{query.query}{number}") for number in range(start, start + query.limit)]
    pagination = Pagination(
        limit=query.limit, count=len(found), next_cursor=encode_cursor(start + query.limit, question=question)
    )
    return list_response(request.scope, found, pagination=pagination, catalog_position=7, index_age_seconds=0.25)


@words.post("/words/bulk", **describe(body=WordsBody, answer=WordsBody))
async def bulk_words(request: Request) -> Response:
    return json_response(await read_json(request, WordsBody))


@words.get("/words/{key:path}/history", **describe(answer=Word, problems=(NotFound,)))
async def word_history(request: Request) -> Response:
    return json_response(Word(word=f"history of {named(request.scope, 'key')}"))


@words.get("/words/{key:path}", **describe(answer=Word, problems=(NotFound,), tagged=True))
async def one_word(request: Request) -> Response:
    word = named(request.scope, "key")
    tag = entity_tag(word)
    return not_modified(request.scope, tag) or json_response(Word(word=word), headers={"ETag": tag})


@words.put("/words/{key:path}/overrides", **describe(body=WordsBody, answer=Word, problems=(Conflict,)))
@needs(Scope.OPERATOR)
async def put_word(request: Request) -> Response:
    raise AlreadyThere(f"{caller_of(request.scope).name} put it there", status=200, since=NOON)


@words.post("/words/{key:path}/overrides", **describe(body=WordsBody, answer=Word, problems=(Conflict,)))
@needs(Scope.OPERATOR)
async def post_word(request: Request) -> Response:
    return await put_word(request)


@words.get("/plain", **describe(answer=Word))
async def plain(limit: int = 3) -> Response:
    return json_response(Word(word=str(limit)))


@words.get("/secret", **describe(answer=Word))
@needs(Scope.ADMIN)
async def secret() -> Response:
    return json_response(Word(word="secret"))


@words.get("/bug", **describe(answer=Word))
@public
async def bug() -> Response:
    raise ZeroDivisionError("the password is hunter2")


@words.get("/away", **describe(answer=Word))
@public
async def away() -> Response:
    raise Unavailable("The index is being built")


@words.get("/slow", **describe(answer=Word))
@public
async def slow() -> Response:
    await asyncio.sleep(60)
    return json_response(Word(word="late"))


@words.get("/stream/{pieces:int}", **describe(media={"text/csv": {"schema": {"type": "string"}}}))
@public
async def stream(request: Request) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(request.path_params["pieces"]):
            yield b"%d,RELIANCE,NSE\n" % number

    return StreamingResponse(lines(), media_type="text/csv")


@words.get("/text/{length:int}", **describe(answer=Word))
@public
async def text(request: Request) -> Response:
    return json_response(Word(word="x" * request.path_params["length"]))


@kite.get("/instruments", **describe(media={"text/csv": {"schema": {"type": "string"}}}))
@needs(Scope.READER, admission=authorize_like_kite)
async def kite_instruments() -> Response:
    return Response("instrument_token\n", media_type="text/csv")


class Keys:
    """The keys in force, as a test wants them; counts how often it is asked."""

    def __init__(self) -> None:
        self.in_force: dict[str, SealedKey] = {}
        self.asked = 0
        self.used: list[str] = []
        self.away = False

    def add(
        self, scope: Scope, *, name: str = "somebody", expires_at: datetime | None = None, made_at: datetime = NOON
    ) -> tuple[str, str]:
        """A new key: its id and its text."""
        number = len(self.in_force).to_bytes(1, "big")
        wanted = Wanted(name=name, scope=scope, expires_at=expires_at)
        sealed, text = mint(wanted, created_by="test", at=made_at, random_bytes=lambda length: number * length)
        self.in_force[sealed.key.id] = sealed
        return sealed.key.id, text

    async def load(self) -> Mapping[str, SealedKey]:
        self.asked += 1
        if self.away:
            raise Unavailable("The database does not answer")
        return dict(self.in_force)

    async def record_use(self, key_id: str) -> None:
        self.used.append(key_id)


def app_with(keys: Keys, *, origins: Sequence[str] = ()) -> FastAPI:
    """The frame around the endpoints above, which pages of some origins may call."""
    app = build([words, kite], origins=origins)
    app.state.key_ring = KeyRing(keys.load, keys.record_use, clock=lambda: NOON)
    return app


def client_of(app: FastAPI, key: str | None = None, **headers: str) -> httpx.AsyncClient:
    """A caller at the ASGI door."""
    if key is not None:
        headers["X-Internal-API-Key"] = key
    headers = {"Accept-Encoding": "identity"} | headers
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://registry" + PREFIX, headers=headers
    )
