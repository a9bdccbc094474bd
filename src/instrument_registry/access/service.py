"""Create, list, revoke and recognise API keys."""

import os
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

from instrument_registry import events
from instrument_registry.access import storage
from instrument_registry.access.events import REFUSALS, ApiKeyCreated, ApiKeyRevoked, RequestsRefused, stream_of
from instrument_registry.access.model import (
    ApiKey,
    KeyRejected,
    RandomBytes,
    Scope,
    SealedKey,
    mint,
    presented,
)
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata

LISTED_LIMIT = 10_000
# Last use is kept to the minute: one write a key and minute, however often it is used.
TOUCH_EVERY = timedelta(minutes=1)
KEY_FILE_LIMIT_BYTES = 1_000


async def create_key(
    tx: Transaction,
    *,
    name: str,
    scope: Scope,
    metadata: Metadata,
    at: datetime,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> tuple[ApiKey, str]:
    """Make a key and the text its holder needs, which nobody can look up later; Raises: BadKeyName."""
    sealed, text = mint(name=name, scope=scope, created_by=metadata.actor, at=at, random_bytes=random_bytes)
    key = sealed.key
    await storage.add(tx, sealed)
    told = ApiKeyCreated(key_id=key.id, name=key.name, scope=key.scope, occurred_at=at)
    await events.append(tx, told, stream=stream_of(key), metadata=metadata)
    return key, text


async def revoke_key(tx: Transaction, key_id: str, *, metadata: Metadata, at: datetime) -> ApiKey:
    """Take a key out of force for good; Raises: KeyNotFound, KeyAlreadyRevoked."""
    key = (await storage.get_locked(tx, key_id)).revoke(at=at, by=metadata.actor)
    await storage.save_revocation(tx, key)
    told = ApiKeyRevoked(key_id=key.id, name=key.name, occurred_at=at)
    await events.append(tx, told, stream=stream_of(key), metadata=metadata)
    return key


async def list_keys(tx: Transaction) -> list[ApiKey]:
    """Every key, revoked ones too, oldest first."""
    return await storage.everyone(tx, limit=LISTED_LIMIT)


async def keys_in_force(tx: Transaction) -> dict[str, SealedKey]:
    """Every key that opens doors, by its id: what a worker keeps for a moment to recognise callers."""
    return await storage.in_force(tx)


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
    if await _opens(tx, path):
        return False
    metadata = Metadata(actor="start", correlation_id=f"start-{at:%Y%m%dT%H%M%S}")
    _, text = await create_key(
        tx, name="operator.key", scope=Scope.OPERATOR, metadata=metadata, at=at, random_bytes=random_bytes
    )
    _write_private(path, text + "\n")
    return True


async def _opens(tx: Transaction, path: Path) -> bool:
    try:
        with path.open("rb") as file:
            held = presented(file.read(KEY_FILE_LIMIT_BYTES).decode("ascii").strip())
    except (FileNotFoundError, UnicodeDecodeError, KeyRejected):
        return False
    sealed = (await storage.in_force(tx)).get(held.id)
    return sealed is not None and sealed.opens(held.secret) and sealed.key.scope.includes(Scope.OPERATOR)


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
