"""Rules as somebody writes them: a ladder around the money, or a filter with a bound; no I/O.

`parsed` reads their JSON form and `shown` writes it. A rule counts as one item of its profile, however much it brings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any, ClassVar, Self

from instrument_registry.catalog.keys import InvalidKey, escape, parse_key
from instrument_registry.catalog.model import DERIVATIVES, VENUES, Kind
from instrument_registry.errors import Invalid
from instrument_registry.subscriptions.ladders import HALF, SIDES, Ladder

RULES_MAX = 100  # of one owner
AROUND_MAX = 100
EXPIRIES_MAX = 24
HYSTERESIS_MAX = Decimal(10)
INTERVAL_SECONDS, INTERVAL_SECONDS_MAX = 60, 86_400
MOST_MAX = 5_000
STRIKE_MAX = Decimal(10) ** 9

EXCHANGES = {venue: exchange for venue, (_, exchange, _) in VENUES.items()}
CONTRACT_KINDS = tuple(kind.value for kind in (Kind.OPTION, Kind.FUTURE, Kind.CRYPTO_FUTURE))


class RuleRefused(Invalid):
    """Correct the field that is named."""

    title = "The rule cannot be like this"


@dataclass(frozen=True, slots=True, order=True)
class Underlying:
    """What contracts are written on, at one exchange: NSE:NIFTY, MCX:GOLD; prices and option chains are found by it."""

    exchange: str
    name: str

    @classmethod
    def read(cls, text: str, *, field: str = "underlying") -> Self:
        """An underlying named by the key of its index, share or spot row, or by exchange and name.

        NSE:NIFTY;IDX, NSE:NIFTY and NFO:NIFTY are the same one. Raises: RuleRefused.
        """
        remedy = "Name it as NSE:NIFTY, BSE:SENSEX, NSE:RELIANCE or MCX:GOLD"
        try:
            key = parse_key(text)
        except InvalidKey as error:
            raise refused(field, f"{text[:100]!r} names no underlying: {error}", value=text, remedy=remedy) from error
        if key.expiry is not None or key.quote is not None or key.series is not None:
            raise refused(field, f"{text[:100]} is not what options are written on", value=text, remedy=remedy)
        if key.venue not in EXCHANGES:
            near = _nearest(key.venue, list(EXCHANGES))
            raise refused(field, f"No venue is called {key.venue}", value=text, remedy=f"Did you mean {near}?")
        return cls(EXCHANGES[key.venue], key.name)

    def __str__(self) -> str:
        return f"{self.exchange}:{escape(self.name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRule:
    """The options around the money: `around` strikes on each side of the middle one, of the nearest `expiries`.

    `hysteresis` is in strikes beyond the midpoint to the next strike; `interval_seconds` pass between two recentrings
    unless the price is more than two steps away.
    """

    RULE: ClassVar[str] = "ladder"

    underlying: Underlying
    around: int
    expiries: int = 1
    sides: tuple[str, ...] = SIDES
    hysteresis: Decimal = HALF
    interval_seconds: int = INTERVAL_SECONDS

    def check(self) -> None:
        """See that this can be. Raises: RuleRefused."""
        _within("around", self.around, least=0, most=AROUND_MAX, unit="strikes on each side")
        _within("expiries", self.expiries, least=1, most=EXPIRIES_MAX, unit="expiries")
        _within("interval_seconds", self.interval_seconds, least=1, most=INTERVAL_SECONDS_MAX, unit="seconds")
        _within("hysteresis", self.hysteresis, least=0, most=HYSTERESIS_MAX, unit="strikes beyond the midpoint")
        if not self.sides or set(self.sides) - set(SIDES) or len(set(self.sides)) < len(self.sides):
            raise refused("sides", "Sides are C, P or both", value=list(self.sides), remedy="Send some of C and P")

    @property
    def ladder(self) -> Ladder:
        """The rule as what follows a price."""
        return Ladder(
            around=self.around, expiries=self.expiries, hysteresis=self.hysteresis,
            interval=timedelta(seconds=self.interval_seconds),
        )  # fmt: skip

    @property
    def most(self) -> int:
        """How many instruments it can bring."""
        return (2 * self.around + 1) * self.expiries * len(self.sides)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRule:
    """Live instruments by what they are, at most `most` of them: the nearest expiries first, then by name and strike.

    Something must narrow it: an underlying or a venue. `expiries` takes only so many of the nearest of each underlying.
    """

    RULE: ClassVar[str] = "filter"

    most: int
    kind: Kind | None = None
    underlying: Underlying | None = None
    venue: str | None = None
    expiry: date | None = None
    expiries: int | None = None
    side: str | None = None
    strike_from: Decimal | None = None
    strike_to: Decimal | None = None

    def check(self) -> None:
        """See that this can be. Raises: RuleRefused."""
        _within("most", self.most, least=1, most=MOST_MAX, unit="instruments")
        if self.underlying is None and self.venue is None:
            raise refused("underlying", "A filter is narrowed", value=None, remedy="Name an underlying or a venue")
        if self.venue is not None and self.venue not in VENUES:
            near = _nearest(self.venue, list(VENUES))
            raise refused("venue", f"No venue is called {self.venue}", value=self.venue, remedy=f"Did you mean {near}?")
        if self.expiries is not None:
            _within("expiries", self.expiries, least=1, most=EXPIRIES_MAX, unit="expiries")
        if self.expiry is not None and self.expiries is not None:
            raise refused(
                "expiries", "Either one expiry or the nearest ones", value=self.expiries, remedy="Leave one out"
            )
        if self.side is not None and self.side not in SIDES:
            raise refused("side", "A side is C or P", value=self.side, remedy="Send C, P, or leave it out for both")
        for field in ("strike_from", "strike_to"):
            strike = getattr(self, field)
            if strike is not None:
                _within(field, strike, least=0, most=STRIKE_MAX, unit="as a strike")
        if self.strike_from is not None and self.strike_to is not None and self.strike_from > self.strike_to:
            raise refused("strike_to", "Strikes go up", value=str(self.strike_to), remedy="Send it above strike_from")
        options = self.side is not None or self.strike_from is not None or self.strike_to is not None
        if options and self.kind is not Kind.OPTION:
            raise refused("kind", "Only options have strikes and sides", value=self.kind, remedy="Send kind option")
        ends = self.expiry is not None or self.expiries is not None
        if ends and self.kind is not None and self.kind not in DERIVATIVES:
            raise refused(
                "kind", f"A {self.kind.value} has no expiry", value=self.kind.value,
                remedy=f"Send one of {', '.join(CONTRACT_KINDS)}, or no expiry",
            )  # fmt: skip


Rule = LadderRule | FilterRule
KINDS: dict[str, type[LadderRule] | type[FilterRule]] = {one.RULE: one for one in (LadderRule, FilterRule)}


def parsed(rules: Sequence[Mapping[str, object]]) -> tuple[Rule, ...]:
    """Rules in their JSON form, each with `rule: ladder` or `rule: filter`; what is refused names field, value, remedy.

    Raises: RuleRefused.
    """
    if len(rules) > RULES_MAX:
        remedy = "Share them among more profiles"
        raise refused("rules", f"At most {RULES_MAX} rules are kept together", value=len(rules), remedy=remedy)
    made: list[Rule] = []
    for place, rule in enumerate(rules):
        try:
            made.append(_parsed(rule))
        except RuleRefused as error:
            raise RuleRefused(
                str(error), **error.facts | {"field": f"rules[{place}].{error.facts['field']}"}
            ) from error
    return tuple(made)


def shown(rule: Rule) -> dict[str, object]:
    """The JSON form of a rule: `parsed([shown(rule)]) == (rule,)`; what was not said is left out."""
    told: dict[str, object] = {"rule": rule.RULE}
    for field in fields(rule):
        value = getattr(rule, field.name)
        if value is not None:
            told[field.name] = _plain(value)
    return told


def refused(field: str, problem: str, *, value: object, remedy: str) -> RuleRefused:
    """What is wrong with a field, what it was, and what to send instead."""
    return RuleRefused(f"{field}: {problem}. {remedy}", field=field, value=value, remedy=remedy)


def _parsed(rule: Mapping[str, object]) -> Rule:
    given = dict(rule)
    named = given.pop("rule", None)
    if not isinstance(named, str) or named not in KINDS:
        raise refused("rule", "There is no such rule", value=named, remedy=f"Send one of: {', '.join(KINDS)}")
    kind = KINDS[named]
    known = {field.name: field for field in fields(kind)}
    for name in given:
        if name not in known:
            near = _nearest(name, list(known))
            raise refused(name, f"A {named} has no {name[:60]}", value=given[name], remedy=f"Did you mean {near}?")
    values = {name: READ[name](name, value) for name, value in given.items() if value is not None}
    required = ("underlying", "around") if kind is LadderRule else ("most",)
    for name in required:
        if name not in values:
            raise refused(name, "It is missing", value=None, remedy=f"A {named} needs {' and '.join(required)}")
    made: Rule = kind(**values)
    made.check()
    return made


def _whole(field: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise refused(field, "It is not a whole number", value=value, remedy="Send a whole number")
    return value


def _decimal(field: str, value: object) -> Decimal:
    try:
        number = Decimal(str(value)) if isinstance(value, str | int | float | Decimal) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise refused(field, "It is not a number", value=value, remedy='Send a decimal number as text, as "0.5"')
    return number


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise refused(field, "It is not text", value=value, remedy="Send text")
    return value.strip().upper()


def _day(field: str, value: object) -> date:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError as error:
        raise refused(field, "It is not a date", value=value, remedy="Send it as YYYY-MM-DD") from error


def _kind(field: str, value: object) -> Kind:
    text = _text(field, value).lower()
    if text not in Kind.__members__.values():
        near = _nearest(text, [kind.value for kind in Kind])
        raise refused(field, "There is no such kind", value=value, remedy=f"Did you mean {near}?")
    return Kind(text)


def _underlying(field: str, value: object) -> Underlying:
    return value if isinstance(value, Underlying) else Underlying.read(_text(field, value), field=field)


def _sides(field: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise refused(field, "It is not a list", value=value, remedy='Send ["C"], ["P"] or ["C", "P"]')
    return tuple(_text(field, side) for side in value)


READ: dict[str, Callable[[str, object], Any]] = {
    "underlying": _underlying, "around": _whole, "expiries": _whole, "sides": _sides, "hysteresis": _decimal,
    "interval_seconds": _whole, "most": _whole, "kind": _kind, "venue": _text, "expiry": _day, "side": _text,
    "strike_from": _decimal, "strike_to": _decimal,
}  # fmt: skip


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Underlying):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else getattr(value, "value", value)


def _within(field: str, value: int | Decimal, *, least: int | Decimal, most: int | Decimal, unit: str) -> None:
    if not least <= value <= most:
        told = value if isinstance(value, int) else format(value, "f")
        raise refused(field, f"{least} to {most} {unit}, not {told}", value=told, remedy=f"Send {least} to {most}")


def _nearest(text: str, known: list[str]) -> str:
    return next(iter(get_close_matches(text, known, n=1, cutoff=0.0)), known[0])
