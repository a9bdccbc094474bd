"""Secrets: set, rotated, listed and deleted by operators; read at one path alone, each read audited.

Admins read them, and keys that have been granted them.
"""

from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope as AsgiScope

from instrument_registry import events
from instrument_registry.access.model import ApiKey, Scope
from instrument_registry.configuration.secrets import model, service, wrapping
from instrument_registry.configuration.secrets.model import (
    BadSecret,
    KeyUse,
    NoSuchSecret,
    Rewrapped,
    SecretOver,
    SecretVersion,
)
from instrument_registry.http.auth import ScopeLacking, authorize, caller_of, metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import named
from instrument_registry.http.problems import InvalidRequest, refused
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import needs, room, root
from instrument_registry.sealing import MasterKeyUnusable, SealBroken, sealer_of
from instrument_registry.settings import ENVIRONMENT_FORM
from instrument_registry.wiring import Registry

NO_STORE = {"cache-control": "no-store"}

Environment = Annotated[
    str, msgspec.Meta(pattern=ENVIRONMENT_FORM, description="Of which environment; else that of this instance.")
]
Value = Annotated[
    str, msgspec.Meta(min_length=1, max_length=model.VALUE_BYTES_MAX, description="At most 65,536 bytes of UTF-8.")
]
Why = Annotated[str, msgspec.Meta(min_length=1, max_length=model.REASON_MAX)]
Overlap = Annotated[
    int,
    msgspec.Meta(
        ge=0, le=model.OVERLAP_SECONDS_MAX, description="For how many seconds the former version can still be read."
    ),
]


class SecretBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value from now on, and why."""

    value: Value
    reason: Why
    environment: Environment | None = None
    overlap_seconds: Overlap = model.OVERLAP_SECONDS


class SecretRotationBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another value, and why; without one a random one of 256 bits is made."""

    reason: Why
    value: Value | None = None
    environment: Environment | None = None
    overlap_seconds: Overlap = model.OVERLAP_SECONDS


class SecretShown(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a secret, without its value; `key_id` is the master key that wraps it as long as it is kept."""

    name: str
    environment: str
    version: int
    key_id: str | None
    actor: str
    at: datetime
    reason: str
    ends_at: datetime | None
    ended_by: str | None
    ended_reason: str | None


class SecretPage(msgspec.Struct, frozen=True, kw_only=True):
    """Secrets in force, by name."""

    secrets: list[SecretShown]
    pagination: Pagination


class SecretVersionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Every version a secret ever had, the newest first."""

    versions: list[SecretShown]


class SecretValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value."""

    key: str
    value: str
    environment: str
    version: int


class MasterKeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """A master key: whether this instance has it, whether it wraps what is new, and how much it still wraps."""

    key_id: str
    held: bool
    newest: bool
    secrets: int
    webhook_secrets: int


class MasterKeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """The master keys that are here or wrap something."""

    keys: list[MasterKeyShown]


class RewrapBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much to do in this call."""

    at_most: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = wrapping.REWRAPPED_AT_ONCE


class RewrapShown(msgspec.Struct, frozen=True, kw_only=True):
    """How far it has come: call again until none is left; what is damaged stays as it is."""

    key_id: str
    rewrapped: int
    left: int
    damaged: list[str]


class SecretsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which secrets to list."""

    environment: Environment | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class SecretQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which environment."""

    environment: Environment | None = None


class SecretRemovalQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which environment, and why it goes."""

    reason: Why
    environment: Environment | None = None


class SecretValueQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which environment; a former version can be read until its overlap is over."""

    environment: Environment | None = None
    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None


Asked = TypeVar("Asked", SecretBody, SecretRotationBody)
router = room(tag="secrets")
values = root(tag="secrets")


@router.get("/secrets", **describe(query=SecretsQuery, answer=SecretPage, means="The secrets", problems=(BadSecret,)))
@needs(Scope.OPERATOR)
async def list_secrets(request: Request) -> Response:
    """The secrets there are, of every environment or of one; never their values."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, SecretsQuery)
    question = ("secrets", asked.environment)
    after = decode_cursor(asked.cursor, tuple[str, str], question=question) if asked.cursor else ("", "")
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.listed(tx, environment=asked.environment, after=after, limit=asked.limit + 1)
    page = found[: asked.limit]
    last = (page[-1].name, page[-1].environment) if len(found) > asked.limit else None
    following = encode_cursor(last, question=question) if last else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(SecretPage(secrets=[_shown(one) for one in page], pagination=pagination))


@router.get("/secrets/keys", **describe(answer=MasterKeyPage, means="The master keys", problems=(MasterKeyUnusable,)))
@needs(Scope.OPERATOR)
async def list_master_keys(request: Request) -> Response:
    """How many values each master key still wraps: one that wraps none can be taken out."""
    registry: Registry = request.app.state.registry
    sealer = sealer_of(registry.settings)
    async with registry.database.transaction(read_only=True) as tx:
        found = await wrapping.keys(tx, sealer, at=registry.clock())
    return json_response(MasterKeyPage(keys=[_key(one) for one in found]))


@router.post(
    "/secrets/rewrap",
    **describe(body=RewrapBody, answer=RewrapShown, means="How far it has come", problems=(MasterKeyUnusable,)),
)
@needs(Scope.OPERATOR)
async def rewrap_secrets(request: Request) -> Response:
    """Bring values under the newest master key while everything is read and written as before."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, RewrapBody)
    done = await wrapping.rewrap(
        registry.database, sealer_of(registry.settings), metadata=metadata_of(request.scope), clock=registry.clock,
        at_most=asked.at_most,
    )  # fmt: skip
    await events.wake(registry.database)
    return json_response(_rewrapped(done))


@router.put(
    "/secrets/{name}",
    **describe(
        body=SecretBody, answer=SecretShown, means="The version in force", problems=(BadSecret, MasterKeyUnusable)
    ),
)
@needs(Scope.OPERATOR)
async def set_secret(request: Request) -> Response:
    """Let a secret have this value; no answer ever shows it but that of `/api/v1/secrets/{key}/value`."""
    registry: Registry = request.app.state.registry
    name, asked = named(request.scope, "name"), await _read(request, SecretBody)
    metadata, at, sealer = metadata_of(request.scope), registry.clock(), sealer_of(registry.settings)
    async with registry.database.transaction() as tx:
        made = await service.put(
            tx, name, asked.value, sealer=sealer, reason=asked.reason, metadata=metadata, at=at,
            environment=asked.environment, overlap_seconds=asked.overlap_seconds,
        )  # fmt: skip
    await events.wake(registry.database)
    return json_response(_shown(made))


@router.delete(
    "/secrets/{name}",
    **describe(
        query=SecretRemovalQuery, status=204, means="It is gone with every version", problems=(NoSuchSecret, BadSecret)
    ),
)
@needs(Scope.OPERATOR)
async def delete_secret(request: Request) -> Response:
    """Take a secret away with every version of it, at once; its history stays."""
    registry: Registry = request.app.state.registry
    name, asked = named(request.scope, "name"), read_query(request.scope, SecretRemovalQuery)
    metadata, environment = metadata_of(request.scope), asked.environment or registry.settings.environment
    async with registry.database.transaction() as tx:
        await service.delete(
            tx, name, reason=asked.reason, metadata=metadata, at=registry.clock(), environment=environment
        )
    await events.wake(registry.database)
    return Response(status_code=204)


@router.post(
    "/secrets/{name}/rotate",
    **describe(
        body=SecretRotationBody, answer=SecretShown, means="The version in force",
        problems=(NoSuchSecret, BadSecret, MasterKeyUnusable),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def rotate_secret(request: Request) -> Response:
    """Another value for a secret that is there; the former one can be read by its number until the overlap is over."""
    registry: Registry = request.app.state.registry
    name, asked = named(request.scope, "name"), await _read(request, SecretRotationBody)
    metadata, at, sealer = metadata_of(request.scope), registry.clock(), sealer_of(registry.settings)
    async with registry.database.transaction() as tx:
        made = await service.rotate(
            tx, name, sealer=sealer, reason=asked.reason, metadata=metadata, at=at, value=asked.value,
            environment=asked.environment, overlap_seconds=asked.overlap_seconds,
        )  # fmt: skip
    await events.wake(registry.database)
    return json_response(_shown(made))


@router.get(
    "/secrets/{name}/versions",
    **describe(query=SecretQuery, answer=SecretVersionPage, means="Its versions", problems=(NoSuchSecret, BadSecret)),
)
@needs(Scope.OPERATOR)
async def list_secret_versions(request: Request) -> Response:
    """Who set a secret when and why, and how each version ended; also of one that is gone."""
    registry: Registry = request.app.state.registry
    name, asked = named(request.scope, "name"), read_query(request.scope, SecretQuery)
    environment = asked.environment or registry.settings.environment
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.versions(tx, name, environment=environment)
    return json_response(SecretVersionPage(versions=[_shown(one) for one in found]))


async def granted(scope: AsgiScope, needed: Scope) -> ApiKey:
    """The caller, if they may administrate or have been granted this secret; Raises: as `authorize`, BadSecret."""
    try:
        return await authorize(scope, needed)
    except ScopeLacking:
        caller = caller_of(scope)
        if not caller.secrets or model.name_of(named(scope, "key")) not in caller.secrets:
            raise
        return caller


@values.get(
    "/api/v1/secrets/{key}/value",
    **describe(
        query=SecretValueQuery, answer=SecretValue, means="Its value",
        problems=(NoSuchSecret, SecretOver, BadSecret, SealBroken, MasterKeyUnusable),
    ),
)  # fmt: skip
@needs(Scope.ADMIN, admission=granted)
async def one_secret_value(request: Request) -> Response:
    """The value of a secret; the only answer that shows one, and told in the audit before it is given.

    A key that may not administrate reads those it has been granted (`PUT /keys/{key_id}/secrets`).
    """
    registry: Registry = request.app.state.registry
    name, asked = named(request.scope, "key"), read_query(request.scope, SecretValueQuery)
    metadata, sealer = metadata_of(request.scope), sealer_of(registry.settings)
    async with registry.database.transaction() as tx:
        found, value = await service.read(
            tx, name, sealer=sealer, metadata=metadata, at=registry.clock(), environment=asked.environment,
            version=asked.version,
        )  # fmt: skip
    await events.wake(registry.database)
    shown = SecretValue(key=found.name, value=value, environment=found.environment, version=found.version)
    return json_response(shown, headers=NO_STORE)


async def _read(request: Request, kind: type[Asked]) -> Asked:
    """The body; a refusal says what is wrong with it and shows nothing of it, since it may be the secret."""
    try:
        return await read_json(request, kind)
    except InvalidRequest as error:
        told = error.facts["errors"]
        assert isinstance(told, list)
    raise refused([msgspec.structs.replace(one, value=None) for one in told])


def _shown(version: SecretVersion) -> SecretShown:
    return msgspec.convert(version, SecretShown, from_attributes=True)


def _key(use: KeyUse) -> MasterKeyShown:
    return msgspec.convert(use, MasterKeyShown, from_attributes=True)


def _rewrapped(done: Rewrapped) -> RewrapShown:
    return RewrapShown(key_id=done.key_id, rewrapped=done.rewrapped, left=done.left, damaged=list(done.damaged))
