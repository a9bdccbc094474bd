"""Toggles as operators turn them: one feature in one request, with the history and the way back of any parameter."""

from datetime import date
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.clock import MARKET_ZONE
from instrument_registry.configuration import service
from instrument_registry.configuration.model import (
    AnyParameter,
    BadValue,
    OtherVersion,
    Pinned,
    Snapshot,
    Source,
    Value,
)
from instrument_registry.configuration.toggles import TOGGLES, Toggle, UnknownToggle, Verdict, Why, find_toggle, judge
from instrument_registry.http.auth import caller_of, metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paths import named
from instrument_registry.http.preconditions import MATCHED, expected_version, version_tag
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.operations.degradation.features import PREFIX
from instrument_registry.wiring import Registry

KEYS_MAX = 100


class ToggleShown(msgspec.Struct, frozen=True, kw_only=True):
    """A toggle: what it says for everybody, for whom besides, and for the key that was asked about."""

    feature: str
    parameter: str
    enabled: bool
    percent: float
    keys: list[str]
    sources: dict[str, Source]
    verdict: bool  # for `key`
    why: Why
    key: str
    owner: str
    purpose: str
    expires_on: date | None
    overdue: bool
    version: int
    given_up: str | None  # why it was turned off by itself, whatever its parameters say; reset its breaker to end that


class ToggleList(msgspec.Struct, frozen=True, kw_only=True):
    """Every toggle; those that are overdue should have been taken out of the program by now."""

    toggles: list[ToggleShown]
    overdue: list[str]
    version: int


class ToggleQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For which key to judge; without one, for the caller's."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)] | None = None


class ToggleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the feature is on, for which share of keys, for which keys in any case, and why; what is absent stays."""

    enabled: bool
    reason: Reason
    percent: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    keys: (
        Annotated[
            list[Annotated[str, msgspec.Meta(pattern="^[^, ]{1,100}$")]],
            msgspec.Meta(max_length=KEYS_MAX, description="Ids of API keys; an empty list names none."),
        ]
        | None
    ) = None


router = room(tag="actuators")


@router.get("/actuator/toggles", **describe(query=ToggleQuery, answer=ToggleList, means="The toggles"))
@needs(Scope.OPERATOR)
async def list_toggles(request: Request) -> Response:
    """Every toggle, and which are overdue."""
    registry: Registry = request.app.state.registry
    key, now = _key(request), registry.configuration.now
    found = [_shown(registry, one, now, key=key) for one in TOGGLES.values()]
    overdue = [one.feature for one in found if one.overdue]
    return json_response(ToggleList(toggles=found, overdue=overdue, version=now.version))


@router.get(
    "/actuator/toggle/{feature}",
    **describe(query=ToggleQuery, answer=ToggleShown, means="The toggle", problems=(UnknownToggle,)),
)
@needs(Scope.OPERATOR)
async def show_toggle(request: Request) -> Response:
    """One toggle, by its feature or by the parameter that turns it off."""
    registry: Registry = request.app.state.registry
    toggle = find_toggle(TOGGLES, named(request.scope, "feature"))
    return _answer(registry, toggle, key=_key(request))


@router.post(
    "/actuator/toggle/{feature}",
    **describe(
        body=ToggleBody, headers=MATCHED, answer=ToggleShown, means="The toggle as it is now",
        problems=(UnknownToggle, BadValue, Pinned, OtherVersion),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def turn_toggle(request: Request) -> Response:
    """Turn a feature on or off, for everybody or for some; what is so already is no new version."""
    registry: Registry = request.app.state.registry
    toggle = find_toggle(TOGGLES, named(request.scope, "feature"))
    asked, expected = await read_json(request, ToggleBody), expected_version(request)
    metadata, at, sources = metadata_of(request.scope), registry.clock(), registry.configuration.sources
    wanted: dict[str, Value] = {toggle.enabled.name: asked.enabled}
    if asked.percent is not None:
        wanted[toggle.percent.name] = asked.percent
    if asked.keys is not None:
        wanted[toggle.keys.name] = ",".join(sorted(set(asked.keys)))
    async with registry.database.transaction() as tx:
        await service.expect(tx, expected)
        there = await service.read(tx, sources)
        changes: dict[str, str | None] = {
            one.name: one.text(wanted[one.name])
            for one in _parameters(toggle)
            if one.name in wanted and there.settings[one.name].value != wanted[one.name]
        }
        if changes:
            await service.change(tx, changes, sources, reason=asked.reason, metadata=metadata, at=at)
    if changes:
        await events.wake(registry.database)
    await registry.configuration.refresh()
    return _answer(registry, toggle, key=caller_of(request.scope).id)


def _parameters(toggle: Toggle) -> tuple[AnyParameter, ...]:
    return (toggle.enabled, toggle.percent, toggle.keys)


def _key(request: Request) -> str:
    return read_query(request.scope, ToggleQuery).key or caller_of(request.scope).id


def _answer(registry: Registry, toggle: Toggle, *, key: str) -> Response:
    now = registry.configuration.now
    return json_response(_shown(registry, toggle, now, key=key), headers={"etag": version_tag(now.version)})


def _shown(registry: Registry, toggle: Toggle, now: Snapshot, *, key: str) -> ToggleShown:
    verdict: Verdict = judge(toggle, now, key)
    today = registry.clock().astimezone(MARKET_ZONE).date()
    guard = registry.breakers.of(PREFIX + toggle.feature)
    return ToggleShown(
        feature=toggle.feature, parameter=toggle.name, enabled=now[toggle.enabled], percent=now[toggle.percent],
        keys=[one.strip() for one in now[toggle.keys].split(",") if one.strip()],
        sources={one.name: now.settings[one.name].source for one in _parameters(toggle)},
        verdict=verdict.on, why=verdict.why, key=key, owner=toggle.owner, purpose=toggle.enabled.why,
        expires_on=toggle.expires_on, overdue=toggle.overdue(today), version=now.version,
        given_up=None if guard.closed else guard.standing.reason,
    )  # fmt: skip
