"""Request bodies: bounded before they are read, read as one struct, refused in the caller's words."""

import hashlib
from collections.abc import Hashable, Mapping
from functools import cache
from typing import IO, TypeVar, cast

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from instrument_registry.errors import TooLarge
from instrument_registry.http.fields import explain
from instrument_registry.http.problems import BytesExpected, FieldProblem, UnsupportedMedia, problem, refused

BODY_LIMIT_BYTES = 4 * 1024 * 1024  # 10,000 identifiers of 400 bytes
JSON_MEDIA = "application/json"
RAW_MEDIA = "application/octet-stream"
BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

Body = TypeVar("Body")


class BodyTooLarge(TooLarge):
    """Send less at once."""

    title = "The request body is too large"


class BodyLimit:
    """Refuses bodies above a bound, told or counted; some paths (by their ending) may have a larger one."""

    def __init__(
        self, app: ASGIApp, *, limit_bytes: int = BODY_LIMIT_BYTES, larger: Mapping[str, int] | None = None
    ) -> None:
        self.app = app
        self.limit_bytes = limit_bytes
        self.larger = dict(larger or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in BODILESS:
            await self.app(scope, receive, send)
            return
        limit = next((size for ending, size in self.larger.items() if scope["path"].endswith(ending)), self.limit_bytes)
        told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not told.isdigit() or int(told) > limit:
            # The unread body would be taken for the next request, so the connection ends here.
            answer = problem(scope, _too_large(limit), headers={"connection": "close"})
            await answer(scope, receive, send)
            return
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                if got > limit:
                    raise _too_large(limit)
            return message

        await self.app(scope, counted, send)


async def read_json(request: Request, kind: type[Body]) -> Body:
    """The JSON body as a struct, or as a map with values of some types.

    Raises: UnsupportedMedia, BodyTooLarge, InvalidRequest naming the field.
    """
    _require(request, JSON_MEDIA)
    raw = await request.body()
    if b"\\u0000" in raw:
        raise refused([FieldProblem(field="body", problem="holds a zero character", remedy="Leave it out")])
    try:
        return cast(Body, _decoder(cast(Hashable, kind)).decode(raw))
    except msgspec.ValidationError as error:
        raise explain(error, where="body", kind=cast("type[msgspec.Struct]", kind), given=_plain(raw)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        problem = f"is not JSON: {error}" if raw else "is missing"
        raise refused([FieldProblem(field="body", problem=problem, remedy="Send one JSON object")]) from error


async def read_raw(request: Request, into: IO[bytes]) -> str:
    """Write the body, sent as bytes, to a file; its SHA-256 in hex is the answer.

    Raises: BytesExpected, BodyTooLarge.
    """
    _require(request, RAW_MEDIA, otherwise=BytesExpected)
    digest = hashlib.sha256()
    async for piece in request.stream():
        digest.update(piece)
        into.write(piece)
    into.seek(0)
    return digest.hexdigest()


def _plain(raw: bytes) -> object:
    """The body without its types, to show what was refused; nothing when it is too deep for that."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None


@cache
def _decoder(kind: Hashable) -> "msgspec.json.Decoder[object]":
    return msgspec.json.Decoder(kind)


def _require(request: Request, wanted: str, *, otherwise: type[UnsupportedMedia] = UnsupportedMedia) -> None:
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise otherwise(f"A body with Content-Encoding {coding[:50]} is not read; send it as it is")
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != wanted and not (wanted == JSON_MEDIA and media.startswith("application/") and media.endswith("+json")):
        raise otherwise(f"The body must be {wanted}, not {media[:50] or 'untyped'}")


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body may have at most {limit_bytes} bytes", limit_bytes=limit_bytes)
