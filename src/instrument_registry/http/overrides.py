"""Overrides: fields that operators set against the files."""

from datetime import date, datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.catalog import history, overriding
from instrument_registry.catalog.history import InstrumentNotFound
from instrument_registry.catalog.overriding import (
    AlreadyWithdrawn,
    Field,
    Override,
    OverrideExists,
    OverrideNotFound,
    Wanted,
)
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.instruments import AmbiguousIdentifier, meant
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.wiring import Registry

OF_ONE_MAX = 1_000
LARGEST_ID = 2**63 - 1
Reason = Annotated[
    str, msgspec.Meta(min_length=1, max_length=500, description="Why, in words that somebody understands next year.")
]


class OverrideBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be set, until when, and why. Decimals are text; `valid_to` is the first market date without it."""

    field: Field
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | int
    reason: Reason
    valid_to: date
    valid_from: date | None = None  # today


class OverrideShown(msgspec.Struct, frozen=True, kw_only=True):
    """One override; it holds from `valid_from` until before `valid_to` unless it was withdrawn."""

    id: int
    instrument_id: str
    key: str | None
    field: Field
    value: str
    reason: str
    valid_from: date
    valid_to: date
    in_force: bool
    actor: str
    created_at: datetime
    withdrawn_at: datetime | None
    withdrawn_by: str | None


class OverridesOfOne(msgspec.Struct, frozen=True, kw_only=True):
    """The overrides an instrument has and had, the newest first."""

    id: str
    key: str
    overrides: list[OverrideShown]


class OverridePage(msgspec.Struct, frozen=True, kw_only=True):
    """Overrides of all instruments, the newest first."""

    overrides: list[OverrideShown]
    pagination: Pagination


class OverridesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which overrides to list."""

    in_force: bool = True
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class WithdrawalQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why something is taken back."""

    reason: Reason


router = room(tag="overrides")


@router.get("/overrides", **describe(query=OverridesQuery, answer=OverridePage, means="The overrides"))
async def list_overrides(request: Request) -> Response:
    """The overrides of all instruments: those in force, or all there ever were."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, OverridesQuery)
    today = registry.catalogue.today()
    question = ("overrides", asked.in_force)
    before = decode_cursor(asked.cursor, int, question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        day = today if asked.in_force else None
        found = await overriding.listed(tx, day=day, before=before, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].id, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(OverridePage(overrides=[_shown(one, today) for one in page], pagination=pagination))


@router.get(
    "/instruments/{key:path}/overrides",
    **describe(answer=OverridesOfOne, means="The overrides", problems=(InstrumentNotFound, AmbiguousIdentifier)),
)
async def overrides_of_one(request: Request) -> Response:
    """The overrides of an instrument, withdrawn and ended ones too."""
    registry: Registry = request.app.state.registry
    today = registry.catalogue.today()
    meaning = await meant(request, named(request.scope, "key"), today, known_at=history.LATEST)
    async with registry.database.transaction(read_only=True) as tx:
        found = await overriding.listed(tx, instrument=meaning.id, limit=OF_ONE_MAX)
    shown = [_shown(one, today) for one in found]
    return json_response(OverridesOfOne(id=meaning.ulid, key=meaning.key, overrides=shown))


@router.post(
    "/instruments/{key:path}/overrides",
    **describe(
        body=OverrideBody, answer=OverrideShown, status=201, means="The field is overridden",
        problems=(InstrumentNotFound, AmbiguousIdentifier, OverrideExists),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def add_override(request: Request) -> Response:
    """Set a field of an instrument against what the files say, until a date."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, OverrideBody)
    at, today = registry.clock(), registry.catalogue.today()
    wanted = Wanted(
        field=asked.field, value=str(asked.value), reason=asked.reason,
        valid_from=asked.valid_from or today, valid_to=asked.valid_to,
    )  # fmt: skip
    meaning = await meant(request, named(request.scope, "key"), today, known_at=history.LATEST)
    async with registry.database.transaction() as tx:
        made = await overriding.add(tx, meaning.id, wanted, metadata=metadata_of(request.scope), at=at)
    await events.wake(registry.database)
    return json_response(_shown(made, today), 201)


@router.delete(
    "/instruments/{key:path}/overrides/{override}",
    **describe(
        query=WithdrawalQuery, answer=OverrideShown, means="It holds no longer",
        problems=(InstrumentNotFound, AmbiguousIdentifier, OverrideNotFound, AlreadyWithdrawn),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def withdraw_override(request: Request) -> Response:
    """Take an override back: what the files say is shown again."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, WithdrawalQuery)
    override = _id(named(request.scope, "override"))
    at, today = registry.clock(), registry.catalogue.today()
    meaning = await meant(request, named(request.scope, "key"), today, known_at=history.LATEST)
    async with registry.database.transaction() as tx:
        there = await overriding.withdraw(
            tx, meaning.id, override, reason=asked.reason, metadata=metadata_of(request.scope), at=at
        )
    await events.wake(registry.database)
    return json_response(_shown(there, today))


def _id(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= LARGEST_ID):
        raise OverrideNotFound(f"{text[:40]} is no id of an override")
    return int(text)


def _shown(override: Override, day: date) -> OverrideShown:
    return OverrideShown(
        id=override.id, instrument_id=override.ulid, key=override.key, field=Field(override.field),
        value=override.value, reason=override.reason, valid_from=override.valid_from, valid_to=override.valid_to,
        in_force=override.withdrawn_at is None and override.valid_from <= day < override.valid_to, actor=override.actor,
        created_at=override.created_at, withdrawn_at=override.withdrawn_at, withdrawn_by=override.withdrawn_by,
    )  # fmt: skip
