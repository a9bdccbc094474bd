"""What somebody says of an account: its broker, and the numbers that are other than those of the built-in profile."""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from instrument_registry.errors import ChangedSince, Conflict, Invalid, NotFound
from instrument_registry.subscriptions.capacity.model import (
    CAUTIOUS_CONNECTIONS,
    CAUTIOUS_FRAME_ITEMS,
    CAUTIOUS_INSTRUMENTS,
    MODES,
    Carries,
    Certainty,
    Figure,
    FrameLimits,
    Venue,
)
from instrument_registry.subscriptions.capacity.venues import venue
from instrument_registry.subscriptions.planner.model import Mode

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
SOURCE_CHARACTERS = 200
NOTES_CHARACTERS = 500
WAYS_MAX = 8
INSTRUMENTS_MOST = 1_000_000
CONNECTIONS_MOST = 1_000


class NoSuchAccount(NotFound):
    """List the accounts to see their names."""

    title = "There is no such account"


class CapacityRefused(Invalid):
    """Correct what it names."""

    title = "The limits of the account cannot be so"


class KeyShared(Conflict):
    """Describe both as one account, or name another key."""

    title = "Another account has this key"


class CapacityChangedSince(ChangedSince):
    """Read the account again, then decide."""

    title = "The account's limits have been changed since"


class ModeName(StrEnum):
    """The modes as they are written outside."""

    LTP = "ltp"
    QUOTE = "quote"
    FULL = "full"

    @property
    def mode(self) -> Mode:
        """As the planner has it."""
        return Mode[self.name]


class Bound(NamedTuple):
    """What a number may be, what it counts, and the one to be cautious with where nobody says one."""

    least: int
    most: int
    unit: str
    cautious: int | None = None


INSTRUMENTS = Bound(0, INSTRUMENTS_MOST, "instruments")
SOME = Bound(1, INSTRUMENTS_MOST, "instruments")
FIGURES: dict[str, Bound] = {
    "connections": Bound(1, CONNECTIONS_MOST, "connections", CAUTIOUS_CONNECTIONS),
    "connection_total": SOME._replace(cautious=CAUTIOUS_INSTRUMENTS),
    "connection_ltp": INSTRUMENTS,
    "connection_quote": INSTRUMENTS,
    "connection_full": INSTRUMENTS,
    "account_total": SOME,
    "account_ltp": INSTRUMENTS,
    "account_quote": INSTRUMENTS,
    "account_full": INSTRUMENTS,
    "key_connections": Bound(1, CONNECTIONS_MOST, "connections"),
    "key_total": SOME,
    "frame_items": Bound(1, INSTRUMENTS_MOST, "instruments", CAUTIOUS_FRAME_ITEMS),
    "frame_bytes": Bound(256, 16 * 1024 * 1024, "bytes"),
    "messages_per_second": Bound(1, 10_000, "messages"),
    "spacing_ms": Bound(0, 60_000, "ms"),
    "life_hours": Bound(1, 8_760, "h"),
    "reserve_percent": Bound(0, 90, "%"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to use a connection; a mode that is left out is not carried, none named: all are, up to the total."""

    name: str
    total: Figure
    modes: Mapping[ModeName, Figure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is said of an account; what is left out is as its broker's built-in profile has it.

    `key` is a name for the API key its connections share, never the key. `ways` are its own rules of mixing modes.
    """

    broker: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    ways: tuple[Way, ...] | None = None
    segments: Mapping[str, tuple[ModeName, ...]] | None = None
    key: str | None = None
    counts_duplicates: bool | None = None
    notes: str = ""


def checked(terms: Terms, *, segments: Collection[str], today: date) -> Terms:
    """The terms with the broker's name as we write it, when they make sense together; `segments` are the known ones.

    Raises: UnknownVenue, CapacityRefused.
    """
    known = venue(terms.broker)
    for name, figure in terms.figures.items():
        _check_figure(f"figures.{name}", figure, _bound(name), today=today)
    for number, way in enumerate(terms.ways or ()):
        _check_way(f"ways[{number}]", way, today=today)
    if terms.ways is not None and not 1 <= len(terms.ways) <= WAYS_MAX:
        raise _refused("ways", len(terms.ways), f"A connection has 1 to {WAYS_MAX} ways to be used")
    for segment, modes in (terms.segments or {}).items():
        if segment not in segments:
            raise _refused("segments", segment, "Nothing is traded at this venue", _nearest(segment, segments))
        if not modes:
            raise _refused(f"segments.{segment}", [], "No mode is named", "Leave the venue out, or name its modes")
    own = replace(terms, broker=known.broker)
    _check_together(own, in_force(own))
    return own


def in_force(terms: Terms) -> Venue:
    """The limits of an account: the built-in profile with what is said of the account in its place."""
    known, own = venue(terms.broker), terms.figures
    modes = {mode: own[f"account_{mode.name.lower()}"] for mode in MODES if f"account_{mode.name.lower()}" in own}
    ways = _carries(terms.ways) if terms.ways is not None else known.carries
    segments = known.segments
    if terms.segments is not None:
        segments = {name: frozenset(one.mode for one in some) for name, some in terms.segments.items()}
    return replace(
        known,
        connections=own.get("connections", known.connections),
        carries=tuple(_capped(one, own, alone=len(ways) == 1) for one in ways),
        frame=FrameLimits(
            items=own.get("frame_items", known.frame.items),
            bytes=own.get("frame_bytes", known.frame.bytes),
            messages_per_second=own.get("messages_per_second", known.frame.messages_per_second),
            spacing=own.get("spacing_ms", known.frame.spacing),
        ),
        account_total=own.get("account_total", known.account_total),
        account_modes={**known.account_modes, **modes},
        key_connections=own.get("key_connections", known.key_connections),
        key_total=own.get("key_total", known.key_total),
        life_hours=own.get("life_hours", known.life_hours),
        reserve_percent=own.get("reserve_percent", known.reserve_percent),
        segments=segments,
        counts_duplicates=known.counts_duplicates if terms.counts_duplicates is None else terms.counts_duplicates,
        notes=terms.notes or known.notes,
    )


def figures_of(limits: Venue) -> dict[str, Figure]:
    """The numbers of some limits by name; those of connections that may be used in several ways stand in the ways."""
    named: dict[str, Figure | None] = {
        "connections": limits.connections,
        "account_total": limits.account_total,
        **{f"account_{mode.name.lower()}": limits.account_modes.get(mode) for mode in MODES},
        "key_connections": limits.key_connections,
        "key_total": limits.key_total,
        "frame_items": limits.frame.items,
        "frame_bytes": limits.frame.bytes,
        "messages_per_second": limits.frame.messages_per_second,
        "spacing_ms": limits.frame.spacing,
        "life_hours": limits.life_hours,
        "reserve_percent": limits.reserve_percent,
    }
    if len(limits.carries) == 1:
        (only,) = limits.carries
        named["connection_total"] = only.total
        named |= {f"connection_{mode.name.lower()}": figure for mode, figure in only.modes.items()}
    return {name: figure for name in FIGURES if (figure := named.get(name)) is not None}


def differences(before: Terms | None, after: Terms) -> list[str]:
    """What is said otherwise from now on."""
    if before is None:
        return [one.name for one in fields(Terms)]
    told = [
        one.name
        for one in fields(Terms)
        if one.name != "figures" and getattr(before, one.name) != getattr(after, one.name)
    ]
    names = before.figures.keys() | after.figures.keys()
    return told + sorted(f"figures.{name}" for name in names if before.figures.get(name) != after.figures.get(name))


def _carries(ways: Collection[Way]) -> tuple[Carries, ...]:
    return tuple(
        Carries(name=way.name, total=way.total, modes={name.mode: figure for name, figure in way.modes.items()})
        for way in ways
    )


def _capped(way: Carries, own: Mapping[str, Figure], *, alone: bool) -> Carries:
    """A way with the account's own bounds: they replace the number of the only way, and lower those of several."""
    total = _other(way.total, own.get("connection_total"), alone=alone)
    bounds = {
        mode: own[f"connection_{mode.name.lower()}"] for mode in MODES if f"connection_{mode.name.lower()}" in own
    }
    if not bounds:
        return replace(way, total=total)
    before = way.modes or dict.fromkeys(MODES, total)
    modes = {mode: _other(figure, bounds.get(mode), alone=alone) for mode, figure in before.items()}
    return replace(way, total=total, modes=modes)


def _other(known: Figure, own: Figure | None, *, alone: bool) -> Figure:
    if own is None:
        return known
    if alone or known.value is None:
        return own
    return own if own.value is not None and own.value < known.value else known


def _bound(name: str) -> Bound:
    if name not in FIGURES:
        raise _refused("figures", name, "There is no number of this name", _nearest(name, FIGURES))
    return FIGURES[name]


def _check_figure(at: str, figure: Figure, bound: Bound, *, today: date) -> None:
    if figure.value is not None and not bound.least <= figure.value <= bound.most:
        remedy = f"Send {bound.least} to {bound.most} {bound.unit}, or null where nobody says"
        raise _refused(at, figure.value, "The number is out of range", remedy)
    if (figure.value is None) != (figure.certainty is Certainty.UNKNOWN):
        remedy = f"A number is {Certainty.STATED} or {Certainty.REPORTED}; {Certainty.UNKNOWN} goes with null"
        raise _refused(f"{at}.certainty", figure.certainty, "Number and certainty contradict each other", remedy)
    if not 1 <= len(figure.source.strip()) <= SOURCE_CHARACTERS:
        raise _refused(
            f"{at}.source", figure.source[:100], "Nobody can tell where the number comes from", "Name its source"
        )
    if figure.as_of > today:
        raise _refused(
            f"{at}.as_of", figure.as_of.isoformat(), "The day is yet to come", f"Send {today} or an earlier day"
        )


def _check_way(at: str, way: Way, *, today: date) -> None:
    _check_figure(f"{at}.total", way.total, SOME, today=today)
    for name, figure in way.modes.items():
        _check_figure(f"{at}.modes.{name}", figure, INSTRUMENTS, today=today)
        _fits(f"{at}.modes.{name}", figure, way.total)
    bounds = [figure.value for figure in way.modes.values()]
    together = sum(one for one in bounds if one is not None)
    if way.total.value is not None and bounds and None not in bounds and together < way.total.value:
        remedy = f"Send a total of at most {together}, or more of a mode"
        problem = f"Its modes carry {together} together, so the total can never be reached"
        raise _refused(f"{at}.total", way.total.value, problem, remedy)


def _check_together(terms: Terms, limits: Venue) -> None:
    own = terms.figures
    if terms.ways is not None and any(name.startswith("connection_") for name in own):
        name = next(name for name in own if name.startswith("connection_"))
        raise _refused(f"figures.{name}", own[name].value, "The ways say it already", "Say it in the ways alone")
    for level in ("connection", "account"):
        total = own.get(f"{level}_total")
        for mode in MODES:
            figure = own.get(f"{level}_{mode.name.lower()}")
            if figure is not None and total is not None:
                _fits(f"figures.{level}_{mode.name.lower()}", figure, total)
    uses = [one.use() for one in limits.carries]
    if not any(any(use.modes) for use in uses):
        raise _refused("figures", terms.broker, "Its connections would carry nothing", "Leave one mode above 0")
    carried = limits.connection_count * max(use.total for use in uses)
    total = own.get("account_total")
    if total is not None and total.value is not None and total.value > carried:
        problem = f"Its {limits.connection_count} connections carry {carried} together"
        raise _refused("figures.account_total", total.value, problem, f"Send at most {carried}, or more connections")


def _fits(at: str, figure: Figure, total: Figure) -> None:
    if figure.value is not None and total.value is not None and figure.value > total.value:
        problem = f"A mode cannot have more than the total of {total.value}"
        raise _refused(at, figure.value, problem, f"Send at most {total.value}, or a larger total")


def _nearest(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"There are {', '.join(names)}"


def _refused(at: str, value: object, problem: str, remedy: str = "") -> CapacityRefused:
    detail = f"{at} {value!r}: {problem}." + (f" {remedy}" if remedy else "")
    return CapacityRefused(detail, field=at, value=value, remedy=remedy)
