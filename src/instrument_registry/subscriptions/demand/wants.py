"""Wants: who wants an instrument's live data, how much of it, and how urgently; no I/O.

A want is one reference. An instrument is on the wire while any is left, and as much of it as anybody wants.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice

from instrument_registry.errors import Invalid, NotFound
from instrument_registry.subscriptions.planner.model import Mode

WANTS_MAX = 10_000  # of one owner that names them itself
OWNER_CHARACTERS = 100
USER_CHARACTERS = 64
OWNER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@:-]{0,99}$"
TIER_FLOORS = (75, 50, 25)  # the least priority of tiers 0, 1 and 2; 3 is the rest
SHOWN_MAX = 1_000


class NoSuchDemand(NotFound):
    """List the demands to see which there are."""

    title = "Nobody of this name wants anything"


class DemandRefused(Invalid):
    """Correct what is named."""

    title = "The demand cannot be like this"


class DemandSource(StrEnum):
    """What somebody wants live data for; of these `historical` alone never reaches the wire."""

    LIVE_FEED = "live_feed"
    HISTORICAL = "historical"
    ALERTS = "alerts"
    POSITION = "position"
    HOLDING = "holding"
    STRATEGY = "strategy"
    MANUAL = "manual"


class GivenSource(StrEnum):
    """The sources whose demands are put as they are; those of profiles follow from the profiles."""

    POSITION = "position"
    HOLDING = "holding"
    STRATEGY = "strategy"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What somebody wants of one instrument; `instrument_id` is the catalogue's number."""

    instrument_id: int
    mode: Mode = Mode.LTP
    priority: int = 50
    copies: int = 1
    pinned: bool = False
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One want and whose it is; `rule` says by which of its owner's rules, 0 for what the owner named itself."""

    source: DemandSource
    owner: str
    rule: int
    user_id: str
    want: Want

    def counts(self, at: datetime) -> bool:
        """Whether it reaches the wire at an instant."""
        return self.source is not DemandSource.HISTORICAL and (
            self.want.expires_at is None or self.want.expires_at > at
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Who wants one instrument: what of it reaches the wire, how many references and users, and the first of them."""

    instrument_id: int
    mode: Mode | None  # None: nothing of it
    tier: int | None
    priority: int | None
    references: int
    users: int
    copies: int
    pinned: bool
    by: tuple[Reference, ...]  # those that count not yet or no more among them; the first SHOWN_MAX


def tier_of(priority: int) -> int:
    """The tier of a priority: 0 is served first."""
    return next((tier for tier, floor in enumerate(TIER_FLOORS) if priority >= floor), len(TIER_FLOORS))


def wanted_by(instrument_id: int, references: Iterable[Reference], *, at: datetime) -> Wanted:
    """What many references ask of one instrument together."""
    everybody = tuple(references)
    counting = [one for one in everybody if one.counts(at)]
    priority = max((one.want.priority for one in counting), default=None)
    return Wanted(
        instrument_id=instrument_id,
        mode=max((one.want.mode for one in counting), default=None),
        tier=None if priority is None else tier_of(priority),
        priority=priority,
        references=len(counting),
        users=len({one.user_id for one in counting}),
        copies=max((one.want.copies for one in counting), default=1),
        pinned=any(one.want.pinned for one in counting),
        by=tuple(islice(everybody, SHOWN_MAX)),
    )
