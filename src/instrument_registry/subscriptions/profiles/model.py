"""Profiles and what they name; no I/O."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from instrument_registry.errors import ChangedSince, Conflict, Forbidden, Invalid, NotFound
from instrument_registry.subscriptions.demand.wants import TIER_FLOORS, tier_of
from instrument_registry.subscriptions.planner.model import Mode

USER_CHARACTERS = 64
NAME_CHARACTERS = 100
IDENTIFIER_CHARACTERS = 300
VERSIONS_KEPT = 100  # of one profile; the facts tell all of them
CONFLICTS_KEPT = 200  # of one user
TIER_0_FROM, BELOW_TIER_0 = TIER_FLOORS[0], TIER_FLOORS[0] - 1


class NoSuchProfile(NotFound):
    """List the user's profiles to see their ids."""

    title = "There is no such subscription profile"


class NoSuchConflict(NotFound):
    """List the user's conflicts to see their ids; the newest are kept."""

    title = "There is no such conflict"


class ProfileChangedSince(ChangedSince):
    """Read the profile again, then decide; send its ETag in If-Match."""

    title = "The profile has been changed by somebody else"


class ProfileNameTaken(Conflict):
    """Choose another name, or change the profile that has it."""

    title = "The user has a profile of this name already"


class ConflictSettled(Conflict):
    """Nothing is left to settle."""

    title = "The conflict is already settled"


class RequestNamedOtherwise(Conflict):
    """Send a new Idempotency-Key for another request."""

    title = "The Idempotency-Key stands for another profile"


class BadProfile(Invalid):
    """Correct the field."""

    title = "The profile cannot be like this"


class TooManyInstruments(Invalid):
    """Send several requests, or have MAX_INSTRUMENTS_PER_PLAN raised."""

    title = "The request brings too many instruments"


class NotYourUser(Forbidden):
    """Use a key that is bound to the user, or to nobody."""

    title = "This API key may not touch this user's profiles"


class Strictness(StrEnum):
    """How what cannot be had is dealt with: FILTERING_STRICTNESS."""

    LENIENT = "lenient"
    MODERATE = "moderate"
    STRICT = "strict"


class ProfileType(StrEnum):
    """What a profile's data is for; what is historical never reaches the wire."""

    LIVE_FEED = "live_feed"
    HISTORICAL = "historical"
    ALERTS = "alerts"


class Standing(StrEnum):
    """How an instrument of a profile stands."""

    ACCEPTED = "accepted"
    POLLED = "polled"  # no broker streams it: it is asked for now and then, and takes no place on the wire
    UNRESOLVED = "unresolved"  # nothing is known by this name: it is kept, and nothing is wanted for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One instrument of a profile: as it was asked for, and what that was when it was admitted."""

    asked: str
    number: int | None = None  # the catalogue's inner id
    id: str | None = None
    key: str | None = None
    standing: Standing = Standing.ACCEPTED
    mode: Mode | None = None  # none: the profile's
    pinned: bool | None = None  # none: the profile's
    ends_at: datetime | None = None  # a contract, and with it what is wanted of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a profile is to be like."""

    user_id: str
    name: str
    type: ProfileType
    items: tuple[Item, ...]
    rules: tuple[str, ...] = ()  # the JSON text of each
    mode: Mode = Mode.QUOTE
    priority: int = 50
    copies: int = 1
    pinned: bool = False
    preferences: str = "{}"  # a JSON object
    instruments_max: int | None = None  # its own bound, below the user's
    expires_at: datetime | None = None

    @property
    def tier(self) -> int:
        """Who is served first: 0."""
        return tier_of(self.priority)

    @property
    def counted(self) -> int:
        """How many instruments count against limits: a rule is one, however much it brings."""
        return len(self.items) + len(self.rules)

    def check(self, *, at: datetime) -> None:
        """See that this can be, but for its instruments. Raises: BadProfile."""
        for name, text, longest in (("user_id", self.user_id, USER_CHARACTERS), ("name", self.name, NAME_CHARACTERS)):
            if not 1 <= len(text) <= longest or not text.isprintable() or text != text.strip():
                problem = f"{name} has 1 to {longest} printable characters and no space around it"
                raise BadProfile(problem, field=name, value=text[:longest])
        if self.expires_at is not None and self.expires_at <= at:
            problem = f"expires_at is {self.expires_at.isoformat()}, which is past; choose a later instant"
            raise BadProfile(problem, field="expires_at", value=self.expires_at.isoformat())


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile as it is kept; it changes by replacement, and its version counts the changes."""

    id: str
    wanted: Wanted
    version: int
    actor: str  # who made it: whose tier 0 it counts against
    created_at: datetime
    changed_at: datetime

    def changed(self, wanted: Wanted, *, at: datetime) -> Self:
        """The profile as somebody wants it from now on."""
        return replace(self, wanted=wanted, version=self.version + 1, changed_at=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One reference to an instrument, as the table of wants has it."""

    number: int
    mode: Mode
    pinned: bool
    expires_at: datetime | None


def wants_of(wanted: Wanted, *, at: datetime) -> list[Want]:
    """What a profile wants by name: one reference an instrument, which ends with the profile and with its contract.

    What is unresolved wants nothing, nor what has ended; but the past of a contract is wanted after its end.
    """
    found = []
    for item in wanted.items:
        ends = [None if wanted.type is ProfileType.HISTORICAL else item.ends_at, wanted.expires_at]
        expires_at = min((end for end in ends if end is not None), default=None)
        if item.number is not None and (expires_at is None or expires_at > at):
            mode = wanted.mode if item.mode is None else item.mode
            pinned = wanted.pinned if item.pinned is None else item.pinned
            found.append(Want(number=item.number, mode=mode, pinned=pinned, expires_at=expires_at))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLimits:
    """Where a user's limits are not those of everybody; none: as the parameters say."""

    profiles: int | None = None
    live_feed: int | None = None
    historical: int | None = None
    alerts: int | None = None
    reason: str | None = None
    set_by: str | None = None
    set_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the parameters say, at the moment of a request."""

    strictness: Strictness
    profiles: int
    instruments: dict[ProfileType, int] = field(default_factory=dict)
    tier_0_per_key: int = 0

    def profiles_of(self, own: OwnLimits) -> int:
        """How many profiles the user may have."""
        return self.profiles if own.profiles is None else own.profiles

    def instruments_of(self, own: OwnLimits, kind: ProfileType, *, of_profile: int | None = None) -> int:
        """How many instruments a profile of the user may have; its own bound only lowers that."""
        said: int | None = getattr(own, kind.value)
        limit = self.instruments[kind] if said is None else said
        return limit if of_profile is None else min(limit, of_profile)
