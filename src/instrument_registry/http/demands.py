"""Demands: who wants live data of which instruments, for positions, holdings, strategies, by hand and by profiles."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.catalog import chains_in_tables
from instrument_registry.database import Transaction
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named
from instrument_registry.http.problems import FieldProblem, refused
from instrument_registry.http.profile_shapes import see_may_read, see_may_read_all
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room
from instrument_registry.http.wanted_instruments import Named, instruments_named
from instrument_registry.subscriptions.demand import service, wants
from instrument_registry.subscriptions.demand.wants import (
    DemandRefused,
    DemandSource,
    GivenSource,
    NoSuchDemand,
    Reference,
    Want,
)
from instrument_registry.subscriptions.planner.model import Mode
from instrument_registry.subscriptions.profiles.model import NotYourUser
from instrument_registry.wiring import Registry


class ModeWanted(StrEnum):
    """How much of an instrument is wanted; each includes the ones before it."""

    LTP = "ltp"
    QUOTE = "quote"
    FULL = "full"


User = Annotated[str, msgspec.Meta(min_length=1, max_length=wants.USER_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]+$")]
Owner = Annotated[str, msgspec.Meta(pattern=wants.OWNER_PATTERN)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=300, description="A key, id, token, ISIN or symbol.")]


class WantedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One instrument and how much of it; 75 and more of priority is tier 0, 50 tier 1, 25 tier 2, the rest tier 3."""

    instrument: Identifier
    mode: ModeWanted = ModeWanted.LTP
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] = 50
    copies: Annotated[int, msgspec.Meta(ge=1, le=2, description="2: over two accounts, so that one may be lost.")] = 1
    pinned: bool = False
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class DemandBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that an owner wants from now on; what is not listed is released."""

    user_id: User
    instruments: Annotated[list[WantedBody], msgspec.Meta(max_length=wants.WANTS_MAX)]


class DemandChanged(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed, and what of it has ended already and so reaches no wire."""

    source: DemandSource
    owner: str
    wanted: int
    added: int
    changed: int
    released: int
    ended: list[str]


class DemandShown(msgspec.Struct, frozen=True, kw_only=True):
    """One reference: who wants an instrument for what, and by which rule of theirs (0: they named it)."""

    source: DemandSource
    owner: str
    rule: int
    user_id: str
    instrument_id: str
    key: str
    mode: ModeWanted
    priority: int
    tier: int
    copies: int
    pinned: bool
    expires_at: datetime | None
    counts: bool  # it reaches the wire: it is not historical and has not ended


class DemandPage(msgspec.Struct, frozen=True, kw_only=True):
    """References by source, owner, rule and instrument."""

    demands: list[DemandShown]
    pagination: Pagination


class DemandsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose demands to list, or those of an instrument."""

    instrument: Identifier | None = None
    user_id: User | None = None
    source: DemandSource | None = None
    owner: Owner | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


router = room(tag="subscriptions", prefix="/subscriptions")


@router.get("/demands", **describe(query=DemandsQuery, answer=DemandPage, means="The demands", problems=(NotYourUser,)))
async def list_demands(request: Request) -> Response:
    """Who wants live data of what: by instrument, user, source or owner."""
    registry: Registry = request.app.state.registry
    asked, at = read_query(request.scope, DemandsQuery), registry.clock()
    see_may_read_all(request, asked.user_id)
    question = ("demands", asked.instrument, asked.user_id, asked.source, asked.owner)
    after = decode_cursor(asked.cursor, tuple[str, str, int, int], question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        instrument = await _one(tx, registry, asked.instrument) if asked.instrument else None
        found = await service.listed(
            tx, limit=asked.limit + 1, after=after, instrument=instrument.id if instrument else None,
            user_id=asked.user_id, source=asked.source, owner=asked.owner,
        )  # fmt: skip
        page = found[: asked.limit]
        ids = {one.want.instrument_id for one in page}
        names = await chains_in_tables.names(tx, ids, day=registry.catalogue.today())
    following = None
    if len(found) > asked.limit:
        last = page[-1]
        following = encode_cursor((last.source, last.owner, last.rule, last.want.instrument_id), question=question)
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    shown = [_shown(one, names[one.want.instrument_id], at=at) for one in page if one.want.instrument_id in names]
    return json_response(DemandPage(demands=shown, pagination=pagination))


@router.put(
    "/demands/{source}/{owner}",
    **describe(
        body=DemandBody,
        answer=DemandChanged,
        means="It is what the owner wants now",
        problems=(DemandRefused, NotYourUser),
    ),
)
@needs(Scope.OPERATOR)
async def replace_demand(request: Request) -> Response:
    """Say all that a position, a holding, a strategy or somebody by hand wants; sent again it changes nothing."""
    registry: Registry = request.app.state.registry
    source, owner = _whose(request)
    asked, at = await read_json(request, DemandBody), registry.clock()
    see_may_read(request, asked.user_id)
    async with registry.database.transaction() as tx:
        await _see_may_write(request, tx, source, owner)
        instruments = await instruments_named(tx, registry, [one.instrument for one in asked.instruments])
        _refuse_twice(instruments, asked)
        wanted = [_want(one, instrument.id) for one, instrument in zip(asked.instruments, instruments, strict=True)]
        changed = await service.replace(
            tx, source, owner, user_id=asked.user_id, wants=wanted, metadata=metadata_of(request.scope), at=at
        )
        ends = await chains_in_tables.ends(tx, [one.id for one in instruments])
    if changed:
        await events.wake(registry.database)
    ended = [one.key for one in instruments if one.id in ends and ends[one.id] <= at]
    return json_response(
        DemandChanged(
            source=source, owner=owner, wanted=len(wanted), added=len(changed.added), changed=len(changed.changed),
            released=len(changed.released), ended=ended,
        )
    )  # fmt: skip


@router.delete(
    "/demands/{source}/{owner}",
    **describe(status=204, means="It wants nothing any more", problems=(NoSuchDemand, DemandRefused, NotYourUser)),
)
@needs(Scope.OPERATOR)
async def release_demand(request: Request) -> Response:
    """Release everything an owner wants; what others want too stays on the wire."""
    registry: Registry = request.app.state.registry
    source, owner = _whose(request)
    async with registry.database.transaction() as tx:
        await _see_may_write(request, tx, source, owner)
        await service.release(tx, source, owner, metadata=metadata_of(request.scope), at=registry.clock())
    await events.wake(registry.database)
    return Response(status_code=204)


def _whose(request: Request) -> tuple[DemandSource, str]:
    source, owner = named(request.scope, "source"), named(request.scope, "owner")
    if source not in GivenSource.__members__.values():
        remedy = f"Send one of: {', '.join(GivenSource)}; what profiles want follows from the profiles"
        raise DemandRefused(f"{source[:40]} is put by nobody. {remedy}", field="source", value=source, remedy=remedy)
    try:
        msgspec.convert(owner, Owner)
    except msgspec.ValidationError as error:
        remedy = f"Send 1 to {wants.OWNER_CHARACTERS} letters, digits and . _ @ : -"
        raise DemandRefused(f"No owner is called {owner[:40]}. {remedy}", field="owner", value=owner) from error
    return DemandSource(source), owner


async def _see_may_write(request: Request, tx: Transaction, source: DemandSource, owner: str) -> None:
    """Raises: NotYourUser when the caller's key is bound to others than those it is wanted for now."""
    for user in await service.users_of(tx, source, owner):
        see_may_read(request, user)


async def _one(tx: Transaction, registry: Registry, text: str) -> Named:
    (one,) = await instruments_named(tx, registry, [text], field="query.instrument")
    return one


def _refuse_twice(instruments: list[Named], asked: DemandBody) -> None:
    """Raises: InvalidRequest where two identifiers name one instrument: which of them is meant is not ours to say."""
    first: dict[int, int] = {}
    problems: list[FieldProblem] = []
    for place, one in enumerate(instruments):
        before = first.setdefault(one.id, place)
        if before != place:
            remedy = f"List {one.key} once; it is instruments[{before}] already"
            field, value = f"body.instruments[{place}].instrument", asked.instruments[place].instrument
            problems.append(FieldProblem(field=field, problem="is listed twice", remedy=remedy, value=value))
    if problems:
        raise refused(problems)


def _want(one: WantedBody, instrument: int) -> Want:
    return Want(
        instrument_id=instrument, mode=Mode[one.mode.name], priority=one.priority, copies=one.copies,
        pinned=one.pinned, expires_at=one.expires_at,
    )  # fmt: skip


def _shown(one: Reference, name: chains_in_tables.Name, *, at: datetime) -> DemandShown:
    want = one.want
    return DemandShown(
        source=one.source, owner=one.owner, rule=one.rule, user_id=one.user_id, instrument_id=name.id, key=name.key,
        mode=ModeWanted[want.mode.name], priority=want.priority, tier=wants.tier_of(want.priority),
        copies=want.copies, pinned=want.pinned, expires_at=want.expires_at, counts=one.counts(at),
    )  # fmt: skip
