"""How long what is kept, what would go, and the archives of what has gone."""

from datetime import datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.events.archives import service as archiving
from instrument_registry.events.archives.model import NoSuchArchive
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paths import named
from instrument_registry.http.problems import FieldProblem, refused
from instrument_registry.http.routes import needs, room
from instrument_registry.operations.retention import service
from instrument_registry.operations.retention.model import LONGEST_DAYS, BadKeepDays, RetentionKind
from instrument_registry.wiring import Registry


class RetentionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """For how many days a kind is kept; whole months go, so one lives at most a month longer."""

    kind: RetentionKind
    keep_days: int
    changed_at: datetime
    changed_by: str


class RetentionPolicies(msgspec.Struct, frozen=True, kw_only=True):
    """Every policy."""

    policies: list[RetentionPolicy]


class RetentionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many days from now on, and why."""

    keep_days: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_DAYS)]
    reason: Reason


class RetentionStep(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that would go: a month by its name, or the rows of a kind that ended before an instant."""

    kind: RetentionKind
    what: str
    before: datetime
    rows: int
    reasons_to_keep: list[str]


class RetentionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything whose time is over; the figures are counted."""

    steps: list[RetentionStep]


class ArchiveShown(msgspec.Struct, frozen=True, kw_only=True):
    """A month in a file, by which digests it is known, and whether the database still has it."""

    name: str
    kind: str
    starts_at: datetime
    ends_at: datetime
    rows: int
    digest: str
    first_position: int | None
    last_position: int | None
    first_leaf: int | None
    last_leaf: int | None
    columns: list[str]
    file: str
    file_bytes: int
    file_sha256: str
    state: str
    exported_at: datetime
    dropped_at: datetime | None
    restored_at: datetime | None
    keep_until: datetime | None


class ArchiveList(msgspec.Struct, frozen=True, kw_only=True):
    """Every archive, oldest first."""

    archives: list[ArchiveShown]


router = room(tag="retention")


@router.get("/retention/policies", **describe(answer=RetentionPolicies, means="The policies"))
async def list_policies(request: Request) -> Response:
    """For how many days each kind is kept."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        known = await service.policies(tx)
    shown = [msgspec.convert(one, RetentionPolicy, from_attributes=True) for one in known]
    return json_response(RetentionPolicies(policies=shown))


@router.put(
    "/retention/policies/{kind}",
    **describe(body=RetentionBody, answer=RetentionPolicy, means="It is kept so long", problems=(BadKeepDays,)),
)
@needs(Scope.ADMIN)
async def set_policy(request: Request) -> Response:
    """Keep something for another number of days."""
    registry: Registry = request.app.state.registry
    kind = _kind(named(request.scope, "kind"))
    asked = await read_json(request, RetentionBody)
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        changed = await service.change(tx, kind, asked.keep_days, reason=asked.reason, metadata=metadata, at=at)
    await events.wake(registry.database)
    return json_response(msgspec.convert(changed, RetentionPolicy, from_attributes=True))


@router.get("/retention/plan", **describe(answer=RetentionPlan, means="What would go"))
@needs(Scope.OPERATOR)
async def show_plan(request: Request) -> Response:
    """Count what would go now, and change nothing."""
    registry: Registry = request.app.state.registry
    steps = [
        RetentionStep(
            kind=one.kind, what=one.what, before=one.before, rows=one.rows, reasons_to_keep=list(one.reasons_to_keep)
        )
        for one in await service.plan(registry.database, now=registry.clock())
    ]
    return json_response(RetentionPlan(steps=steps))


@router.get("/archives", **describe(answer=ArchiveList, means="The archives"))
async def list_archives(request: Request) -> Response:
    """Months of facts and of the audit that went into files; an operator brings one back by `archive restore`."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        known = await archiving.listed(tx)
    return json_response(
        ArchiveList(archives=[msgspec.convert(one, ArchiveShown, from_attributes=True) for one in known])
    )


@router.get("/archives/{name}", **describe(answer=ArchiveShown, means="The archive", problems=(NoSuchArchive,)))
async def show_archive(request: Request) -> Response:
    """What an archive holds and where it is."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        known = await archiving.named(tx, named(request.scope, "name"))
    return json_response(msgspec.convert(known, ArchiveShown, from_attributes=True))


def _kind(text: str) -> RetentionKind:
    try:
        return RetentionKind(text)
    except ValueError as error:
        choices = ", ".join(RetentionKind)
        problem = FieldProblem(field="kind", value=text, problem="is no kind", remedy=f"Choose one of {choices}")
        raise refused([problem]) from error
