"""The OpenAPI document: every parameter, body, answer and failure of every route, from the structs that carry them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from instrument_registry.errors import NotFound, RegistryError
from instrument_registry.http.bodies import RAW_MEDIA
from instrument_registry.http.limiting import HEADERS
from instrument_registry.http.problems import MEDIA_TYPE, FieldProblem, status_of
from instrument_registry.http.queries import is_list
from instrument_registry.http.routes import DoorRoute, needed_scope
from instrument_registry.http.stale import STALE_HEADERS

API_VERSION = "1.0"  # of the contract in schemas/openapi.json, not of the program
REF = "#/components/schemas/{name}"
KEY_SCHEME = "ApiKey"
TEMPLATE = re.compile(r"\{(\w+)\}")
BODY_METHODS = ("post", "put", "patch", "delete")

HEADER_TEXT = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
NO_ZERO = r"^[^\u0000]*$"

Json = dict[str, Any]  # the document is JSON by nature: it has no narrower type

PROBLEM: Json = {
    "title": "Problem",
    "description": "A failure (RFC 9457). `type` names its kind; further members hold its facts.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "correlation_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "correlation_id": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": REF.format(name="FieldProblem")}},
    },
    "additionalProperties": True,
}

MEANINGS = {
    401: "No valid API key was sent",
    403: "The key lacks the scope",
    404: "Nothing was found",
    405: "The path does not know that method",
    409: "The request conflicts with the present state",
    410: "It is no longer here; `detail` says where it went",
    412: "It has been changed since it was read",
    413: "The body is too large",
    414: "The URL is too long",
    415: "The body has another media type or coding",
    422: "The request is not valid; `errors` names the fields",
    429: "Too many requests; Retry-After says when the next one is let pass",
    500: "Something unforeseen happened; the log has it under the correlation id",
    503: "Not possible right now; try again later",
}

UNREAD = "414"


def describe(
    *,
    query: type[msgspec.Struct] | None = None,
    body: type | None = None,
    raw_body: bool = False,
    headers: Mapping[str, str] | None = None,
    answer: type | None = None,
    status: int = 200,
    means: str = "The answer",
    media: Mapping[str, Json] | None = None,
    problems: Iterable[type[RegistryError]] = (),
    tagged: bool = False,
    from_memory: bool = False,
) -> Json:
    """Keyword arguments for a route: what it reads, what it answers, how it may fail besides what every route may.

    `query` and `body` are the structs it hands to `read_query` and `read_json`, `answer` the struct of its JSON answer,
    `raw_body` that it takes bytes as they are, `headers` which headers of its own it reads and what they mean,
    `media` schemas of answers that are not JSON, `tagged` that it knows entity tags (304), `from_memory` that its
    answer is marked when it may be stale.
    """
    kinds = [kind for kind in (query, body, answer) if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    _without_zero(components)
    named = dict(zip(kinds, schemas, strict=True))
    extra: Json = {"x-components": components}
    if query is not None:
        extra["x-reads-query"] = True
        extra["parameters"] = _parameters(query, components)
    for name, meaning in (headers or {}).items():
        header = {"name": name, "in": "header", "required": False, "description": meaning, "schema": HEADER_TEXT}
        extra.setdefault("parameters", []).append(header)
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": named[body]}}}
    if raw_body:
        extra["requestBody"] = {
            "required": True,
            "content": {RAW_MEDIA: {"schema": {"type": "string", "format": "binary"}}},
        }
    content = dict(media or {})
    if answer is not None:
        content["application/json"] = {"schema": named[answer]}
    responses: dict[int, Json] = {status: {"description": means, **({"content": content} if content else {})}}
    if tagged:
        responses[304] = {"description": "What the caller has is still right"}
    if from_memory:
        for one in responses.values():
            one["headers"] = {
                name: {"description": says, "schema": HEADER_TEXT} for name, says in STALE_HEADERS.items()
            }
    for failure in problems:
        responses[status_of(failure)] = {"description": failure.title}
    return {"openapi_extra": extra, "responses": responses, "status_code": status}


def document(app: FastAPI) -> Json:
    """The OpenAPI document of an app, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _document(app)
    return app.openapi_schema


def _document(app: FastAPI) -> Json:
    whole = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, openapi_version="3.1.0"
    )
    components: Json = whole.setdefault("components", {})
    schemas: Json = components.setdefault("schemas", {})
    for leftover in ("HTTPValidationError", "ValidationError"):
        schemas.pop(leftover, None)
    schemas |= msgspec.json.schema_components([FieldProblem], ref_template=REF)[1] | {"Problem": PROBLEM}
    components["securitySchemes"] = {KEY_SCHEME: {"type": "apiKey", "in": "header", "name": "X-Internal-API-Key"}}
    for route in app.routes:
        if isinstance(route, DoorRoute) and route.include_in_schema:
            for method in route.methods or ():
                operation = whole["paths"][route.path_format][method.lower()]
                _complete(operation, route, method.lower(), schemas)
    components["schemas"] = dict(sorted(schemas.items()))
    return whole


def _complete(operation: Json, route: DoorRoute, method: str, schemas: Json) -> None:
    for name, schema in operation.pop("x-components", {}).items():
        if schemas.setdefault(name, schema) != schema:
            raise ValueError(f"Two different structs are called {name}: one of them needs another name")
    operation.pop("x-reads-query", None)
    described = {parameter["name"] for parameter in operation.get("parameters", ())}
    for name in TEMPLATE.findall(route.path_format):
        if name not in described:
            parameter = {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            operation.setdefault("parameters", []).append(parameter)
    scope = needed_scope(route.endpoint)
    if scope is not None:
        operation["security"] = [{KEY_SCHEME: []}]
        operation["x-scope"] = str(scope)
    responses: Json = operation["responses"]
    for status in _possible(route, method, public=scope is None):
        responses.setdefault(str(status), {"description": MEANINGS[status]})
    for code, answer in responses.items():
        if code == "429":
            told = {name: {"description": says, "schema": {"type": "string"}} for name, says in HEADERS.items()}
            answer["headers"] = told
        if code.isdigit() and int(code) >= 400:
            # What is refused before it is read as a request has no path and no correlation id to tell.
            whole = {"schema": {"$ref": REF.format(name="Problem")}} if code != UNREAD else {}
            answer["content"] = {MEDIA_TYPE: whole}
    operation["responses"] = dict(sorted(responses.items()))


def _possible(route: DoorRoute, method: str, *, public: bool) -> list[int]:
    """The failures every such route may have: from the frame, the key, the query, the path and the body."""
    statuses = [414, 422, 500, 503]
    if not public:
        statuses += [401, 403, 429]
    if route.param_convertors:
        statuses.append(status_of(NotFound))
    if method in BODY_METHODS:
        statuses += [413, 415]
    return statuses


def _parameters(query: type[msgspec.Struct], components: Mapping[str, Json]) -> list[Json]:
    schema = components[query.__name__]
    required = schema.get("required", [])
    found = []
    for name, field in schema["properties"].items():
        field = _without_null(field)
        parameter: Json = {"name": name, "in": "query", "required": name in required, "schema": field}
        if "description" in field:
            parameter["description"] = field.pop("description")
        if is_list(query, name):
            parameter |= {"style": "form", "explode": True}
        found.append(parameter)
    return found


def _without_zero(part: object) -> None:
    """PostgreSQL knows no zero character, so no text here holds one: says so wherever nothing narrower is said."""
    if isinstance(part, dict):
        if part.get("type") == "string" and not part.keys() & {"pattern", "format", "enum", "const"}:
            part["pattern"] = NO_ZERO
        for inner in part.values():
            _without_zero(inner)
    elif isinstance(part, list):
        for inner in part:
            _without_zero(inner)


def _without_null(field: Json) -> Json:
    """A query parameter is absent, never null."""
    field = {name: value for name, value in field.items() if not (name == "default" and value is None)}
    if "anyOf" in field:
        some = [part for part in field["anyOf"] if part != {"type": "null"}]
        field.pop("anyOf")
        field |= some[0] if len(some) == 1 else {"anyOf": some}
    if isinstance(field.get("enum"), list):
        field["enum"] = [choice for choice in field["enum"] if choice is not None]
    return field
