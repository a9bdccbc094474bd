"""What a parameter is: its type, its bounds, why it is there; and what is in force at one instant."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar, cast

from instrument_registry.errors import ChangedSince, Conflict, Invalid, NotFound

Value = bool | int | float | str
T = TypeVar("T", bool, int, float, str)

PREFIX = "INSTRUMENT_REGISTRY_"
TEXT_MAX = 2_000
TRUE, FALSE = ("true", "on", "yes", "1"), ("false", "off", "no", "0")


class UnknownParameter(Invalid):
    """Choose the name it says is nearest, or list them."""

    title = "There is no such parameter"


class BadValue(Invalid):
    """Choose a value within the bounds it says."""

    title = "The parameter cannot have this value"


class Pinned(Conflict):
    """Change the environment of the processes and start them anew."""

    title = "The environment fixes this parameter"


class NeedsRestart(Conflict):
    """Set it in the environment and start the processes anew."""

    title = "This parameter cannot be changed while it runs"


class OtherVersion(ChangedSince):
    """Read the configuration again, then decide."""

    title = "The configuration has been changed since"


class NoSuchVersion(NotFound):
    """List the history to see which versions there are."""

    title = "There is no such version"


class NoSuchChange(NotFound):
    """List the scheduled changes to see their ids."""

    title = "There is no such scheduled change"


class Source(StrEnum):
    """Where a value comes from; one further up wins."""

    ENVIRONMENT = "environment"
    LIVE = "live"
    EXTERNAL = "external"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter(Generic[T]):
    """Something that may be set: declared here and nowhere else.

    `live` says that processes follow a change while they run; `secret`, that its value is never shown.
    """

    name: str
    default: T
    why: str
    owner: str
    unit: str | None = None
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = True
    secret: bool = False
    wrong: Callable[[T], str | None] | None = None  # what is wrong with a value, for what bounds cannot say

    @property
    def kind(self) -> str:
        """The name of its type."""
        return {bool: "boolean", int: "integer", float: "number", str: "text"}[type(self.default)]

    @property
    def environment_name(self) -> str:
        """The variable that fixes it."""
        return PREFIX + self.name

    def read(self, text: str) -> T:
        """The value a text stands for; Raises: BadValue."""
        try:
            value = _READ[type(self.default)](text.strip())
        except ValueError:
            raise self._bad(text, f"is no {self.kind}") from None
        if isinstance(value, int | float) and not isinstance(value, bool):
            if value != value or (self.least is not None and value < self.least):
                raise self._bad(text, "is too small")
            if self.most is not None and value > self.most:
                raise self._bad(text, "is too large")
        if self.choices and value not in self.choices:
            raise self._bad(text, "is none of its choices")
        if isinstance(value, str) and len(value) > TEXT_MAX:
            raise self._bad("", f"is longer than {TEXT_MAX} characters")
        problem = self.wrong(cast("T", value)) if self.wrong is not None else None
        if problem is not None:
            raise self._bad(text, problem)
        return cast("T", value)

    def text(self, value: Value) -> str:
        """A value as it is stored and shown."""
        if isinstance(value, bool):
            return "true" if value else "false"
        return format(value, "g") if isinstance(value, float) else str(value)

    def bounds(self) -> str:
        """What it may be, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.least is None and self.most is None:
            return f"a {self.kind}" if self.kind != "integer" else "an integer"
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"from {self.least:g} to {self.most:g}{unit}" if self.most is not None else f"at least {self.least:g}{unit}"
        )

    def _bad(self, text: str, problem: str) -> BadValue:
        shown = "" if self.secret else f" {text[:100]!r}"
        return BadValue(
            f"{self.name}{shown} {problem}; it is {self.bounds()}",
            field=self.name,
            value=None if self.secret else text[:100],
            remedy=f"Choose {self.bounds()}",
        )


AnyParameter = Parameter[bool] | Parameter[int] | Parameter[float] | Parameter[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Something that must hold between parameters."""

    names: tuple[str, ...]
    holds: Callable[["Snapshot"], bool]
    says: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A value in force, and where it comes from."""

    value: Value
    source: Source


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything in force at one version; whoever answers a request looks at one of these alone."""

    version: int
    settings: Mapping[str, Setting]

    def __getitem__(self, parameter: Parameter[T]) -> T:
        return cast("T", self.settings[parameter.name].value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One change of some parameters at once."""

    version: int
    changes: dict[str, dict[str, str | None]]
    reason: str
    actor: str
    correlation_id: str
    at: datetime
    reverts_to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A change that is to come, came, or could not."""

    id: int
    due_at: datetime
    changes: dict[str, str | None]
    reason: str
    actor: str
    correlation_id: str
    made_at: datetime
    state: str = "waiting"
    version: int | None = None
    problem: str | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What each source says, as text by name; the environment's are pins."""

    environment: Mapping[str, str] = field(default_factory=dict)
    live: Mapping[str, str] = field(default_factory=dict)
    external: Mapping[str, str] = field(default_factory=dict)
    required: frozenset[str] = frozenset()  # must not fall back to their defaults


def find(parameters: Mapping[str, AnyParameter], name: str) -> AnyParameter:
    """A parameter by its name, with or without our prefix; Raises: UnknownParameter."""
    wanted = name.strip().upper().removeprefix(PREFIX)
    if wanted in parameters:
        return parameters[wanted]
    near = difflib.get_close_matches(wanted, list(parameters), n=1, cutoff=0.5)
    remedy = f"Did you mean {near[0]}?" if near else "List them with `instrument-registry config list`"
    raise UnknownParameter(f"There is no parameter {name[:100]!r}. {remedy}", field=name[:100], remedy=remedy)


def resolve(parameters: Iterable[AnyParameter], sources: Sources, *, version: int) -> Snapshot:
    """What is in force: the environment wins over what is set live, that over the external service, that over defaults.

    Raises: BadValue.
    """
    settings: dict[str, Setting] = {}
    for parameter in parameters:
        name = parameter.name
        if name in sources.environment:
            settings[name] = Setting(parameter.read(sources.environment[name]), Source.ENVIRONMENT)
        elif parameter.live and name in sources.live:
            settings[name] = Setting(parameter.read(sources.live[name]), Source.LIVE)
        elif name in sources.external:
            settings[name] = Setting(parameter.read(sources.external[name]), Source.EXTERNAL)
        else:
            settings[name] = Setting(parameter.default, Source.DEFAULT)
    return Snapshot(version, settings)


def with_external(snapshot: Snapshot, parameters: Iterable[AnyParameter], sources: Sources) -> Snapshot:
    """The same, when the external service says something else; Raises: BadValue."""
    below = resolve(parameters, Sources(external=sources.external), version=snapshot.version)
    own = (Source.ENVIRONMENT, Source.LIVE)
    settings = {name: one if one.source in own else below.settings[name] for name, one in snapshot.settings.items()}
    return Snapshot(snapshot.version, settings)


def broken(rules: Iterable[Rule], snapshot: Snapshot) -> Rule | None:
    """The first rule that does not hold."""
    return next((rule for rule in rules if not rule.holds(snapshot)), None)


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered not in TRUE + FALSE:
        raise ValueError(text)
    return lowered in TRUE


_READ: dict[type, Callable[[str], Value]] = {bool: _boolean, int: int, float: float, str: str}
