"""A route of this door asks who is calling and refuses parameters it does not know, before its function runs."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import ApiKey, Scope
from instrument_registry.errors import Forbidden, Unauthorized
from instrument_registry.http.auth import KeyRing, authorize
from instrument_registry.http.features import USED, ended
from instrument_registry.http.limiting import Limiting, class_of
from instrument_registry.http.queries import refuse_unknown
from instrument_registry.http.read_only import changes_something
from instrument_registry.http.shedding import HELD, Gate
from instrument_registry.operations.degradation.memory import Memory
from instrument_registry.operations.maintenance import ReadOnlyGate

PREFIX = "/api/v1/internal/instrument-registry"

Admission = Callable[[AsgiScope, Scope], Awaitable[ApiKey]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def needs(scope: Scope, *, admission: Admission = authorize) -> Callable[[Endpoint], Endpoint]:
    """Which scope a caller needs for an endpoint; without this mark it is `reader`."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.needed_scope = scope  # type: ignore[attr-defined]
        endpoint.admission = admission  # type: ignore[attr-defined]
        return endpoint

    return mark


def public(endpoint: Endpoint) -> Endpoint:
    """Anybody may call this endpoint."""
    endpoint.needed_scope = None  # type: ignore[attr-defined]
    return endpoint


def needed_scope(endpoint: Callable[..., Any]) -> Scope | None:
    """What a caller needs for an endpoint; none for a public one."""
    scope: Scope | None = getattr(endpoint, "needed_scope", Scope.READER)
    return scope


class DoorRoute(APIRoute):
    """The only kind of route that rooms use: who calls is asked here, and not in dependencies, which cost 50 µs each.

    An endpoint that takes the request alone and returns a response is called straight away; one that declares
    parameters goes through FastAPI, which reads them.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def door(request: Request) -> Response:
            await self._admit(request.scope)
            return await handle(request)

        return door

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] not in (self.methods or ()) or not _takes_the_request_alone(self.endpoint):
                await super().handle(scope, receive, send)
                return
            await self._admit(scope)
            response = await self.endpoint(Request(scope, receive, send))
            if USED in scope:
                ended(scope)
            await response(scope, receive, send)
        except BaseException as error:
            if USED in scope:
                ended(scope, error)
            raise
        finally:
            if HELD in scope:
                scope[HELD].leave(scope)

    async def _admit(self, scope: AsgiScope) -> None:
        needed = needed_scope(self.endpoint)
        if needed is not None:
            admission: Admission = getattr(self.endpoint, "admission", authorize)
            limiting: Limiting | None = getattr(scope["app"].state, "limiting", None)
            kind = class_of(self.endpoint, self.path, scope["method"])
            try:
                caller = await admission(scope, needed)
            except (Unauthorized, Forbidden):
                if limiting is not None:  # nobody is refused for nothing
                    known: ApiKey | None = scope.get("caller")
                    stranger = kind if known else RouteClass.STRANGER
                    await limiting.admit(scope, stranger, key_id=known.id if known else None)
                raise
            if limiting is not None:
                await limiting.admit(scope, kind, key_id=caller.id)
        if scope["query_string"] and "x-reads-query" not in (self.openapi_extra or ()):
            refuse_unknown(scope["query_string"], tuple(parameter.alias for parameter in self.dependant.query_params))
        if changes_something(self.path, scope["method"], PREFIX):
            read_only: ReadOnlyGate | None = getattr(scope["app"].state, "read_only", None)
            if read_only is not None:
                await read_only.check()
            if needed is not None:  # who was let in on trust may only read
                ring: KeyRing = scope["app"].state.key_ring
                await ring.be_sure()
        if getattr(self.endpoint, "route_class", None) is RouteClass.EXPENSIVE:
            gate: Gate | None = getattr(scope["app"].state, "gate", None)
            memory: Memory | None = getattr(scope["app"].state, "memory", None)
            if memory is not None:
                memory.require_room()
            if gate is not None:
                await gate.enter(scope)


@cache
def _takes_the_request_alone(endpoint: Callable[..., Any]) -> bool:
    signature = inspect.signature(endpoint)
    taken = [parameter.annotation for parameter in signature.parameters.values()]
    answers = signature.return_annotation
    return taken == [Request] and isinstance(answers, type) and issubclass(answers, Response)


def room(*, tag: str, prefix: str = "") -> APIRouter:
    """The routes of one room, below the API's prefix."""
    return APIRouter(prefix=PREFIX + prefix, tags=[tag], route_class=DoorRoute)


def root(*, tag: str) -> APIRouter:
    """Routes at the server's root."""
    return APIRouter(tags=[tag], route_class=DoorRoute)


class Dispatch(BaseRoute):
    """Finds the route of a request: fixed paths by one look, the others in turn, each path once for all its methods.

    A path belongs to its own routes whatever the method: a GET of `/instruments/bulk` does not ask for an instrument
    called bulk, but is told that only POST works there.
    """

    def __init__(self, routes: list[BaseRoute]) -> None:
        self._fixed: dict[str, dict[str, APIRoute]] = {}
        named: dict[str, dict[str, APIRoute]] = {}
        for route in routes:
            if isinstance(route, APIRoute):
                paths = named if route.param_convertors else self._fixed
                paths.setdefault(route.path, {}).update(dict.fromkeys(route.methods or (), route))
        # The sort is stable: names that end before a suffix come first, `{key:path}` takes only what is left.
        self._named = [named[path] for path in sorted(named, key=lambda path: path.endswith(":path}"))]

    def matches(self, scope: AsgiScope) -> tuple[Match, AsgiScope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        there = self._fixed.get(scope["path"])
        if there is not None:
            return Match.FULL, _found(there, scope["method"], {})
        for there in self._named:
            route = next(iter(there.values()))
            match = route.path_regex.match(scope["path"])
            if match is not None:
                names = {name: route.param_convertors[name].convert(text) for name, text in match.groupdict().items()}
                return Match.FULL, _found(there, scope["method"], names)
        return Match.NONE, {}

    def methods(self, scope: AsgiScope) -> list[str]:
        """What can be done at the path of a request; nothing where nothing is."""
        there = self._fixed.get(scope["path"]) or next(
            (one for one in self._named if next(iter(one.values())).path_regex.match(scope["path"])), {}
        )
        return sorted({*there, "HEAD"} if "GET" in there else there)

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await scope["route"].handle(scope, receive, send)


def _found(there: dict[str, APIRoute], method: str, names: dict[str, object]) -> AsgiScope:
    route = there.get(method) or next(iter(there.values()))  # which then refuses the method
    return {"endpoint": route.endpoint, "path_params": names, "route": route}
