"""What a broker's sockets carry: every number with where it was read, when, and how sure it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from instrument_registry.errors import Invalid
from instrument_registry.subscriptions.planner.model import Account, Connection, Mode, Use

# Where nobody says a number: so few that hardly a broker refuses them.
CAUTIOUS_CONNECTIONS = 1
CAUTIOUS_INSTRUMENTS = 50
CAUTIOUS_FRAME_ITEMS = 50
MODES = tuple(Mode)
PERCENT = 100


class UnknownVenue(Invalid):
    """Choose one that is listed, or describe its limits yourself."""

    title = "Nothing is known of this broker's limits"


class Certainty(StrEnum):
    """How far a number can be trusted."""

    STATED = "stated"  # by the broker itself
    REPORTED = "reported"  # by others
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number, or that nobody says one."""

    value: int | None
    source: str
    as_of: date
    certainty: Certainty = Certainty.STATED

    def or_cautious(self, cautious: int) -> int:
        """The number, or the one to be cautious with."""
        return self.value if self.value is not None else cautious


@dataclass(frozen=True, slots=True, kw_only=True)
class Carries:
    """What one connection carries when it is used in one way, by mode; a mode that is left out is not carried."""

    name: str
    total: Figure
    modes: Mapping[Mode, Figure] = field(default_factory=dict)

    def use(self) -> Use:
        """As the planner has it."""
        total = self.total.or_cautious(CAUTIOUS_INSTRUMENTS)
        least = {mode: min(total, figure.or_cautious(CAUTIOUS_INSTRUMENTS)) for mode, figure in self.modes.items()}
        ltp, quote, full = (least.get(mode, 0) if self.modes else total for mode in MODES)
        return Use(self.name, total, (ltp, quote, full))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLimits:
    """How much one message may hold, and how fast messages may follow each other."""

    items: Figure
    bytes: Figure | None = None
    messages_per_second: Figure | None = None
    spacing: Figure | None = None  # milliseconds

    @property
    def items_max(self) -> int:
        """How many instruments a message may name."""
        return self.items.or_cautious(CAUTIOUS_FRAME_ITEMS)

    @property
    def bytes_max(self) -> int | None:
        """How long a message may be; none: nobody says that there is a bound."""
        return self.bytes.value if self.bytes is not None else None

    @property
    def rate(self) -> int | None:
        """How many messages may go in any second; none: nobody says that there is a bound."""
        return self.messages_per_second.value if self.messages_per_second is not None else None

    @property
    def spacing_ms(self) -> int:
        """How long a message waits for the one before it."""
        return self.spacing.or_cautious(0) if self.spacing is not None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """A broker's limits for one account.

    `key_connections` and `key_total` hold for one API key, which belongs to one account. `segments` says which venues
    of instruments it carries and in which modes; none: all it has live tokens for, in every mode its sockets carry.
    """

    broker: str
    connections: Figure
    carries: tuple[Carries, ...]  # the ways to use a connection
    frame: FrameLimits
    tokens: str = ""  # whose tokens its frames name, where that is another name
    account_total: Figure | None = None
    account_modes: Mapping[Mode, Figure] = field(default_factory=dict)
    key_connections: Figure | None = None
    key_total: Figure | None = None
    life_hours: Figure | None = None
    reserve_percent: Figure | None = None
    segments: Mapping[str, frozenset[Mode]] | None = None
    counts_duplicates: bool | None = None  # whether a token twice counts twice; none: nobody says
    notes: str = ""

    def account(
        self,
        name: str,
        *,
        reserve: int | None = None,
        lost: frozenset[int] = frozenset(),
        draining: frozenset[int] = frozenset(),
    ) -> Account:
        """An account of this broker as the planner has it; connections lost, or to be emptied, by their numbers."""
        uses = tuple(one.use() for one in self.carries)
        count = self.connection_count
        total = _least(self.account_total, self.key_total)
        carried = count * max(use.total for use in uses)
        if reserve is None:
            share = self.reserve_percent.or_cautious(0) if self.reserve_percent is not None else 0
            reserve = -(-min(carried, carried if total is None else total) * share // PERCENT)
        if reserve and total is None:
            total = carried
        bounds = (self.account_modes.get(mode) for mode in MODES)
        ltp, quote, full = (figure.value if figure is not None else None for figure in bounds)
        return Account(
            id=name,
            broker=self.broker,
            connections=tuple(
                Connection(
                    id=connection_id(name, number), uses=uses, alive=number not in lost, draining=number in draining
                )
                for number in range(count)
            ),
            total=total,
            modes=(ltp, quote, full),
            reserve=reserve,
        )

    @property
    def connection_count(self) -> int:
        """How many connections may be open at once."""
        own = self.connections.or_cautious(CAUTIOUS_CONNECTIONS)
        of_key = self.key_connections.value if self.key_connections is not None else None
        return own if of_key is None else min(own, of_key)


def connection_id(account: str, number: int) -> str:
    """The name of an account's connection; numbers begin at 0."""
    return f"{account}-{number}"


def _least(*figures: Figure | None) -> int | None:
    known = [one.value for one in figures if one is not None and one.value is not None]
    return min(known) if known else None
