"""How capacity is written and shown: numbers with their sources, accounts, venues, connections."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal

import msgspec

from instrument_registry.subscriptions.capacity.model import Carries, Certainty, Figure, Venue
from instrument_registry.subscriptions.capacity.reporting import ConnectionState, Said
from instrument_registry.subscriptions.capacity.storage import Account, AccountVersion
from instrument_registry.subscriptions.capacity.terms import (
    FIGURES,
    NOTES_CHARACTERS,
    SOURCE_CHARACTERS,
    WAYS_MAX,
    ModeName,
    Terms,
    Way,
    figures_of,
    in_force,
)

TICKS_MAX = 10_000
CONNECTIONS_MAX = 1_000
LARGEST = 2**31 - 1

Number = Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Source = Annotated[str, msgspec.Meta(min_length=1, max_length=SOURCE_CHARACTERS, description="Where it was read.")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Notes = Annotated[str, msgspec.Meta(max_length=NOTES_CHARACTERS)]
Why = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
KeyName = Annotated[
    str, msgspec.Meta(min_length=1, max_length=40, pattern="^[!-~]+$", description="What its API key is called.")
]
HealthName = Literal["connected", "degraded", "draining", "lost"]
FIGURE_NAMES = f"By name: {', '.join(FIGURES)}."


class FigureBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number, or null where nobody says one; found today unless a day is named."""

    value: Number | None
    source: Source
    as_of: date | None = None
    certainty: Certainty | None = None

    def figure(self, *, today: date) -> Figure:
        """As the room has it."""
        usual = Certainty.UNKNOWN if self.value is None else Certainty.STATED
        return Figure(
            value=self.value, source=self.source, as_of=self.as_of or today, certainty=self.certainty or usual
        )


class WayBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to use a connection; a mode that is left out is not carried, none named: all are."""

    name: Text
    total: FigureBody
    modes: dict[ModeName, FigureBody] = {}

    def way(self, *, today: date) -> Way:
        """As the room has it."""
        modes = {mode: one.figure(today=today) for mode, one in self.modes.items()}
        return Way(name=self.name, total=self.total.figure(today=today), modes=modes)


Figures = Annotated[dict[str, FigureBody], msgspec.Meta(max_length=len(FIGURES), description=FIGURE_NAMES)]
FigureChanges = Annotated[
    dict[str, FigureBody | None],
    msgspec.Meta(max_length=len(FIGURES), description=f"{FIGURE_NAMES} null: as the broker's profile has it."),
]
Ways = Annotated[list[WayBody], msgspec.Meta(min_length=1, max_length=WAYS_MAX)]
Segments = Annotated[dict[str, list[ModeName]], msgspec.Meta(max_length=50, description="Venues, as NSE or NFO.")]


class CapacityBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is said of an account; what is left out is as its broker's built-in profile has it."""

    broker: Text
    reason: Why
    figures: Figures = {}
    ways: Ways | None = None
    segments: Segments | None = None
    key: KeyName | None = None
    counts_duplicates: bool | None = None
    notes: Notes = ""

    def terms(self, *, today: date) -> Terms:
        """As the room has it."""
        return Terms(
            broker=self.broker,
            figures={name: one.figure(today=today) for name, one in self.figures.items()},
            ways=None if self.ways is None else tuple(one.way(today=today) for one in self.ways),
            segments=_segments(self.segments),
            key=self.key,
            counts_duplicates=self.counts_duplicates,
            notes=self.notes,
        )


class CapacityChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another way; what is left out stays, null is as the broker's built-in profile has it."""

    reason: Why
    figures: FigureChanges = {}
    ways: Ways | msgspec.UnsetType | None = msgspec.UNSET
    segments: Segments | msgspec.UnsetType | None = msgspec.UNSET
    key: KeyName | msgspec.UnsetType | None = msgspec.UNSET
    counts_duplicates: bool | msgspec.UnsetType | None = msgspec.UNSET
    notes: Notes | msgspec.UnsetType = msgspec.UNSET

    def changed(self, terms: Terms, *, today: date) -> Terms:
        """The terms with what is named in its place."""
        figures = {name: one for name, one in terms.figures.items() if name not in self.figures}
        figures |= {name: one.figure(today=today) for name, one in self.figures.items() if one is not None}
        ways, segments = terms.ways, terms.segments
        if not isinstance(self.ways, msgspec.UnsetType):
            ways = None if self.ways is None else tuple(one.way(today=today) for one in self.ways)
        if not isinstance(self.segments, msgspec.UnsetType):
            segments = _segments(self.segments)
        return Terms(
            broker=terms.broker,
            figures=figures,
            ways=ways,
            segments=segments,
            key=terms.key if isinstance(self.key, msgspec.UnsetType) else self.key,
            counts_duplicates=terms.counts_duplicates
            if isinstance(self.counts_duplicates, msgspec.UnsetType)
            else self.counts_duplicates,
            notes=terms.notes if isinstance(self.notes, msgspec.UnsetType) else self.notes,
        )


class FigureShown(msgspec.Struct, frozen=True, kw_only=True):
    """A number with its source; null: nobody says one, and `cautious` is taken, if there must be one."""

    value: int | None
    unit: str
    source: str
    as_of: date
    certainty: Certainty
    own: bool  # said of this account; else its broker's profile has it
    cautious: int | None = None


class WayShown(msgspec.Struct, frozen=True, kw_only=True):
    """One way to use a connection, and what is planned with; a mode that is not named is not carried."""

    name: str
    total: int
    modes: dict[ModeName, int]
    figures: dict[str, FigureShown]


class ConnectionShown(msgspec.Struct, frozen=True, kw_only=True):
    """A connection; no health: nobody has spoken of it, it may be opened."""

    connection: str
    health: HealthName | None
    reason: str | None
    since: datetime | None
    reported_at: datetime | None


class VenueShown(msgspec.Struct, frozen=True, kw_only=True):
    """Limits as they are planned with: numbers by name, ways to use a connection, what may be carried."""

    broker: str
    tokens: str
    figures: dict[str, FigureShown]
    ways: list[WayShown]
    segments: dict[str, list[ModeName]] | None
    counts_duplicates: bool | None
    notes: str


class CapacityShown(VenueShown, frozen=True, kw_only=True):
    """An account: its limits, its connections, and what it carries at most, what is held back taken off."""

    account: str
    version: int
    key: str | None
    carries_max: int
    reserve: int
    connections: list[ConnectionShown]
    reason: str
    actor: str
    created_at: datetime
    changed_at: datetime


class CapacityVersionShown(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of an account once, in the form of a PUT; none: it was retired."""

    account: str
    version: int
    said: Terms | None
    reason: str
    actor: str
    correlation_id: str
    at: datetime


class StateBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a connection is; `closed`: on purpose, it may be opened again."""

    state: Said
    reason: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class HealthBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a ticker says: of connections by name, and when instruments ticked last, by their ids.

    Say it of each open connection every second: one of which nothing is heard is lost after CONNECTION_LOST_AFTER.
    """

    connections: Annotated[dict[str, StateBody], msgspec.Meta(max_length=CONNECTIONS_MAX)] = {}
    ticks: Annotated[dict[str, Annotated[datetime, msgspec.Meta(tz=True)]], msgspec.Meta(max_length=TICKS_MAX)] = {}
    epoch: Annotated[int, msgspec.Meta(ge=0, le=2**62)] | None = None


class HealthShown(msgspec.Struct, frozen=True, kw_only=True):
    """How the connections of an account are.

    Last ticks, and since when instruments are silent, by their ids, where they were asked for; `silent` counts them.
    """

    account: str
    lost_after_seconds: float
    connections: list[ConnectionShown]
    silent: int
    ticks: dict[str, datetime] | None = None
    silent_since: dict[str, datetime] | None = None


class HeardShown(msgspec.Struct, frozen=True, kw_only=True):
    """Which connections are another way by what was said, and which ids of ticks are no instrument's."""

    changed: list[str]
    unknown_instruments: list[str]


def venue_shown(limits: Venue, *, own: Mapping[str, Figure] | None = None) -> VenueShown:
    """A built-in profile."""
    return VenueShown(**_limits(limits, own or {}))  # type: ignore[arg-type]


def capacity_shown(account: Account, states: list[ConnectionState]) -> CapacityShown:
    """An account that is not retired."""
    limits = in_force(account.terms)
    planned = limits.account(account.name)
    carried = len(planned.connections) * max(use.total for use in planned.connections[0].uses)
    most = carried if planned.total is None else min(carried, planned.total)
    return CapacityShown(
        **_limits(limits, account.terms.figures),  # type: ignore[arg-type]
        account=account.name, version=account.version, key=account.terms.key, carries_max=most - planned.reserve,
        reserve=planned.reserve, connections=[connection_shown(one) for one in states], reason=account.reason,
        actor=account.actor, created_at=account.created_at, changed_at=account.changed_at,
    )  # fmt: skip


def version_shown(one: AccountVersion) -> CapacityVersionShown:
    """One entry of an account's history."""
    return CapacityVersionShown(
        account=one.account, version=one.version, said=one.terms, reason=one.reason, actor=one.actor,
        correlation_id=one.correlation_id, at=one.at,
    )  # fmt: skip


def connection_shown(one: ConnectionState) -> ConnectionShown:
    """One connection."""
    return ConnectionShown(
        connection=one.id,
        health=None if one.health is None else one.health.value,
        reason=one.reason,
        since=one.since,
        reported_at=one.reported_at,
    )


def _limits(limits: Venue, own: Mapping[str, Figure]) -> dict[str, object]:
    segments = limits.segments
    return {
        "broker": limits.broker,
        "tokens": limits.tokens or limits.broker,
        "figures": {name: _figure(name, figure, own) for name, figure in figures_of(limits).items()},
        "ways": [_way(one) for one in limits.carries],
        "segments": None
        if segments is None
        else {name: [one for one in ModeName if one.mode in some] for name, some in segments.items()},
        "counts_duplicates": limits.counts_duplicates,
        "notes": limits.notes,
    }


def _way(one: Carries) -> WayShown:
    use = one.use()
    figures = {"total": one.total} | {mode.name.lower(): figure for mode, figure in one.modes.items()}
    return WayShown(
        name=one.name,
        total=use.total,
        modes={mode: use.modes[mode.mode] for mode in ModeName if use.modes[mode.mode]},
        figures={name: _figure(f"connection_{name}", figure, {}) for name, figure in figures.items()},
    )


def _figure(name: str, figure: Figure, own: Mapping[str, Figure]) -> FigureShown:
    bound = FIGURES[name]
    cautious = (
        (bound.cautious or FIGURES["connection_total"].cautious) if name.startswith("connection_") else bound.cautious
    )
    return FigureShown(
        value=figure.value, unit=bound.unit, source=figure.source, as_of=figure.as_of, certainty=figure.certainty,
        own=own.get(name) == figure, cautious=cautious if figure.value is None else None,
    )  # fmt: skip


def _segments(given: Mapping[str, list[ModeName]] | None) -> dict[str, tuple[ModeName, ...]] | None:
    return None if given is None else {name.upper(): tuple(modes) for name, modes in given.items()}
