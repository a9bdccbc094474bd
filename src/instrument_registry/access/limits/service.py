"""Set, remove and read the limits of single keys."""

from collections.abc import Mapping
from datetime import datetime

from instrument_registry import events
from instrument_registry.access import storage as keys
from instrument_registry.access.events import stream_of
from instrument_registry.access.limits import storage
from instrument_registry.access.limits.events import ApiKeyLimitsRemoved, ApiKeyLimitsSet
from instrument_registry.access.limits.model import (
    KEYED,
    MOST_PER_MINUTE,
    BadLimits,
    KeyLimits,
    Limits,
    NoLimitsOfItsOwn,
    RouteClass,
)
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata

REASON_MAX = 500


async def set_limits(
    tx: Transaction,
    key_id: str,
    limits: Mapping[str, Limits],
    *,
    reason: str,
    metadata: Metadata,
    at: datetime,
) -> KeyLimits:
    """Let a key have exactly these limits by class; Raises: KeyNotFound, BadLimits."""
    wanted, why = _checked(limits), _reason(reason)
    key = await keys.get_locked(tx, key_id)
    before = await storage.of_one(tx, key_id)
    made = KeyLimits(key_id=key_id, limits=wanted, reason=why, set_by=metadata.actor, set_at=at)
    if before is not None and before.limits == made.limits:
        return before
    await storage.replace(tx, made)
    told = ApiKeyLimitsSet(key_id=key_id, old=_told(before), new=_told(made), reason=why, occurred_at=at)
    await events.append(tx, told, stream=stream_of(key), metadata=metadata)
    return made


async def remove_limits(tx: Transaction, key_id: str, *, reason: str, metadata: Metadata, at: datetime) -> KeyLimits:
    """Let a key be limited as every other key; Raises: KeyNotFound, NoLimitsOfItsOwn, BadLimits."""
    why = _reason(reason)
    key = await keys.get_locked(tx, key_id)
    before = await storage.of_one(tx, key_id)
    if before is None:
        raise NoLimitsOfItsOwn(f"The key {key_id} is limited as every other key already", key_id=key_id)
    await storage.remove(tx, key_id)
    told = ApiKeyLimitsRemoved(key_id=key_id, old=_told(before), reason=why, occurred_at=at)
    await events.append(tx, told, stream=stream_of(key), metadata=metadata)
    return before


async def carry_over(tx: Transaction, key_id: str, *, to: str, metadata: Metadata, at: datetime) -> None:
    """Let the key that replaces another be limited as that one is."""
    before = await storage.of_one(tx, key_id)
    if before is not None:
        why = f"As the key {key_id}, which it replaces"
        await set_limits(tx, to, dict(before.limits.items()), reason=why, metadata=metadata, at=at)


async def list_limits(tx: Transaction) -> dict[str, KeyLimits]:
    """The limits of every key that has some of its own."""
    return await storage.everyone(tx)


def _checked(limits: Mapping[str, Limits]) -> dict[RouteClass, Limits]:
    known = ", ".join(KEYED)
    checked: dict[RouteClass, Limits] = {}
    for name, one in limits.items():
        if name not in KEYED:
            raise BadLimits(f"{name[:50]!r} is no class of routes; there are {known}", field=name[:50], remedy=known)
        if one.per_minute is None and one.per_second is None:
            raise BadLimits(f"{name} needs per_minute, per_second or both", field=name, remedy="Give at least one")
        for field, number in (("per_minute", one.per_minute), ("per_second", one.per_second)):
            if number is not None and not 1 <= number <= MOST_PER_MINUTE:
                raise BadLimits(
                    f"{name}.{field} is from 1 to {MOST_PER_MINUTE}, not {number}", field=f"{name}.{field}",
                    value=number, remedy=f"Choose from 1 to {MOST_PER_MINUTE}; to stop a key, revoke it",
                )  # fmt: skip
        checked[RouteClass(name)] = one
    if not checked:
        raise BadLimits(f"Name at least one class: {known}", field="limits", remedy=known)
    return checked


def _reason(reason: str) -> str:
    if not 1 <= len(reason.strip()) <= REASON_MAX:
        raise BadLimits(f"reason must have 1 to {REASON_MAX} characters", field="reason", remedy="Say why")
    return reason.strip()


def _told(limits: KeyLimits | None) -> dict[str, dict[str, int | None]]:
    if limits is None:
        return {}
    return {
        kind.value: {"per_minute": one.per_minute, "per_second": one.per_second} for kind, one in limits.limits.items()
    }
