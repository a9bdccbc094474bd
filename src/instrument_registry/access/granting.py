"""Secrets granted to keys: such a key may read the values of these, although it may not administrate."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from instrument_registry import events
from instrument_registry.access import storage
from instrument_registry.access.events import ApiKeySecretsGranted, stream_of
from instrument_registry.access.model import ApiKey, BadGrant
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata

SECRETS_MAX = 100


async def grant(
    tx: Transaction, key_id: str, secrets: Collection[str], *, reason: str, metadata: Metadata, at: datetime
) -> ApiKey:
    """Let a key read the values of exactly these secrets, by their names; Raises: KeyNotFound, BadGrant."""
    wanted = tuple(sorted(set(secrets)))
    if len(wanted) > SECRETS_MAX:
        raise BadGrant(f"A key is granted at most {SECRETS_MAX} secrets, not {len(wanted)}", field="secrets")
    known = await storage.get_locked(tx, key_id)
    if known.secrets == wanted:
        return known
    await storage.grant(tx, key_id, wanted, by=metadata.actor, at=at)
    told = ApiKeySecretsGranted(
        key_id=key_id, name=known.name, old=list(known.secrets), new=list(wanted), reason=reason, occurred_at=at
    )
    await events.append(tx, told, stream=stream_of(known), metadata=metadata)
    return replace(known, secrets=wanted)


async def carry_over(tx: Transaction, known: ApiKey, *, to: str, metadata: Metadata, at: datetime) -> None:
    """Let the key that replaces another read what that one may."""
    if known.secrets:
        why = f"As the key {known.id}, which it replaces"
        await grant(tx, to, known.secrets, reason=why, metadata=metadata, at=at)
