"""Subscription profiles: what users want live data of; made, read, changed and deleted within their limits."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.configuration.parameters import MAX_INSTRUMENTS_PER_PLAN
from instrument_registry.database import Transaction
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, bytes_response, json_bytes, json_response
from instrument_registry.http.jobs import IDEMPOTENCY_KEY, idempotency_key
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named
from instrument_registry.http.preconditions import MATCHED, expected_version, version_tag
from instrument_registry.http.profile_shapes import (
    PROFILES,
    NamedInstrument,
    ProfileBody,
    ProfileChanges,
    ProfileHistory,
    ProfilePage,
    ProfileReplacement,
    ProfileShown,
    ProfileVersion,
    ProfileWritten,
    content_shown,
    context_of,
    judged_shown,
    profiles_room,
    see_may_read,
    see_may_write,
    shown,
    written,
)
from instrument_registry.http.queries import read_query
from instrument_registry.subscriptions.profiles import conflict_storage, content, finding, preferences, service, storage
from instrument_registry.subscriptions.profiles.admission import Asked
from instrument_registry.subscriptions.profiles.conflicts import LimitExceeded, ProfileRefused, RequestRefused
from instrument_registry.subscriptions.profiles.finding import Named
from instrument_registry.subscriptions.profiles.model import (
    BadProfile,
    NoSuchProfile,
    ProfileChangedSince,
    ProfileNameTaken,
    ProfileType,
    RequestNamedOtherwise,
    TooManyInstruments,
    Wanted,
)
from instrument_registry.subscriptions.profiles.preferences import CredentialRefused
from instrument_registry.subscriptions.profiles.service import Context
from instrument_registry.subscriptions.rules import model as rules
from instrument_registry.wiring import Registry

ONCE = {IDEMPOTENCY_KEY: "The same request sent again with the same key is answered as it was; kept for 7 days."}
REFUSALS = (ProfileRefused, LimitExceeded, TooManyInstruments, BadProfile, CredentialRefused, rules.RuleRefused)
PAGE_MAX = 100


class ProfilesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of a user's profiles to list."""

    type: ProfileType | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_MAX
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which versions to show."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 20
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class _Answered(msgspec.Struct):
    """What of a kept answer its headers say."""

    profile: ProfileShown


router = profiles_room()
CREATION = describe(
    body=ProfileBody, headers=ONCE, answer=ProfileWritten, status=201, means="It is wanted",
    problems=(*REFUSALS, ProfileNameTaken, RequestNamedOtherwise),
)  # fmt: skip


@router.post("", **CREATION)
@router.post("/", **CREATION)
async def create_profile(request: Request) -> Response:
    """Want live data of some instruments: for each the answer says what became of it, and why."""
    registry: Registry = request.app.state.registry
    asked, key = await read_json(request, ProfileBody), idempotency_key(request)
    see_may_write(request, asked.user_id)
    wanted, context = _wanted(asked, asked.user_id), context_of(request)
    found = await _look_up(registry, asked.instruments, rules_count=len(asked.rules))
    actor, digest = context.metadata.actor, hashlib.sha256(await request.body()).digest()
    async with _writing(request, context) as tx:
        answer = None
        if key is not None:
            answer = await conflict_storage.name_request(tx, actor, key, digest=digest, at=context.at)
        if answer is None:
            done = await service.create(tx, service.Request(wanted=wanted, asked=found), context)
            answer = json_bytes(written(done, at=context.at)).decode()
            if key is not None:
                await conflict_storage.remember_answer(tx, actor, key, answer)
    made = msgspec.json.decode(answer, type=_Answered).profile
    headers = {"location": f"{PROFILES}/{made.id}", "etag": version_tag(made.version)}
    return bytes_response(answer.encode(), 201, headers)


@router.get("/users/{user}/profiles", **describe(query=ProfilesQuery, answer=ProfilePage, means="The profiles"))
async def list_profiles(request: Request) -> Response:
    """A user's profiles, expired ones too."""
    registry: Registry = request.app.state.registry
    asked, user = read_query(request.scope, ProfilesQuery), named(request.scope, "user")
    see_may_read(request, user)
    question = ("profiles", user, asked.type)
    after = decode_cursor(asked.cursor, str, question=question) if asked.cursor else ""
    async with registry.database.transaction(read_only=True) as tx:
        found = await storage.of_user(tx, user, kind=asked.type, after=after, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].id, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    at = registry.clock()
    return json_response(ProfilePage(profiles=[shown(one, at=at) for one in page], pagination=pagination))


@router.get("/{profile}", **describe(answer=ProfileShown, means="The profile", problems=(NoSuchProfile,), tagged=True))
async def one_profile(request: Request) -> Response:
    """A profile with its instruments as they were admitted; its ETag is for If-Match."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        found = await storage.find(tx, named(request.scope, "profile"))
    see_may_read(request, found.wanted.user_id)
    headers = {"etag": version_tag(found.version), "cache-control": "no-cache"}
    return json_response(shown(found, at=registry.clock()), headers=headers)


@router.put(
    "/{profile}",
    **describe(
        body=ProfileReplacement, headers=MATCHED, answer=ProfileWritten, means="The profile as it is now",
        problems=(*REFUSALS, NoSuchProfile, ProfileChangedSince, ProfileNameTaken),
    ),
)  # fmt: skip
async def replace_profile(request: Request) -> Response:
    """Let a profile be another one, whole: what is no longer wanted is released, what is wanted anew is admitted."""
    registry: Registry = request.app.state.registry
    asked, profile = await read_json(request, ProfileReplacement), named(request.scope, "profile")
    version, user = expected_version(request), await _user_who_may(request, profile)
    wanted, context = _wanted(asked, user), context_of(request)
    found = await _look_up(registry, asked.instruments, rules_count=len(asked.rules))
    async with _writing(request, context) as tx:
        done = await service.put(tx, profile, service.Request(wanted=wanted, asked=found), context, version=version)
    return json_response(written(done, at=context.at), headers={"etag": version_tag(done.profile.version)})


@router.patch(
    "/{profile}",
    **describe(
        body=ProfileChanges, headers=MATCHED, answer=ProfileWritten, means="The profile as it is now",
        problems=(*REFUSALS, NoSuchProfile, ProfileChangedSince, ProfileNameTaken),
    ),
)  # fmt: skip
async def change_profile(request: Request) -> Response:
    """Let a profile be another one in what is named; instruments that are not named stay without being judged anew."""
    registry: Registry = request.app.state.registry
    asked, profile = await read_json(request, ProfileChanges), named(request.scope, "profile")
    version = expected_version(request)
    await _user_who_may(request, profile)
    changes, context = _changes(asked), context_of(request)
    found = None
    if not isinstance(asked.instruments, msgspec.UnsetType):
        found = await _look_up(registry, asked.instruments, rules_count=0)
    async with _writing(request, context) as tx:
        done = await service.change(tx, profile, changes, context, version=version, asked=found)
    return json_response(written(done, at=context.at), headers={"etag": version_tag(done.profile.version)})


@router.delete(
    "/{profile}",
    **describe(
        headers=MATCHED, status=204, means="It wants nothing any more", problems=(NoSuchProfile, ProfileChangedSince)
    ),
)
async def delete_profile(request: Request) -> Response:
    """Want nothing by a profile any more; its history stays."""
    registry: Registry = request.app.state.registry
    profile, version = named(request.scope, "profile"), expected_version(request)
    await _user_who_may(request, profile)
    context = context_of(request)
    async with registry.database.transaction() as tx:
        await service.delete(tx, profile, metadata=context.metadata, at=context.at, version=version)
    await events.wake(registry.database)
    return Response(status_code=204)


@router.get(
    "/{profile}/history",
    **describe(query=HistoryQuery, answer=ProfileHistory, means="Its versions", problems=(NoSuchProfile,)),
)
async def profile_history(request: Request) -> Response:
    """What a profile was like, since when, and who changed it; also of one that was deleted."""
    registry: Registry = request.app.state.registry
    asked, profile = read_query(request.scope, HistoryQuery), named(request.scope, "profile")
    question = ("profile history", profile)
    before = decode_cursor(asked.cursor, int, question=question) if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        see_may_read(request, await storage.user_of(tx, profile))
        found = await storage.versions(tx, profile, before=before, limit=asked.limit + 1)
    page = found[: asked.limit]
    following = encode_cursor(page[-1].version, question=question) if len(found) > asked.limit else None
    versions = [
        ProfileVersion(
            version=one.version, change=one.change, at=one.at, actor=one.actor, correlation_id=one.correlation_id,
            profile=content_shown(content.decode(one.content)),
        )
        for one in page
    ]  # fmt: skip
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(ProfileHistory(id=profile, versions=versions, pagination=pagination))


@asynccontextmanager
async def _writing(request: Request, context: Context) -> AsyncIterator[Transaction]:
    """A transaction; of a request that is refused in it nothing is kept but, in another one, what stood against it."""
    registry: Registry = request.app.state.registry
    try:
        async with registry.database.transaction() as tx:
            yield tx
    except RequestRefused as refusal:
        async with registry.database.transaction() as tx:
            kept = await service.record(tx, refusal.wanted.user_id, refusal.met, context, refused=refusal.wanted)
        judged = [judged_shown(one) for one in refusal.judged]
        refusal.facts |= {"instruments": judged, "conflicts": [one.id for one in kept]}
        raise
    finally:
        await events.wake(registry.database)


async def _user_who_may(request: Request, profile: str) -> str:
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        user = (await storage.find(tx, profile)).wanted.user_id
    see_may_write(request, user)
    return user


async def _look_up(
    registry: Registry, instruments: Sequence[str | NamedInstrument], *, rules_count: int
) -> tuple[Asked, ...]:
    most, count = registry.configuration.now[MAX_INSTRUMENTS_PER_PLAN], len(instruments) + rules_count
    if count > most:
        detail = f"One request brings at most {most} instruments, not {count}; send several"
        raise TooManyInstruments(detail, limit=most, present=0, asked=count)
    return await finding.look_up(registry.database, registry.catalogue.index, [_named(one) for one in instruments])


def _named(one: str | NamedInstrument) -> Named:
    if isinstance(one, str):
        return Named(text=one)
    return Named(text=one.key, mode=content.mode_named(one.mode) if one.mode else None, pinned=one.pinned)


def _wanted(asked: ProfileReplacement, user_id: str) -> Wanted:
    given = {name: getattr(asked, name) for name in ("name", "type", "priority", "copies", "pinned")}
    return Wanted(
        **given, user_id=user_id, items=(), rules=_rules(asked.rules), mode=content.mode_named(asked.mode),
        preferences=_preferences(asked.preferences), instruments_max=asked.instruments_max, expires_at=asked.expires_at,
    )  # fmt: skip


def _changes(asked: ProfileChanges) -> dict[str, object]:
    read = {"rules": _rules, "preferences": _preferences, "mode": content.mode_named}
    return {
        name: read[name](value) if name in read else value  # type: ignore[operator]
        for name, value in msgspec.structs.asdict(asked).items()
        if value is not msgspec.UNSET and name != "instruments"
    }


def _rules(given: Sequence[dict[str, object]]) -> tuple[str, ...]:
    return tuple(msgspec.json.encode(rules.shown(rule)).decode() for rule in rules.parsed(given))


def _preferences(given: dict[str, object]) -> str:
    text = msgspec.json.encode(given)
    preferences.see_harmless(given, size_bytes=len(text))
    return text.decode()
