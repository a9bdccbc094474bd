"""How much each user may have: as the parameters say, or as an operator let a single user have."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from instrument_registry import events
from instrument_registry.configuration.model import Snapshot
from instrument_registry.configuration.parameters import (
    FILTERING_STRICTNESS,
    PROFILE_LIMIT_ALERTS,
    PROFILE_LIMIT_HISTORICAL,
    PROFILE_LIMIT_LIVE_FEED,
    PROFILES_PER_USER,
    TIER_0_PER_KEY,
)
from instrument_registry.database import Transaction
from instrument_registry.events import Metadata
from instrument_registry.subscriptions.profiles import storage
from instrument_registry.subscriptions.profiles.events import UserLimitsSet, stream_of_user
from instrument_registry.subscriptions.profiles.model import (
    USER_CHARACTERS,
    BadProfile,
    OwnLimits,
    ProfileType,
    Strictness,
    Terms,
)

NAMES = ("profiles", *ProfileType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one user may have and has: of instruments, the largest profile of each type counts."""

    user_id: str
    limits: Mapping[str, int]
    used: Mapping[str, int]
    own: OwnLimits


def terms_of(now: Snapshot) -> Terms:
    """What the parameters say now."""
    return Terms(
        strictness=Strictness(now[FILTERING_STRICTNESS]),
        profiles=now[PROFILES_PER_USER],
        instruments={
            ProfileType.LIVE_FEED: now[PROFILE_LIMIT_LIVE_FEED],
            ProfileType.HISTORICAL: now[PROFILE_LIMIT_HISTORICAL],
            ProfileType.ALERTS: now[PROFILE_LIMIT_ALERTS],
        },
        tier_0_per_key=now[TIER_0_PER_KEY],
    )


def see_user(user_id: str) -> None:
    """Raises: BadProfile when this can be nobody's name."""
    if not 1 <= len(user_id) <= USER_CHARACTERS or not user_id.isprintable() or user_id != user_id.strip():
        problem = f"A user has 1 to {USER_CHARACTERS} printable characters and no space around it"
        raise BadProfile(problem, field="user_id", value=user_id[:USER_CHARACTERS])


async def allowance(tx: Transaction, user_id: str, terms: Terms) -> Allowance:
    """What a user may have and has; of a user nobody knows, what everybody may have."""
    own = await storage.own_limits(tx, user_id)
    profiles, largest = await storage.used(tx, user_id)
    limits = {"profiles": terms.profiles_of(own)} | {str(kind): terms.instruments_of(own, kind) for kind in ProfileType}
    used = {"profiles": profiles} | {str(kind): largest.get(kind, 0) for kind in ProfileType}
    return Allowance(user_id=user_id, limits=limits, used=used, own=own)


async def set_limits(
    tx: Transaction, user_id: str, wanted: Mapping[str, int | None], *, reason: str, metadata: Metadata, at: datetime
) -> OwnLimits:
    """Let a user have exactly these limits; none: as the parameters say. What is there already stays."""
    before = await storage.hold_user(tx, user_id)
    after = replace(
        OwnLimits(**{name: wanted.get(name) for name in NAMES}),  # type: ignore[arg-type]
        reason=reason, set_by=metadata.actor, set_at=at,
    )  # fmt: skip
    old, new = _told(before), _told(after)
    if old == new:
        return before
    await storage.set_limits(tx, user_id, after)
    told = UserLimitsSet(user_id=user_id, old=old, new=new, reason=reason, occurred_at=at)
    await events.append(tx, told, stream=stream_of_user(user_id), metadata=metadata)
    return after


def _told(own: OwnLimits) -> dict[str, int | None]:
    return {name: getattr(own, name) for name in NAMES}
