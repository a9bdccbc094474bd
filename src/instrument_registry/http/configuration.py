"""Parameters and toggles: what is in force and why, changed in one request, undone in one call."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import Scope
from instrument_registry.configuration import service
from instrument_registry.configuration.live import LiveConfiguration
from instrument_registry.configuration.model import (
    BadValue,
    NeedsRestart,
    NoSuchChange,
    NoSuchVersion,
    OtherVersion,
    Pinned,
    Scheduled,
    Snapshot,
    Source,
    UnknownParameter,
    Value,
    Version,
)
from instrument_registry.configuration.parameters import PARAMETERS
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response, not_modified
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import numbered
from instrument_registry.http.preconditions import MATCHED, expected_version, version_tag
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.wiring import Registry

REASON = "reason"
NOT_GIVEN = "not given"

Given = bool | int | float | str | None
ParameterMap = dict[str, Given]


class ParameterShown(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter: what is in force and where it comes from, what it may be and why it is there."""

    name: str
    value: Value
    source: Source
    default: Value
    kind: str
    unit: str | None
    bounds: str
    live: bool
    owner: str
    why: str
    age_seconds: float | None  # since the tables or the external service said so; null for what needs no asking


class ConfigurationShown(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in force at one version; secret values are hidden."""

    version: int
    parameters: list[ParameterShown]
    age_seconds: float | None


class VersionShown(msgspec.Struct, frozen=True, kw_only=True):
    """One change of some parameters at once; null: the value from further down."""

    version: int
    changes: dict[str, dict[str, str | None]]
    reason: str
    actor: str
    correlation_id: str
    at: datetime
    reverts_to: int | None


class VersionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Changes, the newest first."""

    versions: list[VersionShown]
    pagination: Pagination


class VersionsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which changes to list."""

    parameter: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class DifferenceShown(msgspec.Struct, frozen=True, kw_only=True):
    """What a change would do to one parameter."""

    name: str
    old: str
    new: str


class ConfigurationPreview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a change would do."""

    differences: list[DifferenceShown]


class RevertBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To which version, and why; 0 is before the first change."""

    version: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    reason: Reason


class RevertShown(msgspec.Struct, frozen=True, kw_only=True):
    """The version that was made; none when everything was so already."""

    made: VersionShown | None


class ScheduledChangeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change, when (with an offset), and why."""

    parameters: ParameterMap
    due_at: Annotated[datetime, msgspec.Meta(tz=True)]
    reason: Reason


class ScheduledShown(msgspec.Struct, frozen=True, kw_only=True):
    """A change that is to come, came (`version`), or could not (`problem`)."""

    id: int
    due_at: datetime
    changes: dict[str, str | None]
    reason: str
    actor: str
    correlation_id: str
    made_at: datetime
    state: str
    version: int | None
    problem: str | None
    ended_at: datetime | None


class ScheduledPage(msgspec.Struct, frozen=True, kw_only=True):
    """Changes that are to come, or all there were."""

    scheduled: list[ScheduledShown]


class ScheduledQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Those that wait, or every one."""

    waiting: bool = True


class CancelQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why it is not to come."""

    reason: Reason


class ConfigurationFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is set live, as text by name; importing it sets exactly this and takes back what it lacks."""

    parameters: dict[str, str]
    reason: Reason = "imported"


CHANGE_PROBLEMS = (UnknownParameter, BadValue, Pinned, NeedsRestart, OtherVersion)
router = room(tag="configuration")


@router.get("/actuator/config", **describe(answer=ConfigurationShown, means="The configuration", tagged=True))
@needs(Scope.OPERATOR)
async def show_configuration(request: Request) -> Response:
    """Every parameter with its value and where that comes from, as this worker has it; the ETag is for If-Match."""
    registry: Registry = request.app.state.registry
    there = registry.configuration.now
    tag = _tag(registry.configuration, there)
    return not_modified(request.scope, tag) or json_response(
        _configuration(registry.configuration, there),
        headers={"etag": tag, "cache-control": "no-cache"},
    )


@router.post(
    "/actuator/config",
    **describe(
        body=ParameterMap, headers=MATCHED, answer=ConfigurationShown, means="The configuration as it is now",
        problems=CHANGE_PROBLEMS,
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def change_configuration(request: Request) -> Response:
    """Set parameters by name, all of them or none; null takes a value back, `reason` says why."""
    registry: Registry = request.app.state.registry
    given = await read_json(request, ParameterMap)
    reason, changes = str(given.pop(REASON, None) or NOT_GIVEN), _texts(given)
    expected, metadata, at = expected_version(request), metadata_of(request.scope), registry.clock()
    sources = registry.configuration.sources
    async with registry.database.transaction() as tx:
        await service.change(tx, changes, sources, reason=reason, metadata=metadata, at=at, expected_version=expected)
    return await _as_it_is_now(registry)


@router.get(
    "/configuration/versions", **describe(query=VersionsQuery, answer=VersionPage, means="The changes",
                                          problems=(UnknownParameter,))
)  # fmt: skip
@needs(Scope.OPERATOR)
async def list_versions(request: Request) -> Response:
    """Every change: what was before, what came, by whom and why."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, VersionsQuery)
    question = ("configuration", asked.parameter)
    below = decode_cursor(asked.cursor, int, question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.history(tx, below=below, name=asked.parameter, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].version, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(VersionPage(versions=[_version(one) for one in page], pagination=pagination))


@router.post(
    "/configuration/preview",
    **describe(body=ParameterMap, answer=ConfigurationPreview, means="What would differ", problems=CHANGE_PROBLEMS),
)
@needs(Scope.OPERATOR)
@costs(RouteClass.READ)
async def preview_change(request: Request) -> Response:
    """What a change would do, without doing it; refused as the change would be."""
    registry: Registry = request.app.state.registry
    given = await read_json(request, ParameterMap)
    given.pop(REASON, None)
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.preview(tx, _texts(given), registry.configuration.sources)
    differences = [DifferenceShown(name=one.name, old=one.old, new=one.new) for one in found]
    return json_response(ConfigurationPreview(differences=differences))


@router.post(
    "/configuration/revert",
    **describe(
        body=RevertBody, headers=MATCHED, answer=RevertShown, means="What was done",
        problems=(NoSuchVersion, *CHANGE_PROBLEMS),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def revert_configuration(request: Request) -> Response:
    """Set everything as it was live at a version."""
    registry: Registry = request.app.state.registry
    asked, expected = await read_json(request, RevertBody), expected_version(request)
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        made = await service.revert(
            tx, asked.version, registry.configuration.sources, reason=asked.reason, metadata=metadata, at=at,
            expected_version=expected,
        )  # fmt: skip
    await _as_it_is_now(registry)
    return json_response(RevertShown(made=_version(made) if made else None))


@router.get("/configuration/export", **describe(answer=ConfigurationFile, means="Everything that is set live"))
@needs(Scope.OPERATOR)
async def export_configuration(request: Request) -> Response:
    """What is set live, to be imported elsewhere; secret values are left out."""
    registry: Registry = request.app.state.registry
    there = await registry.configuration.refresh()
    live = {
        name: service.text(there, name)
        for name, setting in there.settings.items()
        if setting.source is Source.LIVE and not PARAMETERS[name].secret
    }
    return json_response(ConfigurationFile(parameters=live, reason=f"as exported at version {there.version}"))


@router.post(
    "/configuration/import",
    **describe(
        body=ConfigurationFile, headers=MATCHED, answer=ConfigurationShown, means="The configuration as it is now",
        problems=CHANGE_PROBLEMS,
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def import_configuration(request: Request) -> Response:
    """Set exactly what a file says: what is live and not in it is taken back; all of it or nothing."""
    registry: Registry = request.app.state.registry
    asked, expected = await read_json(request, ConfigurationFile), expected_version(request)
    metadata, at, sources = metadata_of(request.scope), registry.clock(), registry.configuration.sources
    async with registry.database.transaction() as tx:
        await service.put(
            tx, asked.parameters, sources, reason=asked.reason, metadata=metadata, at=at, expected_version=expected
        )
    return await _as_it_is_now(registry)


@router.get("/configuration/scheduled", **describe(query=ScheduledQuery, answer=ScheduledPage, means="The changes"))
@needs(Scope.OPERATOR)
async def list_scheduled(request: Request) -> Response:
    """Changes that are to come."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, ScheduledQuery)
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.scheduled(tx, waiting=asked.waiting)
    return json_response(ScheduledPage(scheduled=[_scheduled(one) for one in found]))


@router.post(
    "/configuration/scheduled",
    **describe(
        body=ScheduledChangeBody, answer=ScheduledShown, status=201, means="It will come", problems=CHANGE_PROBLEMS
    ),
)
@needs(Scope.OPERATOR)
async def schedule_change(request: Request) -> Response:
    """Let a change come at an instant; it is checked now and again then."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, ScheduledChangeBody)
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        made = await service.schedule(
            tx, _texts(asked.parameters), registry.configuration.sources, due_at=asked.due_at, reason=asked.reason,
            metadata=metadata, at=at,
        )  # fmt: skip
        found = next(one for one in await service.scheduled(tx) if one.id == made)
    await events.wake(registry.database)
    return json_response(_scheduled(found), 201)


@router.delete(
    "/configuration/scheduled/{change}",
    **describe(query=CancelQuery, status=204, means="It will not come", problems=(NoSuchChange,)),
)
@needs(Scope.OPERATOR)
async def cancel_scheduled(request: Request) -> Response:
    """Let a scheduled change not come."""
    registry: Registry = request.app.state.registry
    asked, change = read_query(request.scope, CancelQuery), numbered(request.scope, "change")
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        await service.cancel(tx, change, reason=asked.reason, metadata=metadata, at=at)
    await events.wake(registry.database)
    return Response(status_code=204)


async def _as_it_is_now(registry: Registry) -> Response:
    """This worker has a change at once, the others within two seconds."""
    await events.wake(registry.database)
    there = await registry.configuration.refresh()
    return json_response(
        _configuration(registry.configuration, there), headers={"etag": _tag(registry.configuration, there)}
    )


def _tag(configuration: LiveConfiguration, there: Snapshot) -> str:
    return version_tag(there.version, beside=configuration.sources.external)


def _configuration(configuration: LiveConfiguration, there: Snapshot) -> ConfigurationShown:
    external = configuration.external
    age_seconds = configuration.age_seconds
    ages = {
        source: None if age is None else round(age, 3)
        for source, age in ((Source.LIVE, age_seconds), (Source.EXTERNAL, external.age_seconds if external else None))
    }
    shown_ones = [
        ParameterShown(
            name=name, value=_hidden(one.secret, there.settings[name].value),
            source=there.settings[name].source, default=one.default, kind=one.kind, unit=one.unit, bounds=one.bounds(),
            live=one.live, owner=one.owner, why=one.why, age_seconds=ages.get(there.settings[name].source),
        )
        for name, one in PARAMETERS.items()
    ]  # fmt: skip
    age = None if age_seconds is None else round(age_seconds, 3)
    return ConfigurationShown(version=there.version, parameters=shown_ones, age_seconds=age)


def _hidden(secret: bool, value: Value) -> Value:
    return service.HIDDEN if secret and value else value


def _texts(given: Mapping[str, Given]) -> dict[str, str | None]:
    """Values as a request has them, as texts."""
    return {
        name: value if value is None or isinstance(value, str) else ("true" if value else "false")
        if isinstance(value, bool) else str(value)
        for name, value in given.items()
    }  # fmt: skip


def _version(version: Version) -> VersionShown:
    return msgspec.convert(version, VersionShown, from_attributes=True)


def _scheduled(change: Scheduled) -> ScheduledShown:
    return msgspec.convert(change, ScheduledShown, from_attributes=True)
