"""Answers on hot paths: JSON bytes by msgspec, the envelope of lists, entity tags."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from instrument_registry.http.correlation import correlation_of

JSON = b"application/json"

_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


class Pagination(msgspec.Struct, frozen=True, kw_only=True):
    """Where this page stands; send `next_cursor` as `cursor` for the one after it."""

    limit: int
    count: int
    next_cursor: str | None = None
    total: int | None = None


def json_bytes(body: object) -> bytes:
    """A body as compact JSON: structs, dataclasses and raw fragments as they are, decimals as text."""
    return _encoder.encode(body)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A body as a JSON answer."""
    return bytes_response(_encoder.encode(body), status, headers)


def bytes_response(
    content: bytes, status: int = 200, headers: Mapping[str, str] | None = None, *, media_type: bytes = JSON
) -> Response:
    """Bytes that are ready to be sent, without the framework's work on headers."""
    response = _Prepared(status)
    response.body = content
    response.raw_headers = [(b"content-length", b"%d" % len(content)), (b"content-type", media_type)]
    if headers:
        response.raw_headers += [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
        ]
    return response


def list_response(
    scope: Scope,
    instruments: Sequence[object] | msgspec.Raw,
    *,
    pagination: Pagination,
    catalog_position: int,
    index_age_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    **more: object,
) -> Response:
    """A page of instruments (structs, or fragments as `msgspec.Raw`) in the envelope every list has."""
    body = {
        "instruments": instruments,
        "pagination": pagination,
        **more,
        "catalog_position": catalog_position,
        "index_age_seconds": round(index_age_seconds, 3),
        "correlation_id": correlation_of(scope),
        "response_time_ms": response_time_ms(scope, clock=clock),
    }
    return bytes_response(_encoder.encode(body))


def response_time_ms(scope: Scope, *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds since the request reached the frame."""
    now = clock()
    started: float = scope.get("started", now)
    return round((now - started) * 1000, 3)


def entity_tag(*parts: object) -> str:
    """A weak entity tag (the bytes may differ by compression) of whatever decides the answer."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()
    return f'W/"{digest}"'


def not_modified(scope: Scope, tag: str) -> Response | None:
    """The 304 for a caller who already has this, else None: ask before doing the work."""
    given = next((value for name, value in scope["headers"] if name == b"if-none-match"), None)
    if given is None:
        return None
    tags = {part.strip().removeprefix("W/") for part in given.decode("latin-1").split(",")}
    if "*" not in tags and tag.removeprefix("W/") not in tags:
        return None
    response = _Prepared(304)
    response.body = b""
    response.raw_headers = [(b"etag", tag.encode("latin-1"))]
    return response


class _Prepared(Response):
    """A response whose body and headers are set by hand."""

    def __init__(self, status: int) -> None:
        self.status_code = status
        self.background = None
