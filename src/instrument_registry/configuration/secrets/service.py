"""Set, rotate, read and delete secrets: every change and every read of a value is told, the value never."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from instrument_registry import events
from instrument_registry.configuration.secrets import storage
from instrument_registry.configuration.secrets.events import (
    SecretDeleted,
    SecretForgotten,
    SecretRead,
    SecretSet,
    stream_of,
)
from instrument_registry.configuration.secrets.model import (
    OVERLAP_SECONDS,
    SHOWN_MAX,
    NoSuchSecret,
    SecretOver,
    SecretVersion,
    bound,
    environment_of,
    name_of,
    none_called,
    overlap_of,
    reason_of,
    value_of,
)
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata
from instrument_registry.sealing import Sealer

LISTED_MAX = 1_000
GENERATED_BYTES = 32
FORGOTTEN_AT_ONCE = 200


async def put(
    tx: Transaction,
    name: str,
    value: str,
    *,
    sealer: Sealer,
    reason: str,
    metadata: Metadata,
    at: datetime,
    environment: str | None = None,
    overlap_seconds: int = OVERLAP_SECONDS,
    generated: bool = False,
) -> SecretVersion:
    """A secret's value from now on; the former version can be read by its number until the overlap is over.

    Raises: BadSecret, MasterKeyUnusable.
    """
    name, where, reason = name_of(name), environment_of(environment or sealer.environment), reason_of(reason)
    content, overlap = value_of(value), timedelta(seconds=overlap_of(overlap_seconds))
    await storage.locked(tx, name, where)
    number = await storage.newest_number(tx, name, where) + 1
    ended = await storage.end(
        tx, name, where, at=at + overlap, now=at, by=metadata.actor, reason=f"version {number} took its place"
    )
    sealed = sealer.seal(content, bound(name, number, where))
    made = SecretVersion(
        environment=where, name=name, version=number, key_id=sealed[1:5].hex(), actor=metadata.actor,
        correlation_id=metadata.correlation_id, at=at, reason=reason,
    )  # fmt: skip
    await storage.add(tx, made, sealed)
    fact = SecretSet(
        occurred_at=at, name=name, environment=where, secret_version=number, key_id=str(made.key_id),
        generated=generated, former_ends_at=(at + overlap).isoformat() if ended else None, reason=reason,
    )  # fmt: skip
    await events.append(tx, fact, stream=stream_of(name, where), metadata=metadata)
    return made


async def rotate(
    tx: Transaction,
    name: str,
    *,
    sealer: Sealer,
    reason: str,
    metadata: Metadata,
    at: datetime,
    value: str | None = None,
    environment: str | None = None,
    overlap_seconds: int = OVERLAP_SECONDS,
    random_text: Callable[[int], str] = secrets.token_urlsafe,
) -> SecretVersion:
    """Another value for a secret that is there: the one given, or one nobody has seen.

    Raises: NoSuchSecret, as `put`.
    """
    there, _ = await _there(tx, name, environment or sealer.environment)
    return await put(
        tx, there.name, random_text(GENERATED_BYTES) if value is None else value, sealer=sealer, reason=reason,
        metadata=metadata, at=at, environment=there.environment, overlap_seconds=overlap_seconds,
        generated=value is None,
    )  # fmt: skip


async def read(
    tx: Transaction,
    name: str,
    *,
    sealer: Sealer,
    metadata: Metadata,
    at: datetime,
    environment: str | None = None,
    version: int | None = None,
) -> tuple[SecretVersion, str]:
    """A value, of the version in force or of a former one in its overlap; that it was read is told.

    Raises: NoSuchSecret, SecretOver, SealBroken, MasterKeyUnusable.
    """
    found, sealed = await _there(tx, name, environment or sealer.environment, version=version)
    if sealed is None or (found.ends_at is not None and found.ends_at <= at):
        detail = f"{found.name} version {found.version} of {found.environment} can be read no more: it has ended"
        raise SecretOver(detail, name=found.name, version=found.version)
    value = sealer.open(sealed, found.bound).decode()
    fact = SecretRead(occurred_at=at, name=found.name, environment=found.environment, secret_version=found.version)
    await events.append(tx, fact, stream=stream_of(found.name, found.environment), metadata=metadata)
    return found, value


async def delete(
    tx: Transaction, name: str, *, reason: str, metadata: Metadata, at: datetime, environment: str
) -> None:
    """Take a secret away with every version; that it was there stays known. Raises: NoSuchSecret, BadSecret."""
    called, where, reason = name_of(name), environment_of(environment), reason_of(reason)
    await storage.locked(tx, called, where)
    await _there(tx, called, where)
    ended = await storage.end(tx, called, where, at=at, now=at, by=metadata.actor, reason=reason)
    fact = SecretDeleted(occurred_at=at, name=called, environment=where, secret_versions=ended, reason=reason)
    await events.append(tx, fact, stream=stream_of(called, where), metadata=metadata)


async def listed(
    tx: Transaction, *, environment: str | None = None, after: tuple[str, str] = ("", ""), limit: int = LISTED_MAX
) -> list[SecretVersion]:
    """Secrets by name: of every environment, or of one; never their values. Raises: BadSecret."""
    where = environment_of(environment) if environment is not None else None
    return await storage.listed(tx, environment=where, after=after, limit=limit)


async def versions(tx: Transaction, name: str, *, environment: str, limit: int = LISTED_MAX) -> list[SecretVersion]:
    """Every version a secret ever had, the newest first, also of one that is gone; Raises: NoSuchSecret."""
    called, where = name_of(name), environment_of(environment)
    found = await storage.versions(tx, called, where, limit=limit)
    if not found:
        raise await _unknown(tx, called, where)
    return found


async def forget_ended(tx: Transaction, *, metadata: Metadata, now: datetime) -> int:
    """Take away the values of some versions whose time is over; how many there were."""
    ended = await storage.forget_ended(tx, now=now, limit=FORGOTTEN_AT_ONCE)
    for environment, name, version in ended:
        fact = SecretForgotten(occurred_at=now, name=name, environment=environment, secret_version=version)
        await events.append(tx, fact, stream=stream_of(name, environment), metadata=metadata)
    return len(ended)


async def _there(
    tx: Transaction, name: str, environment: str, *, version: int | None = None
) -> tuple[SecretVersion, bytes | None]:
    called, where = name_of(name), environment_of(environment)
    found = await storage.find(tx, called, where, version=version)
    if found is not None:
        return found
    if version is not None and await storage.newest_number(tx, called, where):
        detail = f"{called} of {where} has no version {version}"
        raise NoSuchSecret(detail, name=called, environment=where, remedy="List its versions")
    raise await _unknown(tx, called, where)


async def _unknown(tx: Transaction, name: str, environment: str) -> NoSuchSecret:
    everywhere = await storage.listed(tx, environment=None, after=("", ""), limit=LISTED_MAX)
    known = [one.name for one in everywhere if one.environment == environment]
    elsewhere = [one.environment for one in everywhere if one.name == name]
    return none_called(name[:SHOWN_MAX], environment, known=known, elsewhere=elsewhere)
