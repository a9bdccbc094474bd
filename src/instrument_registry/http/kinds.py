"""What the `type` of a problem document points to: each kind of failure, and what a caller can do about it."""

import inspect
from collections.abc import Iterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry.errors import NotFound, RegistryError
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.paths import named
from instrument_registry.http.problems import nearest, status_of
from instrument_registry.http.routes import public, root


class ProblemKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of failure."""

    type: str
    title: str
    status: int
    remedy: str


class NoSuchKind(NotFound):
    """Take the name from the `type` of a problem document."""

    title = "There is no such kind of problem"


router = root(tag="problems")


@router.get("/problems/{name}", **describe(answer=ProblemKind, means="The kind of failure", problems=(NoSuchKind,)))
@public
async def kind_of_problem(request: Request) -> Response:
    """What a kind of failure means and what to do about it."""
    name = named(request.scope, "name")
    known = {kind.__name__: kind for kind in _kinds(RegistryError)}
    if name not in known:
        raise NoSuchKind(f"{name} is not a kind of problem", nearest=nearest(name, sorted(known)))
    kind = known[name]
    remedy = " ".join((inspect.getdoc(kind) or "").split())
    return json_response(ProblemKind(type=f"/problems/{name}", title=kind.title, status=status_of(kind), remedy=remedy))


def _kinds(root_kind: type[RegistryError]) -> Iterator[type[RegistryError]]:
    yield root_kind
    for kind in root_kind.__subclasses__():
        yield from _kinds(kind)
