"""Limits of single users, figures about all profiles, and a turn of the retention of audit and events."""

from datetime import datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import BoundKey, Scope
from instrument_registry.http.auth import caller_of, metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import json_response
from instrument_registry.http.openapi import REF, describe
from instrument_registry.http.paths import named
from instrument_registry.http.profile_shapes import Reason, context_of, profiles_room, see_may_read
from instrument_registry.http.retention import RetentionStep
from instrument_registry.http.routes import needs
from instrument_registry.operations import work
from instrument_registry.operations.retention import service as retention
from instrument_registry.operations.work import UnknownWork, WorkNotPeriodic, WorkNotThere
from instrument_registry.subscriptions.profiles import conflict_storage, limits, storage
from instrument_registry.subscriptions.profiles.limits import Allowance
from instrument_registry.subscriptions.profiles.model import BadProfile
from instrument_registry.wiring import Registry

RETENTION = "retention"  # the name of its background work
OwnLimit = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class UserLimitsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many profiles a user may have, and instruments in one of each type; what is left out is as for everybody."""

    profiles: OwnLimit | None = None
    live_feed: OwnLimit | None = None
    historical: OwnLimit | None = None
    alerts: OwnLimit | None = None
    reason: Reason


class UserLimitsShown(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may have and has (of instruments, in the largest profile of the type); `own` is not everybody's."""

    user_id: str
    limits: dict[str, int]
    used: dict[str, int]
    own: dict[str, int]
    reason: str | None
    set_by: str | None
    set_at: datetime | None


class ProfileGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Profiles of one type and tier, and the instruments they name; a rule counts as one."""

    type: str
    tier: int
    expired: bool
    profiles: int
    instruments: int


class ConflictCount(msgspec.Struct, frozen=True, kw_only=True):
    """Conflicts of a kind."""

    kept: int
    open: int


class ProfileStats(msgspec.Struct, frozen=True, kw_only=True):
    """Figures that were counted for this answer; `wants` are references, also of other sources."""

    users: int
    users_with_own_limits: int
    profiles: int
    deleted: int
    wants: int
    wanted_instruments: int
    groups: list[ProfileGroup]
    conflicts: dict[str, ConflictCount]


class CleanupBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether only to count what would go; and why, if it is to go."""

    dry_run: bool = True
    reason: Reason | None = None


class CleanupShown(msgspec.Struct, frozen=True, kw_only=True):
    """What would go by the policies of retention, counted; or the turn of the work that was asked for."""

    dry_run: bool
    steps: list[RetentionStep]
    work: str | None = None
    number: int | None = None


router = profiles_room()


@router.get("/limits/users/{user}", **describe(answer=UserLimitsShown, means="The limits"))
async def user_limits(request: Request) -> Response:
    """What a user may have and has; of a user nobody knows, what everybody may have."""
    registry: Registry = request.app.state.registry
    user = named(request.scope, "user")
    see_may_read(request, user)
    async with registry.database.transaction(read_only=True) as tx:
        found = await limits.allowance(tx, user, context_of(request).terms)
    return json_response(_shown(found))


@router.put(
    "/limits/users/{user}",
    **describe(body=UserLimitsBody, answer=UserLimitsShown, means="They hold from now on", problems=(BadProfile,)),
)
@needs(Scope.OPERATOR)
async def set_user_limits(request: Request) -> Response:
    """Let a user have exactly these limits; what is there already stays, and nothing more comes in above them."""
    registry: Registry = request.app.state.registry
    asked, user = await read_json(request, UserLimitsBody), named(request.scope, "user")
    _see_unbound(request)
    limits.see_user(user)
    wanted = {name: getattr(asked, name) for name in limits.NAMES}
    context = context_of(request)
    async with registry.database.transaction() as tx:
        await limits.set_limits(tx, user, wanted, reason=asked.reason, metadata=context.metadata, at=context.at)
        found = await limits.allowance(tx, user, context.terms)
    await events.wake(registry.database)
    return json_response(_shown(found))


@router.get("/admin/stats", **describe(answer=ProfileStats, means="The figures"))
@needs(Scope.OPERATOR)
async def profile_stats(request: Request) -> Response:
    """Count profiles, what they want, and conflicts."""
    registry: Registry = request.app.state.registry
    _see_unbound(request)
    async with registry.database.transaction(read_only=True, isolation="repeatable read") as tx:
        groups, (users, deleted, wants, instruments, own) = await storage.stats(tx, at=registry.clock())
        conflicts = await conflict_storage.counted(tx)
    told = [
        ProfileGroup(type=kind, tier=tier, expired=bool(expired), profiles=count, instruments=int(named_))
        for kind, tier, expired, count, named_ in groups
    ]
    body = ProfileStats(
        users=users, users_with_own_limits=own, profiles=sum(one.profiles for one in told), deleted=deleted,
        wants=wants, wanted_instruments=instruments, groups=told,
        conflicts={kind: ConflictCount(kept=kept, open=still) for kind, (kept, still) in conflicts.items()},
    )  # fmt: skip
    return json_response(body, headers={"cache-control": "no-store"})


CLEANUP = describe(
    body=CleanupBody, answer=CleanupShown, means="What would go", problems=(UnknownWork, WorkNotPeriodic, WorkNotThere)
)
CLEANUP["responses"][202] = {
    "description": "It will be done",
    "content": {"application/json": {"schema": {"$ref": REF.format(name="CleanupShown")}}},
}


@router.post("/admin/cleanup-audit-logs", **CLEANUP)
@needs(Scope.OPERATOR)
async def clean_up_audit_logs(request: Request) -> Response:
    """Count what the policies of retention would let go, or have the work of retention do it now.

    Months of the audit and of events are archived before they go; nothing goes that the policies keep.
    """
    registry: Registry = request.app.state.registry
    asked = await read_json(request, CleanupBody)
    _see_unbound(request)
    if asked.dry_run:
        steps = [
            RetentionStep(
                kind=one.kind, what=one.what, before=one.before, rows=one.rows,
                reasons_to_keep=list(one.reasons_to_keep),
            )
            for one in await retention.plan(registry.database, now=registry.clock())
        ]  # fmt: skip
        return json_response(CleanupShown(dry_run=True, steps=steps))
    if asked.reason is None:
        raise BadProfile("Say why it is to go: send a reason, or dry_run true", field="reason")
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        number = await work.ask(tx, RETENTION, reason=asked.reason, metadata=metadata, at=at)
    await events.wake(registry.database)
    return json_response(CleanupShown(dry_run=False, steps=[], work=RETENTION, number=number), 202)


def _see_unbound(request: Request) -> None:
    if caller_of(request.scope).users:
        raise BoundKey("This is about everybody's profiles; the key is bound to users")


def _shown(found: Allowance) -> UserLimitsShown:
    said = {name: getattr(found.own, name) for name in limits.NAMES}
    return UserLimitsShown(
        user_id=found.user_id, limits=dict(found.limits), used=dict(found.used),
        own={name: value for name, value in said.items() if value is not None}, reason=found.own.reason,
        set_by=found.own.set_by, set_at=found.own.set_at,
    )  # fmt: skip
