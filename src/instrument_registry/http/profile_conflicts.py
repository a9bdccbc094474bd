"""Conflicts between requests and what stands: listed, and settled by a strategy."""

from datetime import datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named
from instrument_registry.http.profile_shapes import (
    ProfileShown,
    context_of,
    judged_shown,
    profiles_room,
    see_may_read,
    see_may_write,
    shown,
)
from instrument_registry.http.queries import read_query
from instrument_registry.subscriptions.profiles import conflict_storage, finding, settling
from instrument_registry.subscriptions.profiles.conflicts import (
    Conflict,
    ConflictKind,
    ConflictStrategy,
    LimitExceeded,
    RequestRefused,
    promise,
)
from instrument_registry.subscriptions.profiles.finding import Named
from instrument_registry.subscriptions.profiles.model import ConflictSettled, NoSuchConflict, ProfileNameTaken
from instrument_registry.wiring import Registry


class ConflictShown(msgspec.Struct, frozen=True, kw_only=True):
    """What stood against a request that was accepted, trimmed (`dropped`) or refused, and how it was settled."""

    id: str
    user_id: str
    kind: ConflictKind
    verdict: str
    profile: str | None  # that was written; none: it was not made
    other: str | None  # that stood against it
    instruments: list[str]
    counts: dict[str, int]  # of an exceeded limit: limit, present, asked
    of: str | None  # which limit
    promises: dict[ConflictStrategy, str]  # what becomes of these instruments by each strategy
    actor: str
    at: datetime
    strategy: ConflictStrategy | None
    outcome: str | None
    resolved_by: str | None
    resolved_at: datetime | None


class ConflictPage(msgspec.Struct, frozen=True, kw_only=True):
    """Conflicts, the newest first; at most 200 of a user are kept."""

    conflicts: list[ConflictShown]
    pagination: Pagination


class ConflictsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which conflicts to list: all, or by whether they are still to be settled."""

    open: bool | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class SettlementBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to settle it."""

    strategy: ConflictStrategy


class SettlementShown(msgspec.Struct, frozen=True, kw_only=True):
    """A settled conflict, and the profile it was about as it is now."""

    conflict: ConflictShown
    profile: ProfileShown | None


router = profiles_room()


@router.get("/conflicts/users/{user}", **describe(query=ConflictsQuery, answer=ConflictPage, means="The conflicts"))
async def list_conflicts(request: Request) -> Response:
    """What stood against a user's requests, also against those that were refused."""
    registry: Registry = request.app.state.registry
    asked, user = read_query(request.scope, ConflictsQuery), named(request.scope, "user")
    see_may_read(request, user)
    question = ("profile conflicts", user, asked.open)
    before = decode_cursor(asked.cursor, str, question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        found = await conflict_storage.of_user(tx, user, open_=asked.open, before=before, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].id, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(ConflictPage(conflicts=[_shown(one) for one in page], pagination=pagination))


@router.post(
    "/conflicts/{conflict}/resolve",
    **describe(
        body=SettlementBody, answer=SettlementShown, means="It is settled",
        problems=(NoSuchConflict, ConflictSettled, LimitExceeded, ProfileNameTaken),
    ),
)  # fmt: skip
async def resolve_conflict(request: Request) -> Response:
    """Settle a conflict: latest_wins, merge, or fail_on_conflict; each conflict says what that would mean.

    Of a request that was refused, the first two carry out what can be had of it.
    """
    registry: Registry = request.app.state.registry
    asked = await read_json(request, SettlementBody)
    async with registry.database.transaction(read_only=True) as tx:
        conflict = await conflict_storage.find(tx, named(request.scope, "conflict"))
    see_may_write(request, conflict.user_id)
    items = conflict.request.items if conflict.request else conflict.found.items
    names = [Named(text=item.asked, mode=item.mode, pinned=item.pinned) for item in items]
    found = await finding.look_up(registry.database, registry.catalogue.index, names) if names else ()
    context = context_of(request)
    try:
        async with registry.database.transaction() as tx:
            settled, profile = await settling.resolve(tx, conflict, asked.strategy, found, context)
    except RequestRefused as refusal:
        refusal.facts["instruments"] = [judged_shown(one) for one in refusal.judged]
        raise
    await events.wake(registry.database)
    now = None if profile is None else shown(profile, at=context.at)
    return json_response(SettlementShown(conflict=_shown(settled), profile=now))


def _shown(conflict: Conflict) -> ConflictShown:
    found = conflict.found
    return ConflictShown(
        id=conflict.id, user_id=conflict.user_id, kind=found.kind, verdict=conflict_storage.VERDICTS[found.verdict],
        profile=found.profile_id, other=found.other_id, instruments=[item.key or item.asked for item in found.items],
        counts=dict(found.facts), of=found.limit.value if found.limit else None,
        promises={strategy: promise(found, strategy) for strategy in ConflictStrategy}, actor=conflict.actor,
        at=conflict.at, strategy=conflict.strategy, outcome=conflict.outcome, resolved_by=conflict.resolved_by,
        resolved_at=conflict.resolved_at,
    )  # fmt: skip
