"""A request that uses a feature: it must be on for the caller, and how the request ends is counted."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from instrument_registry.breakers import Call
from instrument_registry.catalog.search import SearchTookTooLong
from instrument_registry.configuration.toggles import Toggle, require
from instrument_registry.errors import RegistryError
from instrument_registry.http.auth import caller_of
from instrument_registry.http.deadline import DEADLINE_SECONDS
from instrument_registry.http.problems import status_of
from instrument_registry.operations.degradation.features import Features
from instrument_registry.wiring import Registry

USED = "feature"  # in the scope: what the request uses, until it has ended
NEARLY_SECONDS = 0.5

_Use = tuple[Features, Toggle, Call, float]


def use(scope: Scope, toggle: Toggle) -> None:
    """See that a feature is on for the caller, and has not been given up; Raises: FeatureOff, FeatureGivenUpNow."""
    state = scope["app"].state
    registry: Registry = state.registry
    require(toggle, registry.configuration.now, caller_of(scope).id)
    features: Features = state.features
    scope[USED] = (features, toggle, features.enter(toggle), asyncio.get_running_loop().time())


def ended(scope: Scope, error: BaseException | None = None) -> None:
    """Count how a request ended: what is unforeseen and what took too long is our fault, everything else is not."""
    used: _Use = scope.pop(USED)
    features, toggle, call, began = used
    if error is None:
        features.leave(toggle, call, failure=None)
    elif isinstance(error, asyncio.CancelledError):
        if asyncio.get_running_loop().time() - began >= DEADLINE_SECONDS - NEARLY_SECONDS:
            features.leave(toggle, call, failure="no answer in time")
        else:  # the process is ending
            features.forget(toggle, call)
    elif _is_ours(error):
        features.leave(toggle, call, failure=type(error).__name__)
    else:
        features.forget(toggle, call)


def _is_ours(error: BaseException) -> bool:
    if isinstance(error, RegistryError):
        return isinstance(error, SearchTookTooLong) or status_of(type(error)) == 500
    return isinstance(error, Exception) and not isinstance(error, HTTPException | ClientDisconnect)
