"""What every account can carry now: its limits, and how its connections are."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from instrument_registry.subscriptions.capacity.model import FrameLimits
from instrument_registry.subscriptions.planner.model import Account, Mode


class Health(StrEnum):
    """How a connection is, as its ticker says; one that is silent for `CONNECTION_LOST_AFTER` is lost."""

    CONNECTED = "connected"
    DEGRADED = "degraded"
    DRAINING = "draining"  # carries what it carries, takes nothing new, and is to be emptied
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStanding:
    """One account as the planner is to see it: `account` already tells lost connections as not alive."""

    name: str
    broker: str  # whose frames it is sent: see CODECS
    tokens: str  # whose tokens these name: kite's are zerodha's
    version: int  # of what is said of it
    account: Account
    frame: FrameLimits
    segments: frozenset[str] | None  # venues it can carry, as NSE, NFO, MCX; none said: all
    segment_modes: Mapping[str, frozenset[Mode]]  # which of their modes, where that is said
    health: tuple[Health | None, ...]  # of each connection; none: nobody has spoken of it, it may be opened
    life_hours: int | None = None  # after so long a connection ends by itself
    counts_duplicates: bool | None = None  # whether a token twice counts twice

    def can_carry(self, segment: str, mode: Mode) -> bool:
        """Whether instruments of a venue can be had in a mode, leaving aside how many."""
        if self.segments is not None and segment not in self.segments:
            return False
        if mode not in self.segment_modes.get(segment, frozenset(Mode)):
            return False
        return any(use.modes[mode] for one in self.account.connections for use in one.uses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All accounts at an instant; `version` grows with every change of limits and of health."""

    version: int
    at: datetime
    accounts: tuple[AccountStanding, ...]
