"""What subscription profiles look like to callers, and who may touch whose."""

import os
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request

from instrument_registry.access.model import Scope
from instrument_registry.catalog.ulid import ulids
from instrument_registry.http.auth import ScopeLacking, caller_of, metadata_of
from instrument_registry.http.encoding import Pagination
from instrument_registry.http.routes import DoorRoute
from instrument_registry.subscriptions.profiles import model
from instrument_registry.subscriptions.profiles.admission import InstrumentProblem, Judged, Verdict
from instrument_registry.subscriptions.profiles.limits import terms_of
from instrument_registry.subscriptions.profiles.model import Item, NotYourUser, Profile, ProfileType, Standing, Wanted
from instrument_registry.subscriptions.profiles.service import Context, Done
from instrument_registry.wiring import Registry

PROFILES = "/api/v1/internal/subscription-profiles"
REQUEST_MAX = 100_000  # MAX_INSTRUMENTS_PER_PLAN is at most so much

User = Annotated[str, msgspec.Meta(min_length=1, max_length=model.USER_CHARACTERS, description="Whose profile it is.")]
ProfileName = Annotated[str, msgspec.Meta(min_length=1, max_length=model.NAME_CHARACTERS)]
Priority = Annotated[
    int, msgspec.Meta(ge=0, le=100, description="75 and more is tier 0, 50 tier 1, 25 tier 2, the rest tier 3.")
]
Copies = Annotated[int, msgspec.Meta(ge=1, le=2, description="2: a second feed over another account.")]
OwnBound = Annotated[int, msgspec.Meta(ge=1, le=10_000, description="How many instruments it may hold at most.")]
End = Annotated[datetime, msgspec.Meta(tz=True, description="From then on it wants nothing.")]
ModeName = Annotated[str, msgspec.Meta(pattern="^(ltp|quote|full)$")]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=model.IDENTIFIER_CHARACTERS)]
Preferences = Annotated[dict[str, Any], msgspec.Meta(description="The user's own notes; never a credential.")]
Rule = Annotated[
    dict[str, Any],
    msgspec.Meta(description="A ladder or filter, as {rule: ladder, underlying: NSE:NIFTY, around: 10, expiries: 3}."),
]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class NamedInstrument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An instrument by key, id, `broker:token` or symbol, where it is not to be as the profile says."""

    key: Identifier
    mode: ModeName | None = None
    pinned: bool | None = None


Instruments = Annotated[list[Identifier | NamedInstrument], msgspec.Meta(max_length=REQUEST_MAX)]


class ProfileReplacement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a profile is to be like, whole; its user stays."""

    name: ProfileName
    type: ProfileType
    instruments: Instruments = []
    rules: list[Rule] = []
    mode: ModeName = "quote"
    priority: Priority = 50
    copies: Copies = 1
    pinned: bool = False
    preferences: Preferences = {}
    instruments_max: OwnBound | None = None
    expires_at: End | None = None


class ProfileBody(ProfileReplacement, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wanted, by whom."""

    user_id: User


class ProfileChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another way; what is left out stays. `instruments` and `rules` replace the whole list."""

    name: ProfileName | msgspec.UnsetType = msgspec.UNSET
    type: ProfileType | msgspec.UnsetType = msgspec.UNSET
    instruments: Instruments | msgspec.UnsetType = msgspec.UNSET
    rules: list[Rule] | msgspec.UnsetType = msgspec.UNSET
    mode: ModeName | msgspec.UnsetType = msgspec.UNSET
    priority: Priority | msgspec.UnsetType = msgspec.UNSET
    copies: Copies | msgspec.UnsetType = msgspec.UNSET
    pinned: bool | msgspec.UnsetType = msgspec.UNSET
    preferences: Preferences | msgspec.UnsetType = msgspec.UNSET
    instruments_max: OwnBound | msgspec.UnsetType | None = msgspec.UNSET
    expires_at: End | msgspec.UnsetType | None = msgspec.UNSET


class ProfileInstrument(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument of a profile, as it was when it was admitted; `mode` and `pinned` with the profile's put in."""

    asked: str
    id: str | None
    key: str | None
    standing: Standing
    mode: str
    pinned: bool


class ProfileContent(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile is like."""

    user_id: str
    name: str
    type: ProfileType
    instruments: list[ProfileInstrument]
    rules: list[dict[str, Any]]
    mode: str
    priority: int
    tier: int
    copies: int
    pinned: bool
    preferences: dict[str, Any]
    instruments_max: int | None
    expires_at: datetime | None


class ProfileShown(ProfileContent, frozen=True, kw_only=True):
    """A profile; once it has expired it wants nothing, and still counts against the user's limit."""

    id: str
    expired: bool
    version: int
    actor: str
    created_at: datetime
    changed_at: datetime


class InstrumentJudged(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one instrument of a request: accepted, polled, unresolved, dropped or refused; and why."""

    asked: str
    outcome: str
    id: str | None = None
    key: str | None = None
    problem: InstrumentProblem | None = None
    why: str | None = None
    nearest: list[str] = []  # keys that may have been meant
    beside: str | None = None  # another live profile of the user that has it


class ProfileWritten(msgspec.Struct, frozen=True, kw_only=True):
    """A profile as it is now, what became of each instrument that was asked for, and conflicts to be settled."""

    profile: ProfileShown
    counts: dict[str, int]
    instruments: list[InstrumentJudged]
    conflicts: list[str]


class ProfilePage(msgspec.Struct, frozen=True, kw_only=True):
    """Profiles in the order in which they were made."""

    profiles: list[ProfileShown]
    pagination: Pagination


class ProfileVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A profile as it was from an instant on; its address of origin stands in the audit."""

    version: int
    change: str
    at: datetime
    actor: str
    correlation_id: str
    profile: ProfileContent


class ProfileHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of a profile, the newest first; at most 100 are kept here, the facts tell all."""

    id: str
    versions: list[ProfileVersion]
    pagination: Pagination


def profiles_room() -> APIRouter:
    """Routes about profiles, which have a prefix of their own."""
    return APIRouter(prefix=PROFILES, tags=["subscription profiles"], route_class=DoorRoute)


def see_may_read(request: Request, user_id: str) -> None:
    """Raises: NotYourUser when the caller's key is bound to others."""
    caller = caller_of(request.scope)
    if not caller.may_touch(user_id):
        raise NotYourUser(f"This key is bound to other users than {user_id[:64]}", user_id=user_id[:64])


def see_may_read_all(request: Request, user_id: str | None) -> None:
    """The same where a list may be of everybody: a key bound to users names one; Raises: NotYourUser."""
    bound_to = caller_of(request.scope).users
    if user_id is not None:
        see_may_read(request, user_id)
    elif bound_to:
        raise NotYourUser(f"This key is bound to users: name one by user_id, as {bound_to[0]}", users=bound_to[:10])


def see_may_write(request: Request, user_id: str) -> None:
    """A key bound to the user may, and an operator's that is bound to nobody; Raises: NotYourUser, ScopeLacking."""
    see_may_read(request, user_id)
    caller = caller_of(request.scope)
    if not caller.users and not caller.scope.includes(Scope.OPERATOR):
        detail = f"Profiles are changed with a key bound to their user, or of the scope {Scope.OPERATOR}"
        raise ScopeLacking(detail, needed=Scope.OPERATOR, has=caller.scope)


def context_of(request: Request) -> Context:
    """By whom, when and on which terms a request writes."""
    registry: Registry = request.app.state.registry
    at = registry.clock()
    return Context(
        terms=terms_of(registry.configuration.now), metadata=metadata_of(request.scope), at=at,
        new_id=lambda: ulids(1, at=at, chance=os.urandom(10))[0],
    )  # fmt: skip


def shown(profile: Profile, *, at: datetime) -> ProfileShown:
    """A profile for callers."""
    wanted = profile.wanted
    return ProfileShown(
        **msgspec.structs.asdict(content_shown(wanted)), id=profile.id, version=profile.version, actor=profile.actor,
        expired=wanted.expires_at is not None and wanted.expires_at <= at, created_at=profile.created_at,
        changed_at=profile.changed_at,
    )  # fmt: skip


def content_shown(wanted: Wanted) -> ProfileContent:
    """What a profile is like, for callers."""
    return ProfileContent(
        user_id=wanted.user_id, name=wanted.name, type=wanted.type,
        instruments=[_instrument(item, wanted) for item in wanted.items],
        rules=[msgspec.json.decode(rule) for rule in wanted.rules], mode=wanted.mode.name.lower(),
        priority=wanted.priority, tier=wanted.tier, copies=wanted.copies, pinned=wanted.pinned,
        preferences=msgspec.json.decode(wanted.preferences), instruments_max=wanted.instruments_max,
        expires_at=wanted.expires_at,
    )  # fmt: skip


def written(done: Done, *, at: datetime) -> ProfileWritten:
    """The answer to whoever wrote a profile."""
    judged = [judged_shown(one) for one in done.judged]
    counts: dict[str, int] = {}
    for one in judged:
        counts[one.outcome] = counts.get(one.outcome, 0) + 1
    return ProfileWritten(
        profile=shown(done.profile, at=at), counts=counts, instruments=judged,
        conflicts=[conflict.id for conflict in done.conflicts],
    )  # fmt: skip


def judged_shown(one: Judged) -> InstrumentJudged:
    """What became of one instrument, for callers."""
    found, standing = one.asked.found, one.standing or Standing.ACCEPTED
    outcome = {Verdict.ACCEPT: standing.value, Verdict.DROP: "dropped", Verdict.REFUSE: "refused"}[one.verdict]
    return InstrumentJudged(
        asked=one.asked.text, outcome=outcome, id=found.id if found else None, key=found.key if found else None,
        problem=one.problem, why=one.why, nearest=list(one.asked.nearest),
        beside=one.beside.profile_id if one.beside else None,
    )  # fmt: skip


def _instrument(item: Item, wanted: Wanted) -> ProfileInstrument:
    return ProfileInstrument(
        asked=item.asked, id=item.id, key=item.key, standing=item.standing,
        mode=(wanted.mode if item.mode is None else item.mode).name.lower(),
        pinned=wanted.pinned if item.pinned is None else item.pinned,
    )  # fmt: skip
