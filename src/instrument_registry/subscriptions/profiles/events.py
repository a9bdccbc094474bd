"""What is told about profiles, users' limits and conflicts."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events.model import Fact

# Instruments by id with their mode, rules and preferences as JSON text.
Values = dict[str, str | int | bool | list[str] | dict[str, str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFact(Fact):
    """Something happened to a profile."""

    type: ClassVar[str] = "profile.happened"

    profile: str
    user_id: str

    @property
    def subject(self) -> str:
        """The profile's id."""
        return f"profile:{self.profile}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileCreated(ProfileFact):
    """Somebody wants live data: these instruments, as accepted."""

    type: ClassVar[str] = "profile.created"

    new: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChanged(ProfileFact):
    """A profile is another one from now on: only what has changed is named."""

    type: ClassVar[str] = "profile.changed"

    old: Values
    new: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileDeleted(ProfileFact):
    """Nothing is wanted by this profile any more."""

    type: ClassVar[str] = "profile.deleted"

    old: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFact(Fact):
    """Something about a user's profiles in general."""

    type: ClassVar[str] = "profile_user.happened"

    user_id: str

    @property
    def subject(self) -> str:
        """The user."""
        return f"profile_user:{self.user_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimitsSet(UserFact):
    """An operator lets a user have more or less than everybody; none: as the parameters say."""

    type: ClassVar[str] = "profile_user.limits_set"

    old: dict[str, int | None]
    new: dict[str, int | None]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictRecorded(UserFact):
    """Something stood against a request, which was taken, trimmed or refused."""

    type: ClassVar[str] = "profile_conflict.recorded"

    conflict: str
    kind: str
    verdict: str
    profile: str | None
    other: str | None
    instruments: list[str]
    facts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictResolved(UserFact):
    """Somebody settled a conflict by a strategy."""

    type: ClassVar[str] = "profile_conflict.resolved"

    conflict: str
    kind: str
    strategy: str
    outcome: str
    profile: str | None


def stream_of(profile: str) -> str:
    """Where the facts about a profile are told."""
    return f"profile:{profile}"


def stream_of_user(user_id: str) -> str:
    """Where the facts about a user's limits and conflicts are told."""
    return f"profile_user:{user_id}"
