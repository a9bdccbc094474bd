"""What operators do with endpoints; everything they do is told."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta

from instrument_registry.database import Database, DatabaseUnavailable, Transaction
from instrument_registry.events import service as log
from instrument_registry.events import storage as log_storage
from instrument_registry.events.model import Fact, Metadata
from instrument_registry.events.webhooks import queue, signing, storage
from instrument_registry.events.webhooks.addresses import origin
from instrument_registry.events.webhooks.events import (
    Values,
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookEndpointPaused,
    WebhookEndpointResumed,
    WebhookEndpointRotated,
    WebhookEndpointUpdated,
    stream_of,
)
from instrument_registry.events.webhooks.model import (
    OVERLAP_SECONDS_MAX,
    SECRETS_MAX,
    Endpoint,
    EndpointChanged,
    EndpointRefused,
    EndpointState,
    Health,
    SealedSecret,
    Wanted,
)
from instrument_registry.events.webhooks.signing import Key
from instrument_registry.sealing import Bound, Sealed, Sealer

# A channel of the database: something about webhooks has been changed by hand.
CHANGED = "webhooks_changed"


async def create(
    tx: Transaction, wanted: Wanted, *, sealer: Sealer, metadata: Metadata, at: datetime
) -> tuple[Endpoint, str]:
    """A new endpoint, and what its receiver verifies with: a shared secret cannot be shown again.

    Its address must have been looked at. Raises: EndpointRefused, BadFilter.
    """
    wanted.check()
    wanted = replace(wanted, owner=wanted.owner or metadata.actor)
    position = await log.head_position(tx)
    endpoint = await storage.add(tx, wanted, starts_after=position, actor=metadata.actor, at=at)
    key = await _add_key(tx, endpoint, sealer=sealer, at=at)
    fact = WebhookEndpointCreated(occurred_at=at, endpoint=endpoint.id, url=origin(wanted.url), new=_shown(wanted))
    await tell(tx, endpoint, fact, metadata=metadata)
    return endpoint, key.shown


async def find(tx: Transaction, endpoint: int) -> tuple[Endpoint, Health]:
    """An endpoint and how it has been doing; Raises: NoSuchEndpoint."""
    found = await storage.find(tx, endpoint)
    return found, (await storage.health_of(tx, [endpoint])).get(endpoint, Health())


async def listed(
    tx: Transaction, *, after: int = 0, limit: int = 100, owner: str | None = None
) -> list[tuple[Endpoint, Health]]:
    """Endpoints by id, and how they have been doing."""
    found = await storage.listed(tx, after=after, limit=limit, owner=owner)
    health = await storage.health_of(tx, [one.id for one in found])
    return [(one, health.get(one.id, Health())) for one in found]


async def change(
    tx: Transaction,
    endpoint: int,
    changes: Mapping[str, object],
    *,
    metadata: Metadata,
    at: datetime,
    version: int | None = None,
) -> Endpoint:
    """Let an endpoint be another one in these fields; with `version` only if nobody has changed it since.

    A new address must have been looked at. Raises: NoSuchEndpoint, EndpointChanged, EndpointRefused, BadFilter.
    """
    before = await _held(tx, endpoint, version=version)
    wanted = replace(before.wanted, **changes)  # type: ignore[arg-type]
    wanted.check()
    if wanted == before.wanted:
        return before
    after = before.changed(wanted=wanted, at=at)
    await storage.save(tx, after)
    old, new = _shown(before.wanted), _shown(wanted)
    differs = [name for name in new if new[name] != old[name]]
    fact = WebhookEndpointUpdated(
        occurred_at=at, endpoint=endpoint, url=origin(wanted.url),
        old={name: old[name] for name in differs}, new={name: new[name] for name in differs},
    )  # fmt: skip
    await tell(tx, after, fact, metadata=metadata)
    return after


async def pause(tx: Transaction, endpoint: int, *, reason: str | None, metadata: Metadata, at: datetime) -> Endpoint:
    """Hold deliveries back: they wait, and those of events to come too; Raises: NoSuchEndpoint, EndpointRefused."""
    before = await _held(tx, endpoint)
    if before.state is EndpointState.PAUSED:
        return before
    after = before.turned(EndpointState.PAUSED, reason=reason, at=at)
    await storage.save(tx, after)
    fact = WebhookEndpointPaused(occurred_at=at, endpoint=endpoint, url=origin(after.wanted.url), reason=reason)
    await tell(tx, after, fact, metadata=metadata)
    return after


async def resume(tx: Transaction, endpoint: int, *, reason: str | None, metadata: Metadata, at: datetime) -> Endpoint:
    """Let deliveries go on, whatever held them back; Raises: NoSuchEndpoint."""
    before = await _held(tx, endpoint)
    if before.state is EndpointState.ACTIVE:
        return before
    after = before.turned(EndpointState.ACTIVE, reason=None, at=at)
    await storage.save(tx, after)
    await storage.forgive(tx, endpoint)
    fact = WebhookEndpointResumed(occurred_at=at, endpoint=endpoint, url=origin(after.wanted.url), reason=reason)
    await tell(tx, after, fact, metadata=metadata)
    return after


async def disable(tx: Transaction, endpoint: int, *, reason: str, metadata: Metadata, at: datetime) -> None:
    """Try an endpoint no longer, until somebody resumes it; Raises: NoSuchEndpoint."""
    before = await _held(tx, endpoint)
    if before.state is EndpointState.DISABLED:
        return
    after = before.turned(EndpointState.DISABLED, reason=reason, at=at)
    await storage.save(tx, after)
    fact = WebhookEndpointDisabled(occurred_at=at, endpoint=endpoint, url=origin(after.wanted.url), reason=reason)
    await tell(tx, after, fact, metadata=metadata)


async def delete(tx: Transaction, endpoint: int, *, reason: str | None, metadata: Metadata, at: datetime) -> None:
    """Send an endpoint nothing any more, and forget its secrets; what waits for it is cancelled by the deliverer.

    Raises: NoSuchEndpoint.
    """
    before = await _held(tx, endpoint)
    await storage.delete(tx, endpoint, at=at)
    await queue.cancel_replays(tx, endpoint, at=at)
    fact = WebhookEndpointDeleted(occurred_at=at, endpoint=endpoint, url=origin(before.wanted.url), reason=reason)
    await tell(tx, before, fact, metadata=metadata)


async def rotate(
    tx: Transaction, endpoint: int, *, overlap_seconds: int, sealer: Sealer, metadata: Metadata, at: datetime
) -> tuple[Endpoint, str]:
    """Another secret from now on, which cannot be shown again; the former ones sign too until the overlap is over.

    Raises: NoSuchEndpoint, EndpointRefused.
    """
    if not 0 <= overlap_seconds <= OVERLAP_SECONDS_MAX:
        problem = f"An overlap has 0 to {OVERLAP_SECONDS_MAX} seconds, not {overlap_seconds}"
        raise EndpointRefused(problem, field="overlap_seconds", value=overlap_seconds)
    before = await _held(tx, endpoint)
    await storage.expire_secrets(tx, endpoint, at=at, until=at + timedelta(seconds=overlap_seconds))
    if len(await storage.secrets_of(tx, [endpoint], at=at)) >= SECRETS_MAX and overlap_seconds:
        problem = f"{SECRETS_MAX} secrets sign already; wait for the oldest to end, or rotate with no overlap"
        raise EndpointRefused(problem, field="overlap_seconds")
    after = before.changed(at=at)
    key = await _add_key(tx, after, sealer=sealer, at=at)
    await storage.save(tx, after)
    fact = WebhookEndpointRotated(
        occurred_at=at, endpoint=endpoint, url=origin(before.wanted.url), overlap_seconds=overlap_seconds
    )
    await tell(tx, before, fact, metadata=metadata)
    return after, key.shown


async def public_keys(tx: Transaction, endpoint: int, *, at: datetime) -> list[str]:
    """The public keys with which an endpoint's receiver verifies, the newest first; none for shared secrets."""
    found = await storage.secrets_of(tx, [endpoint], at=at)
    return [one.public_key for one in found if one.public_key is not None]


async def wake(database: Database) -> None:
    """Tell the deliverer, after a commit, that something has been changed by hand."""
    with contextlib.suppress(DatabaseUnavailable):  # what was committed stays so, and the poll finds it
        async with database.transaction() as tx:
            await log_storage.notify(tx, CHANGED)


async def tell(tx: Transaction, endpoint: Endpoint, fact: Fact, *, metadata: Metadata) -> None:
    """Write a fact about an endpoint."""
    await log.append(tx, fact, stream=stream_of(endpoint.id), metadata=metadata)


def key_of(secret: SealedSecret, endpoint: Endpoint, *, sealer: Sealer) -> Key:
    """A sealed secret ready to sign; Raises: MasterKeyUnusable, SealBroken."""
    bound = _bound(endpoint.id, secret.version, sealer.environment)
    return Key.of(endpoint.wanted.signature, sealer.open(secret.sealed, bound))


async def secrets_by_key(tx: Transaction, *, at: datetime) -> dict[bytes, int]:
    """How many secrets that still sign each master key wraps, by its id."""
    return await storage.secrets_by_key(tx, at=at)


async def secrets_to_rewrap(
    tx: Transaction, *, under: Sequence[bytes], after: int, limit: int, environment: str
) -> list[Sealed]:
    """Secrets wrapped by some master keys, by row, which are held; those that somebody else holds are passed over."""
    found = await storage.secrets_under(tx, under, after=after, limit=limit)
    return [Sealed(id=row, sealed=sealed, bound=_bound(of, version, environment)) for row, of, version, sealed in found]


async def put_rewrapped(tx: Transaction, rewrapped: Mapping[int, bytes]) -> None:
    """Let secrets that are held lie under another master key, by row."""
    await storage.replace_sealed(tx, rewrapped)


async def _add_key(tx: Transaction, endpoint: Endpoint, *, sealer: Sealer, at: datetime) -> Key:
    key = signing.mint(endpoint.wanted.signature)
    sealed = sealer.seal(key.raw, _bound(endpoint.id, endpoint.version, sealer.environment))
    public = key.shown if key.private is not None else None
    await storage.add_secret(tx, endpoint, sealed, public_key=public, at=at)
    return key


async def _held(tx: Transaction, endpoint: int, *, version: int | None = None) -> Endpoint:
    found = await storage.find(tx, endpoint, locked=True)
    if version is not None and version != found.version:
        detail = f"It is at version {found.version} by now, not {version}"
        raise EndpointChanged(detail, endpoint=endpoint, actual_version=found.version)
    return found


def _bound(endpoint: int, version: int, environment: str) -> Bound:
    """The version is that of the endpoint from which on the secret signs: no two have the same."""
    return Bound(f"webhook_endpoint:{endpoint}", version, environment)


def _shown(wanted: Wanted) -> Values:
    """What facts tell of an endpoint: of its address no more than the origin."""
    told: Values = {}
    for field in fields(wanted):
        value = getattr(wanted, field.name)
        told[field.name] = list(value) if isinstance(value, tuple) else value
    return told | {"url": origin(wanted.url)}
