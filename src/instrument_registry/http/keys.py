"""API keys: who has one, what for and until when. The text of a key leaves once, when it is made."""

from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access import binding, granting, service
from instrument_registry.access.model import (
    NAME_LIMIT,
    OVERLAP_MAX,
    ApiKey,
    BadExpiry,
    BadGrant,
    BadKeyName,
    BadUsers,
    BoundKey,
    KeyAlreadyReplaced,
    KeyAlreadyRevoked,
    KeyHasEnded,
    KeyNotFound,
    KeyState,
    Scope,
    ScopeExceeded,
)
from instrument_registry.configuration.secrets.model import NAME_MAX, BadSecret, name_of
from instrument_registry.http.auth import caller_of, metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.overrides import Reason
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import PREFIX, needs, room
from instrument_registry.wiring import Registry

OVERLAP_SECONDS = 24 * 60 * 60
UNSEEN = {"cache-control": "no-store"}  # by whoever keeps answers on the way

KeyName = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LIMIT, description="Who will use it.")]
End = Annotated[datetime, msgspec.Meta(tz=True, description="From then on it opens nothing; without it: never.")]
Overlap = Annotated[
    int,
    msgspec.Meta(
        ge=0, le=int(OVERLAP_MAX.total_seconds()), description="Seconds for which the old key still opens doors."
    ),
]


class KeyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key that is wanted."""

    name: KeyName
    scope: Scope = Scope.READER
    expires_at: End | None = None


class KeyRotationBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a key is to be replaced."""

    overlap_seconds: Overlap = OVERLAP_SECONDS


class KeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """A key, without what opens doors; `ending` is in force for at most 14 days more."""

    id: str
    name: str
    scope: Scope
    state: KeyState
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    replaces: str | None
    replaced_by: str | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None  # to the minute
    users: list[str]  # whose subscription profiles alone it may touch; none: everybody's
    secrets: list[str]  # whose values it may read whatever its scope


class KeyUsersBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To whom a key is bound, and why."""

    users: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=binding.USER_CHARACTERS)]],
        msgspec.Meta(min_length=1, max_length=binding.USERS_MAX),
    ]
    reason: Reason


class KeyRemovalQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a key is to be bound to nobody, or to read no secrets any more."""

    reason: Reason


class KeyUsers(msgspec.Struct, frozen=True, kw_only=True):
    """To whom a key is bound; none: it may touch everybody's subscription profiles."""

    key_id: str
    users: list[str]


class KeySecretsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which secrets a key may read, and why."""

    secrets: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX)]],
        msgspec.Meta(min_length=1, max_length=granting.SECRETS_MAX),
    ]
    reason: Reason


class KeySecrets(msgspec.Struct, frozen=True, kw_only=True):
    """The secrets whose values a key may read, whatever its scope."""

    key_id: str
    secrets: list[str]


class KeyMade(msgspec.Struct, frozen=True, kw_only=True):
    """A new key: `text` is what its holder sends, and cannot be shown again. `replaced` is the one it takes the place
    of."""

    text: str
    key: KeyShown
    replaced: KeyShown | None = None


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """Keys, the oldest first, ended and revoked ones too."""

    keys: list[KeyShown]
    pagination: Pagination


class KeysQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which keys to list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


router = room(tag="keys")


@router.get("/keys", **describe(query=KeysQuery, answer=KeyPage, means="The keys"))
@needs(Scope.ADMIN)
async def list_keys(request: Request) -> Response:
    """Every key: whose it is, until when it is good, when it was last used."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, KeysQuery)
    after = decode_cursor(asked.cursor, tuple[datetime, str], question="keys") if asked.cursor else None
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.page_of_keys(tx, after=after, limit=asked.limit + 1)
    page = found[: asked.limit]
    more = len(found) > asked.limit
    following = encode_cursor((page[-1].created_at, page[-1].id), question="keys") if more else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    at = registry.clock()
    return json_response(KeyPage(keys=[_shown(key, at) for key in page], pagination=pagination), headers=UNSEEN)


@router.post(
    "/keys",
    **describe(
        body=KeyBody, answer=KeyMade, status=201, means="The key is made",
        problems=(BadKeyName, BadExpiry, ScopeExceeded),
    ),
)  # fmt: skip
@needs(Scope.ADMIN)
async def create_key(request: Request) -> Response:
    """Make a key; its text is in this answer and nowhere else. Sent again, it makes another one."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, KeyBody)
    scope, at = caller_of(request.scope).scope.give(asked.scope), registry.clock()
    async with registry.database.transaction() as tx:
        key, text = await service.create_key(
            tx, name=asked.name, scope=scope, expires_at=asked.expires_at, metadata=metadata_of(request.scope), at=at
        )
    await events.wake(registry.database)
    headers = {"location": f"{PREFIX}/keys/{key.id}", **UNSEEN}
    return json_response(KeyMade(text=text, key=_shown(key, at)), 201, headers)


@router.get("/keys/{key_id}", **describe(answer=KeyShown, means="The key", problems=(KeyNotFound,)))
@needs(Scope.ADMIN)
async def one_key(request: Request) -> Response:
    """One key."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        key = await service.find_key(tx, named(request.scope, "key_id"))
    return json_response(_shown(key, registry.clock()), headers=UNSEEN)


@router.post(
    "/keys/{key_id}/rotate",
    **describe(
        body=KeyRotationBody, answer=KeyMade, status=201, means="Another key takes its place",
        problems=(KeyNotFound, KeyAlreadyReplaced, KeyAlreadyRevoked, KeyHasEnded, ScopeExceeded),
    ),
)  # fmt: skip
@needs(Scope.ADMIN)
async def rotate_key(request: Request) -> Response:
    """Make a key of the same name, scope, lifetime and limits; the old one opens doors until the overlap is over."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, KeyRotationBody)
    key_id, at = named(request.scope, "key_id"), registry.clock()
    async with registry.database.transaction() as tx:
        caller_of(request.scope).scope.give((await service.find_key(tx, key_id)).scope)
        done = await service.rotate_key(
            tx, key_id, overlap=timedelta(seconds=asked.overlap_seconds), metadata=metadata_of(request.scope), at=at
        )
    await events.wake(registry.database)
    made = KeyMade(text=done.text, key=_shown(done.new, at), replaced=_shown(done.old, at))
    headers = {"location": f"{PREFIX}/keys/{done.new.id}", **UNSEEN}
    return json_response(made, 201, headers)


@router.post(
    "/keys/{key_id}/revoke", **describe(answer=KeyShown, means="The key opens nothing", problems=(KeyNotFound,))
)
@needs(Scope.ADMIN)
async def revoke_key(request: Request) -> Response:
    """Take a key out of force for good: no worker lets it in two seconds later. Sent again, nothing more happens."""
    registry: Registry = request.app.state.registry
    key_id, at = named(request.scope, "key_id"), registry.clock()
    async with registry.database.transaction() as tx:
        try:
            key = await service.revoke_key(tx, key_id, metadata=metadata_of(request.scope), at=at)
        except KeyAlreadyRevoked:
            key = await service.find_key(tx, key_id)
    await events.wake(registry.database)
    return json_response(_shown(key, at), headers=UNSEEN)


@router.put(
    "/keys/{key_id}/users",
    **describe(
        body=KeyUsersBody, answer=KeyUsers, means="It may touch these users' profiles alone",
        problems=(KeyNotFound, BadUsers, BoundKey),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def bind_key(request: Request) -> Response:
    """Bind a key to exactly these users: it touches nobody else's subscription profiles, two seconds later at most."""
    asked = await read_json(request, KeyUsersBody)
    return await _bound(request, asked.users, reason=asked.reason)


@router.delete(
    "/keys/{key_id}/users",
    **describe(
        query=KeyRemovalQuery, answer=KeyUsers, means="It may touch everybody's profiles",
        problems=(KeyNotFound, BoundKey),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def unbind_key(request: Request) -> Response:
    """Bind a key to nobody: it touches the subscription profiles of everybody."""
    asked = read_query(request.scope, KeyRemovalQuery)
    return await _bound(request, [], reason=asked.reason)


@router.put(
    "/keys/{key_id}/secrets",
    **describe(
        body=KeySecretsBody, answer=KeySecrets, means="It may read these secrets",
        problems=(KeyNotFound, BadGrant, BadSecret),
    ),
)  # fmt: skip
@needs(Scope.ADMIN)
async def grant_secrets(request: Request) -> Response:
    """Let a key read the values of exactly these secrets, although it may not administrate: a ticker's credentials."""
    asked = await read_json(request, KeySecretsBody)
    return await _granted(request, [name_of(one) for one in asked.secrets], reason=asked.reason)


@router.delete(
    "/keys/{key_id}/secrets",
    **describe(query=KeyRemovalQuery, answer=KeySecrets, means="It reads none", problems=(KeyNotFound,)),
)
@needs(Scope.ADMIN)
async def withdraw_secrets(request: Request) -> Response:
    """Let a key read no secrets any more, unless it may administrate."""
    asked = read_query(request.scope, KeyRemovalQuery)
    return await _granted(request, [], reason=asked.reason)


async def _granted(request: Request, names: list[str], *, reason: str) -> Response:
    registry: Registry = request.app.state.registry
    key_id, metadata, at = named(request.scope, "key_id"), metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        key = await granting.grant(tx, key_id, names, reason=reason, metadata=metadata, at=at)
    await events.wake(registry.database)
    return json_response(KeySecrets(key_id=key.id, secrets=list(key.secrets)), headers=UNSEEN)


async def _bound(request: Request, users: list[str], *, reason: str) -> Response:
    registry: Registry = request.app.state.registry
    if caller_of(request.scope).users:
        raise BoundKey("A key that is bound to users itself binds no keys")
    key_id, metadata, at = named(request.scope, "key_id"), metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        key = await binding.bind(tx, key_id, users, reason=reason, metadata=metadata, at=at)
    await events.wake(registry.database)
    return json_response(KeyUsers(key_id=key.id, users=list(key.users)), headers=UNSEEN)


def _shown(key: ApiKey, at: datetime) -> KeyShown:
    return KeyShown(
        id=key.id, name=key.name, scope=key.scope, state=key.state(at), created_at=key.created_at,
        created_by=key.created_by, expires_at=key.expires_at, replaces=key.replaces, replaced_by=key.replaced_by,
        revoked_at=key.revoked_at, revoked_by=key.revoked_by, last_used_at=key.last_used_at,
        users=list(key.users), secrets=list(key.secrets),
    )  # fmt: skip
