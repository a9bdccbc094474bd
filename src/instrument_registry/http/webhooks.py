"""Webhook endpoints: addresses that are sent events, by whom they are kept, and how they are doing."""

from datetime import datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry import events
from instrument_registry.access.model import Scope
from instrument_registry.events.webhooks import addresses, model, service
from instrument_registry.events.webhooks.addresses import WebhookAddressRefused
from instrument_registry.events.webhooks.model import (
    Endpoint,
    EndpointChanged,
    EndpointRefused,
    EndpointState,
    Format,
    Health,
    NoSuchEndpoint,
    Signature,
    Wanted,
)
from instrument_registry.events.wire import EVERYTHING
from instrument_registry.http.auth import metadata_of
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import Pagination, json_response
from instrument_registry.http.openapi import describe
from instrument_registry.http.paging import CURSOR_PATTERN, decode_cursor, encode_cursor
from instrument_registry.http.paths import numbered
from instrument_registry.http.preconditions import MATCHED, expected_version, version_tag
from instrument_registry.http.queries import read_query
from instrument_registry.http.routes import PREFIX, needs, room
from instrument_registry.sealing import MasterKeyUnusable, sealer_of
from instrument_registry.wiring import Registry

Address = Annotated[
    str, msgspec.Meta(min_length=1, max_length=2_000, description="https; http only where networks are listed.")
]
Description = Annotated[str, msgspec.Meta(max_length=model.DESCRIPTION_CHARACTERS)]
Owner = Annotated[
    str, msgspec.Meta(max_length=model.OWNER_CHARACTERS, description="Who answers for it; else who creates it.")
]
Types = Annotated[
    list[Annotated[str, msgspec.Meta(min_length=1, max_length=100)]],
    msgspec.Meta(max_length=model.TYPES_MAX, description="Types, families such as instrument.*, or * for everything."),
]
Instruments = Annotated[
    list[Annotated[str, msgspec.Meta(min_length=1, max_length=100)]],
    msgspec.Meta(max_length=model.INSTRUMENTS_MAX, description="Ids of instruments; none: about whatever it is."),
]
Concurrency = Annotated[int, msgspec.Meta(ge=1, le=model.CONCURRENCY_MAX, description="Requests at once.")]
Why = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class WebhookBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to send what, in which form, signed how (v1: a shared secret, v1a: a key pair)."""

    url: Address
    description: Description = ""
    owner: Owner = ""
    event_types: Types = msgspec.field(default_factory=lambda: [EVERYTHING])
    instruments: Instruments = []
    format: Format = Format.STANDARD
    signature: Signature = Signature.HMAC
    ordered: bool = False  # events about one instrument one after the other
    bulk: bool = False  # each fact of a bulk run too, not only what sums it up
    concurrency: Concurrency = model.CONCURRENCY


class WebhookChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another way; what is left out stays."""

    url: Address | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType = msgspec.UNSET
    owner: Owner | msgspec.UnsetType = msgspec.UNSET
    event_types: Types | msgspec.UnsetType = msgspec.UNSET
    instruments: Instruments | msgspec.UnsetType = msgspec.UNSET
    format: Format | msgspec.UnsetType = msgspec.UNSET
    ordered: bool | msgspec.UnsetType = msgspec.UNSET
    bulk: bool | msgspec.UnsetType = msgspec.UNSET
    concurrency: Concurrency | msgspec.UnsetType = msgspec.UNSET


class WebhookShown(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint; `failing_since` is there while nothing is taken."""

    id: int
    url: str
    description: str
    owner: str
    event_types: list[str]
    instruments: list[str]
    format: Format
    signature: Signature
    ordered: bool
    bulk: bool
    concurrency: int
    state: EndpointState
    state_reason: str | None
    version: int
    actor: str
    created_at: datetime
    changed_at: datetime
    last_success_at: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    public_keys: list[str] = []  # of v1a, the newest first


class WebhookMade(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint and what its receiver verifies with: a secret (v1) is shown this once, a public key (v1a) always."""

    endpoint: WebhookShown
    verifies_with: str


class WebhookPage(msgspec.Struct, frozen=True, kw_only=True):
    """Endpoints by id."""

    webhooks: list[WebhookShown]
    pagination: Pagination


class WebhooksQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which endpoints to list."""

    owner: Owner | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(pattern=CURSOR_PATTERN)] | None = None


class WebhookReason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why."""

    reason: Why


class RotationBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how long the former secret signs beside the new one."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=model.OVERLAP_SECONDS_MAX)] = model.OVERLAP_SECONDS


class RemovalQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an endpoint goes."""

    reason: Why


router = room(tag="webhooks")


@router.get("/webhooks", **describe(query=WebhooksQuery, answer=WebhookPage, means="The endpoints"))
@needs(Scope.OPERATOR)
async def list_webhooks(request: Request) -> Response:
    """The endpoints there are and how they have been doing."""
    registry: Registry = request.app.state.registry
    asked = read_query(request.scope, WebhooksQuery)
    question = ("webhooks", asked.owner)
    after = decode_cursor(asked.cursor, int, question=question) if asked.cursor else 0
    async with registry.database.transaction(read_only=True) as tx:
        found = await service.listed(tx, after=after, limit=asked.limit + 1, owner=asked.owner)
    page = found[: asked.limit]
    following = encode_cursor(page[-1][0].id, question=question) if len(found) > asked.limit else None
    pagination = Pagination(limit=asked.limit, count=len(page), next_cursor=following)
    return json_response(WebhookPage(webhooks=[_shown(*one) for one in page], pagination=pagination))


@router.post(
    "/webhooks",
    **describe(
        body=WebhookBody, answer=WebhookMade, status=201, means="It is sent events; keep what it verifies with",
        problems=(WebhookAddressRefused, EndpointRefused, MasterKeyUnusable),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def create_webhook(request: Request) -> Response:
    """Have events sent to an address; a shared secret is in this answer and in no other."""
    registry: Registry = request.app.state.registry
    asked = await read_json(request, WebhookBody)
    given = msgspec.structs.asdict(asked)
    wanted = Wanted(**given | {"event_types": tuple(asked.event_types), "instruments": tuple(asked.instruments)})
    await addresses.look(wanted.url, addresses.guard_of(registry.settings.webhook_networks))
    metadata, at, sealer = metadata_of(request.scope), registry.clock(), sealer_of(registry.settings)
    async with registry.database.transaction() as tx:
        made, verifies_with = await service.create(tx, wanted, sealer=sealer, metadata=metadata, at=at)
        keys = await service.public_keys(tx, made.id, at=at)
    await _told(registry)
    headers = {
        "location": f"{PREFIX}/webhooks/{made.id}", "etag": version_tag(made.version), "cache-control": "no-store"
    }  # fmt: skip
    answer = WebhookMade(endpoint=_shown(made, Health(), keys), verifies_with=verifies_with)
    return json_response(answer, 201, headers)


@router.get(
    "/webhooks/{webhook}",
    **describe(answer=WebhookShown, means="The endpoint", problems=(NoSuchEndpoint,), tagged=True),
)
@needs(Scope.OPERATOR)
async def one_webhook(request: Request) -> Response:
    """An endpoint, how it has been doing, and the public keys it verifies with; its ETag is for If-Match."""
    registry: Registry = request.app.state.registry
    async with registry.database.transaction(read_only=True) as tx:
        found, health = await service.find(tx, numbered(request.scope, "webhook"))
        keys = await service.public_keys(tx, found.id, at=registry.clock())
    headers = {"etag": version_tag(found.version), "cache-control": "no-cache"}
    return json_response(_shown(found, health, keys), headers=headers)


@router.patch(
    "/webhooks/{webhook}",
    **describe(
        body=WebhookChanges, headers=MATCHED, answer=WebhookShown, means="The endpoint as it is now",
        problems=(NoSuchEndpoint, EndpointChanged, WebhookAddressRefused, EndpointRefused),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def change_webhook(request: Request) -> Response:
    """Let an endpoint be another one in what is named."""
    registry: Registry = request.app.state.registry
    asked, endpoint = await read_json(request, WebhookChanges), numbered(request.scope, "webhook")
    version = expected_version(request)
    changes = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in msgspec.structs.asdict(asked).items()
        if value is not msgspec.UNSET
    }
    if isinstance(asked.url, str):
        await addresses.look(asked.url, addresses.guard_of(registry.settings.webhook_networks))
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        await service.change(tx, endpoint, changes, metadata=metadata, at=at, version=version)
        found, health = await service.find(tx, endpoint)
        keys = await service.public_keys(tx, endpoint, at=at)
    await _told(registry)
    return json_response(_shown(found, health, keys), headers={"etag": version_tag(found.version)})


@router.delete(
    "/webhooks/{webhook}",
    **describe(query=RemovalQuery, status=204, means="It is sent nothing any more", problems=(NoSuchEndpoint,)),
)
@needs(Scope.OPERATOR)
async def delete_webhook(request: Request) -> Response:
    """Send an endpoint nothing any more, not even what waits for it."""
    registry: Registry = request.app.state.registry
    asked, endpoint = read_query(request.scope, RemovalQuery), numbered(request.scope, "webhook")
    metadata = metadata_of(request.scope)
    async with registry.database.transaction() as tx:
        await service.delete(tx, endpoint, reason=asked.reason, metadata=metadata, at=registry.clock())
    await _told(registry)
    return Response(status_code=204)


@router.post(
    "/webhooks/{webhook}/pause",
    **describe(body=WebhookReason, answer=WebhookShown, means="It is paused", problems=(NoSuchEndpoint,)),
)
@needs(Scope.OPERATOR)
async def pause_webhook(request: Request) -> Response:
    """Hold everything back that is for an endpoint: it waits until the endpoint is resumed."""
    return await _turned(request, to=EndpointState.PAUSED)


@router.post(
    "/webhooks/{webhook}/resume",
    **describe(body=WebhookReason, answer=WebhookShown, means="It is sent events again", problems=(NoSuchEndpoint,)),
)
@needs(Scope.OPERATOR)
async def resume_webhook(request: Request) -> Response:
    """Send an endpoint events again that was paused, or disabled because it took nothing."""
    return await _turned(request, to=EndpointState.ACTIVE)


@router.post(
    "/webhooks/{webhook}/secret",
    **describe(
        body=RotationBody, answer=WebhookMade, means="What it verifies with from now on",
        problems=(NoSuchEndpoint, EndpointRefused, MasterKeyUnusable),
    ),
)  # fmt: skip
@needs(Scope.OPERATOR)
async def rotate_webhook_secret(request: Request) -> Response:
    """A new secret for an endpoint; the former one signs beside it until the overlap is over."""
    registry: Registry = request.app.state.registry
    asked, endpoint = await read_json(request, RotationBody), numbered(request.scope, "webhook")
    metadata, at, sealer = metadata_of(request.scope), registry.clock(), sealer_of(registry.settings)
    async with registry.database.transaction() as tx:
        _, verifies_with = await service.rotate(
            tx, endpoint, overlap_seconds=asked.overlap_seconds, sealer=sealer, metadata=metadata, at=at
        )
        found, health = await service.find(tx, endpoint)
        keys = await service.public_keys(tx, endpoint, at=at)
    await _told(registry)
    answer = WebhookMade(endpoint=_shown(found, health, keys), verifies_with=verifies_with)
    return json_response(answer, headers={"cache-control": "no-store"})


async def _turned(request: Request, *, to: EndpointState) -> Response:
    registry: Registry = request.app.state.registry
    asked, endpoint = await read_json(request, WebhookReason), numbered(request.scope, "webhook")
    turn = service.pause if to is EndpointState.PAUSED else service.resume
    metadata, at = metadata_of(request.scope), registry.clock()
    async with registry.database.transaction() as tx:
        await turn(tx, endpoint, reason=asked.reason, metadata=metadata, at=at)
        found, health = await service.find(tx, endpoint)
    await _told(registry)
    return json_response(_shown(found, health))


async def _told(registry: Registry) -> None:
    await service.wake(registry.database)
    await events.wake(registry.database)


def _shown(endpoint: Endpoint, health: Health, keys: list[str] | None = None) -> WebhookShown:
    wanted = endpoint.wanted
    return WebhookShown(
        id=endpoint.id, url=wanted.url, description=wanted.description, owner=wanted.owner,
        event_types=list(wanted.event_types), instruments=list(wanted.instruments), format=wanted.format,
        signature=wanted.signature, ordered=wanted.ordered, bulk=wanted.bulk, concurrency=wanted.concurrency,
        state=endpoint.state, state_reason=endpoint.state_reason, version=endpoint.version, actor=endpoint.actor,
        created_at=endpoint.created_at, changed_at=endpoint.changed_at, last_success_at=health.last_success_at,
        failing_since=health.failing_since, failures=health.failures, public_keys=keys or [],
    )  # fmt: skip
