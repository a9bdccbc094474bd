"""Create, list, rotate, revoke and recognise API keys."""

import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from instrument_registry import events
from instrument_registry.access import binding, granting, storage
from instrument_registry.access.events import (
    REFUSALS,
    ApiKeyCreated,
    ApiKeyRevoked,
    ApiKeyRotated,
    RequestsRefused,
    stream_of,
)
from instrument_registry.access.limits import service as limits
from instrument_registry.access.model import (
    ApiKey,
    KeyRejected,
    KeyState,
    PresentedKey,
    RandomBytes,
    Scope,
    SealedKey,
    Wanted,
    mint,
    presented,
)
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata

LISTED_LIMIT = 10_000
# Last use is kept to the minute: one write a key and minute, however often it is used.
TOUCH_EVERY = timedelta(minutes=1)
KEY_FILE_LIMIT_BYTES = 1_000
BEFORE_ALL = (datetime.fromtimestamp(0, UTC), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """A key that is replaced, the one in its place, and the text of that, which cannot be shown again."""

    old: ApiKey
    new: ApiKey
    text: str


async def create_key(
    tx: Transaction,
    *,
    name: str,
    scope: Scope,
    metadata: Metadata,
    at: datetime,
    expires_at: datetime | None = None,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> tuple[ApiKey, str]:
    """Make a key and the text its holder needs, which nobody can look up later; Raises: BadKeyName, BadExpiry."""
    wanted = Wanted(name=name, scope=scope, expires_at=expires_at)
    return await _make(tx, wanted, metadata=metadata, at=at, random_bytes=random_bytes)


async def rotate_key(
    tx: Transaction,
    key_id: str,
    *,
    overlap: timedelta,
    metadata: Metadata,
    at: datetime,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> Rotated:
    """Make a key that takes another's place: of the same name, scope and lifetime; the old one ends after the overlap.

    Raises: KeyNotFound, KeyAlreadyRevoked, KeyAlreadyReplaced, KeyHasEnded, BadOverlap.
    """
    known = await storage.get_locked(tx, key_id)
    expires_at = None if known.expires_at is None else at + (known.expires_at - known.created_at)
    wanted = Wanted(name=known.name, scope=known.scope, expires_at=expires_at, replaces=known.id)
    sealed, text = mint(wanted, created_by=metadata.actor, at=at, random_bytes=random_bytes)
    old = known.replaced(by=sealed.key.id, at=at, overlap=overlap)
    assert old.expires_at is not None
    await _keep(tx, sealed, metadata=metadata)
    await storage.save_replacement(tx, old)
    await limits.carry_over(tx, old.id, to=sealed.key.id, metadata=metadata, at=at)
    await binding.carry_over(tx, known, to=sealed.key.id, metadata=metadata, at=at)
    await granting.carry_over(tx, known, to=sealed.key.id, metadata=metadata, at=at)
    told = ApiKeyRotated(
        key_id=old.id, name=old.name, replaced_by=sealed.key.id, expires_at=old.expires_at, occurred_at=at
    )
    await events.append(tx, told, stream=stream_of(old), metadata=metadata)
    return Rotated(old=old, new=replace(sealed.key, users=known.users, secrets=known.secrets), text=text)


async def revoke_key(tx: Transaction, key_id: str, *, metadata: Metadata, at: datetime) -> ApiKey:
    """Take a key out of force for good; Raises: KeyNotFound, KeyAlreadyRevoked."""
    key = (await storage.get_locked(tx, key_id)).revoke(at=at, by=metadata.actor)
    await storage.save_revocation(tx, key)
    told = ApiKeyRevoked(key_id=key.id, name=key.name, occurred_at=at)
    await events.append(tx, told, stream=stream_of(key), metadata=metadata)
    return key


async def find_key(tx: Transaction, key_id: str) -> ApiKey:
    """One key; Raises: KeyNotFound."""
    return await storage.get(tx, key_id)


async def same_holder(tx: Transaction, actor: str) -> list[str]:
    """As whom the holder of a key acts before and after it is rotated, the oldest first; whoever is no key is alone."""
    kind, _, key_id = actor.partition(":")
    line = await storage.line_of(tx, key_id) if kind == "api_key" else []
    return [f"{kind}:{one}" for one in line] or [actor]


async def list_keys(tx: Transaction) -> list[ApiKey]:
    """Every key, revoked ones too, oldest first."""
    return await storage.everyone(tx, limit=LISTED_LIMIT)


async def page_of_keys(tx: Transaction, *, after: tuple[datetime, str] | None, limit: int) -> list[ApiKey]:
    """Some keys, oldest first: from the first one on, or those after an instant and id."""
    return await storage.page(tx, after=after or BEFORE_ALL, limit=limit)


async def keys_to_recognise(tx: Transaction, *, at: datetime) -> dict[str, SealedKey]:
    """Every key that opens doors, by its id, and those that ended lately: what a worker keeps for a moment."""
    return await storage.recognised(tx, at=at)


async def record_use(tx: Transaction, key_ids: Collection[str], *, at: datetime) -> None:
    """Keep that keys were used in this minute."""
    await storage.touch(tx, key_ids, at=at.replace(second=0, microsecond=0))


async def record_refusal(tx: Transaction, refused: RequestsRefused, *, correlation_id: str) -> None:
    """Tell of requests that were refused; `correlation_id` is that of the first of them."""
    actor = f"api_key:{refused.key_id}" if refused.key_id else "unknown"
    metadata = Metadata(actor=actor, correlation_id=correlation_id, source="http", address=refused.address)
    await events.append(tx, refused, stream=REFUSALS, metadata=metadata)


async def ensure_operator_key(
    tx: Transaction, path: Path, *, at: datetime, random_bytes: RandomBytes = secrets.token_bytes
) -> bool:
    """Let the file hold an operator's key that opens this registry; says whether a new one had to be made.

    The file is written before the commit: if the commit fails it holds an unknown key, which the next start replaces.
    """
    if await _opens(tx, path, at=at):
        return False
    metadata = Metadata(actor="start", correlation_id=f"start-{at:%Y%m%dT%H%M%S}")
    _, text = await create_key(
        tx, name="operator.key", scope=Scope.OPERATOR, metadata=metadata, at=at, random_bytes=random_bytes
    )
    write_key_file(path, text)
    return True


def held_in(path: Path) -> PresentedKey | None:
    """The key that a file holds, if it holds one."""
    try:
        with path.open("rb") as file:
            return presented(file.read(KEY_FILE_LIMIT_BYTES).decode("ascii").strip())
    except (FileNotFoundError, UnicodeDecodeError, KeyRejected):
        return None


def write_key_file(path: Path, text: str) -> None:
    """Let a file hold a key, for its owner alone."""
    _write_private(path, text + "\n")


async def _make(
    tx: Transaction, wanted: Wanted, *, metadata: Metadata, at: datetime, random_bytes: RandomBytes
) -> tuple[ApiKey, str]:
    sealed, text = mint(wanted, created_by=metadata.actor, at=at, random_bytes=random_bytes)
    await _keep(tx, sealed, metadata=metadata)
    return sealed.key, text


async def _keep(tx: Transaction, sealed: SealedKey, *, metadata: Metadata) -> None:
    key = sealed.key
    await storage.add(tx, sealed)
    told = ApiKeyCreated(
        key_id=key.id, name=key.name, scope=key.scope, expires_at=key.expires_at, replaces=key.replaces,
        occurred_at=key.created_at,
    )  # fmt: skip
    await events.append(tx, told, stream=stream_of(key), metadata=metadata)


async def _opens(tx: Transaction, path: Path, *, at: datetime) -> bool:
    held = held_in(path)
    if held is None:
        return False
    sealed = (await storage.recognised(tx, at=at)).get(held.id)
    return (
        sealed is not None
        and sealed.opens(held.secret)
        and sealed.key.state(at) in (KeyState.IN_FORCE, KeyState.ENDING)
        and sealed.key.scope.includes(Scope.OPERATOR)
    )


def _write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner alone from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
