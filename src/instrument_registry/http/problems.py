"""Every failure leaves as a problem document (RFC 9457); only this module knows which status it gets."""

import http
import re
from collections.abc import Mapping, Sequence

import msgspec
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from rapidfuzz.process import extractOne
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from instrument_registry.errors import (
    ChangedSince,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    RegistryError,
    TimedOut,
    TooLarge,
    TooMany,
    Unauthorized,
    Unavailable,
)
from instrument_registry.http.correlation import correlation_of
from instrument_registry.operations.maintenance import ReadOnly

MEDIA_TYPE = "application/problem+json"
VALUE_LIMIT = 200
PATH_LIMIT = 500

log = structlog.get_logger("http")


class InvalidRequest(Invalid):
    """Correct the fields listed under `errors` and send the request again."""

    title = "The request is not valid"


class NoSuchPath(NotFound):
    """Look the path up in /openapi.json."""

    title = "There is nothing at this path"


class MethodNotAllowed(RegistryError):
    """Use one of the methods in the Allow header."""

    title = "This path does not know that method"


class UnsupportedMedia(RegistryError):
    """Send the body as application/json, not compressed."""

    title = "The body has a media type or coding that is not understood"


class BytesExpected(UnsupportedMedia):
    """Send the file as it is, as application/octet-stream and without Content-Encoding; it may be packed itself."""


class Unforeseen(RegistryError):
    """Tell the operators the correlation id; the log has the rest."""

    title = "Something unforeseen happened"


class NotUnderstood(RegistryError):
    """Send what the protocol asks for."""

    title = "The request does not follow the protocol"


class HttpFailure(RegistryError):
    """See the status."""

    title = "The request failed"


STATUS: dict[type[RegistryError], int] = {
    NotUnderstood: 400,
    Invalid: 422,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    TimedOut: 408,
    Conflict: 409,
    ChangedSince: 412,
    Gone: 410,
    TooLarge: 413,
    UnsupportedMedia: 415,
    TooMany: 429,
    Unavailable: 503,
    RegistryError: 500,
}

HEADERS: dict[type[RegistryError], Mapping[str, str]] = {
    Unauthorized: {"www-authenticate": 'ApiKey realm="instrument-registry", header="X-Internal-API-Key"'},
    BytesExpected: {"accept": "application/octet-stream", "accept-encoding": "identity"},
    UnsupportedMedia: {"accept": "application/json", "accept-encoding": "identity"},
    ReadOnly: {"retry-after": "30"},
    Unavailable: {"retry-after": "1"},
}


CUT_ESCAPE = re.compile(rb"%[0-9A-Fa-f]?\Z")  # what a bound leaves of an escaped byte


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong with one field, and what would be right."""

    field: str
    problem: str
    remedy: str
    value: str | None = None


def path_of(scope: Scope) -> str:
    """The path as it was sent, cut to a bound."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return CUT_ESCAPE.sub(b"", raw[:PATH_LIMIT]).decode("ascii", "replace")


def status_of(error: type[RegistryError]) -> int:
    """The HTTP status of a kind of failure."""
    return next(STATUS[kind] for kind in error.__mro__ if kind in STATUS)


def problem(
    scope: Scope, error: RegistryError, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An error as the answer to a request."""
    status = status or status_of(type(error))
    body = error.facts | {  # the standard members win over a fact of the same name
        "type": f"/problems/{type(error).__name__}",
        "title": error.title,
        "status": status,
        "detail": str(error),
        "instance": path_of(scope),
        "correlation_id": correlation_of(scope),
    }
    own: Mapping[str, str] = next((HEADERS[kind] for kind in type(error).__mro__ if kind in HEADERS), {})
    if isinstance(wait := error.facts.get("retry_after"), int):
        own = {**own, "retry-after": str(wait)}
    content = msgspec.json.encode(body, enc_hook=str)
    return Response(content, status, headers={**own, **(headers or {})}, media_type=MEDIA_TYPE)


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word somebody most likely meant, or none."""
    found = extractOne(word[:VALUE_LIMIT], known, score_cutoff=60)
    return None if found is None else found[0]


def unknown_name(where: str, name: str, known: Sequence[str]) -> FieldProblem:
    """Says that a field or parameter does not exist here, and which one does."""
    guess = nearest(name, known)
    listed = ", ".join(known) or "none"
    remedy = f"Did you mean {guess}? Known here: {listed}" if guess else f"Leave it out; known here: {listed}"
    return FieldProblem(field=f"{where}.{name[:VALUE_LIMIT]}", problem="is not known here", remedy=remedy)


def refused(problems: Sequence[FieldProblem]) -> InvalidRequest:
    """One error for all the fields that are wrong."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return InvalidRequest(f"{first.field} {first.problem}{more}", errors=list(problems))


def shown(value: object) -> str | None:
    """A value as text for an answer, cut to a bound."""
    if value is None:
        return None
    return (value if isinstance(value, str) else repr(value))[:VALUE_LIMIT]


def install(app: FastAPI) -> None:
    """Make every failure inside the app a problem document."""
    app.add_exception_handler(RegistryError, _foreseen)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _validation)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _http)  # type: ignore[arg-type]
    app.add_exception_handler(ClientDisconnect, _gone)


def last_resort() -> Middleware:
    """Answers and logs what nobody foresaw.

    A layer of its own, because a handler for `Exception` given to the app would raise it again after the answer, for
    the server to log a second time.
    """
    return Middleware(ExceptionMiddleware, handlers={Exception: _unforeseen})


async def _foreseen(request: Request, error: RegistryError) -> Response:
    if status_of(type(error)) == 500:
        return await _unforeseen(request, error)
    if isinstance(error, Unauthorized | Forbidden) and (refusals := getattr(request.app.state, "refusals", None)):
        refusals.note(request.scope, error)
    return problem(request.scope, error)


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("http.failed", method=request.method, path=path_of(request.scope), exc_info=error)
    return problem(request.scope, Unforeseen("The failure has been logged under this correlation id"))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


async def _validation(request: Request, error: RequestValidationError) -> Response:
    return problem(request.scope, refused([_field_problem(found) for found in error.errors()[:100]]))


async def _http(request: Request, error: HTTPException) -> Response:
    scope = request.scope
    if error.status_code == 404:
        return problem(scope, NoSuchPath(f"There is nothing at {path_of(scope)}"))
    if error.status_code == 405:
        allowed = _methods_at(scope)
        detail = f"{scope['method'][:20]} is not possible here; {', '.join(allowed)} is"
        return problem(scope, MethodNotAllowed(detail, allowed=allowed), headers={"allow": ", ".join(allowed)})
    failure = HttpFailure(str(error.detail) or http.HTTPStatus(error.status_code).phrase)
    return problem(scope, failure, status=error.status_code, headers=error.headers)


def _methods_at(scope: Scope) -> list[str]:
    """Every method of this path, and not only those of the route that matched it first."""
    path = getattr(scope.get("route"), "path", scope["path"])
    methods: set[str] = set()
    for route in scope["app"].router.routes:
        if getattr(route, "path", None) == path:
            methods |= getattr(route, "methods", None) or {"GET"}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


# pydantic's error types -> what to do about them; {…} are the error's own context
REMEDIES = {
    "missing": "Add it",
    "greater_than_equal": "Send a value of at least {ge}",
    "greater_than": "Send a value above {gt}",
    "less_than_equal": "Send a value of at most {le}",
    "less_than": "Send a value below {lt}",
    "string_too_short": "Send at least {min_length} characters",
    "string_too_long": "Send at most {max_length} characters",
    "string_pattern_mismatch": "Send text of the form {pattern}",
    "int_parsing": "Send a whole number",
    "float_parsing": "Send a number",
    "bool_parsing": "Send true or false",
    "date_from_datetime_parsing": "Send a date as YYYY-MM-DD",
    "date_parsing": "Send a date as YYYY-MM-DD",
    "enum": "Send {expected}",
    "literal_error": "Send {expected}",
}
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _field_problem(found: Mapping[str, object]) -> FieldProblem:
    location = found.get("loc")
    place = location if isinstance(location, (tuple, list)) else (location,)
    context = found.get("ctx")
    facts = context if isinstance(context, Mapping) else {}
    remedy = REMEDIES.get(str(found.get("type")), "See the parameter in /openapi.json")
    return FieldProblem(
        field=".".join(str(part) for part in place),
        problem=str(found.get("msg", "is not valid"))[:VALUE_LIMIT],
        remedy=PLACEHOLDER.sub(lambda match: str(facts.get(match[1], "?")), remedy),
        value=None if found.get("type") == "missing" else shown(found.get("input")),
    )
