"""Keys bound to users: such a key may touch the profiles of these users, and of nobody else."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from instrument_registry import events
from instrument_registry.access import storage
from instrument_registry.access.events import ApiKeyBound, stream_of
from instrument_registry.access.model import ApiKey, BadUsers
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata

USERS_MAX, USER_CHARACTERS = 1_000, 64


async def bind(
    tx: Transaction, key_id: str, users: Collection[str], *, reason: str, metadata: Metadata, at: datetime
) -> ApiKey:
    """Let a key touch the profiles of exactly these users; of none in particular: everybody's.

    Raises: KeyNotFound, BadUsers.
    """
    wanted = tuple(sorted(set(users)))
    if len(wanted) > USERS_MAX:
        raise BadUsers(f"A key is bound to at most {USERS_MAX} users, not {len(wanted)}", field="users")
    for user in wanted:
        if not 1 <= len(user) <= USER_CHARACTERS or not user.isprintable() or user != user.strip():
            problem = f"A user has 1 to {USER_CHARACTERS} printable characters and no space around it"
            raise BadUsers(problem, field="users", value=user[:USER_CHARACTERS])
    known = await storage.get_locked(tx, key_id)
    if known.users == wanted:
        return known
    await storage.bind(tx, key_id, wanted, by=metadata.actor, at=at)
    told = ApiKeyBound(
        key_id=key_id, name=known.name, old=list(known.users), new=list(wanted), reason=reason, occurred_at=at
    )
    await events.append(tx, told, stream=stream_of(known), metadata=metadata)
    return replace(known, users=wanted)


async def carry_over(tx: Transaction, known: ApiKey, *, to: str, metadata: Metadata, at: datetime) -> None:
    """Let the key that replaces another be bound as that one is."""
    if known.users:
        why = f"As the key {known.id}, which it replaces"
        await bind(tx, to, known.users, reason=why, metadata=metadata, at=at)
