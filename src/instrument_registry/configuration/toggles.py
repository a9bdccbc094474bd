"""Toggles: features that operators turn off and on, for everybody, for some keys, or for a share of them.

A toggle is three parameters, so that it is changed, scheduled, reverted and pinned like any other.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import xxhash

from instrument_registry.configuration.model import PREFIX, AnyParameter, Parameter, Snapshot
from instrument_registry.errors import Invalid, Unavailable

BUCKETS = 10_000


class FeatureOff(Unavailable):
    """An operator has turned the feature off; nothing was lost, try again when it is on."""

    title = "The feature is turned off"


class UnknownToggle(Invalid):
    """Choose the feature it says is nearest, or list the toggles."""

    title = "There is no such toggle"


class Why(StrEnum):
    """Why a toggle says what it says, in the words of OpenFeature."""

    DISABLED = "DISABLED"
    TARGETED = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    STATIC = "STATIC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Toggle:
    """A feature that can be turned off; one that is there for a release ends on a date."""

    feature: str
    owner: str
    enabled: Parameter[bool]
    percent: Parameter[float]
    keys: Parameter[str]
    expires_on: date | None = None

    @property
    def name(self) -> str:
        """What an operator sets: SEARCH_CATALOG_ENABLED."""
        return self.enabled.name

    def overdue(self, today: date) -> bool:
        """Whether it should have been taken out of the program by now."""
        return self.expires_on is not None and self.expires_on < today


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a feature is on for somebody, and why."""

    on: bool
    why: Why


def bucket(key: str) -> int:
    """In which of 10,000 buckets a key is, always the same: xxh32 of its UTF-8."""
    return xxhash.xxh32_intdigest(key.encode()) % BUCKETS


def judge(toggle: Toggle, snapshot: Snapshot, key: str) -> Verdict:
    """Whether a feature is on for a key: off for all, on for those named, else for its share of the buckets."""
    if not snapshot[toggle.enabled]:
        return Verdict(False, Why.DISABLED)
    named = snapshot[toggle.keys]
    if named and key in (one.strip() for one in named.split(",")):
        return Verdict(True, Why.TARGETED)
    percent = snapshot[toggle.percent]
    if percent >= 100:
        return Verdict(True, Why.STATIC)
    return Verdict(bucket(key) < percent * (BUCKETS / 100), Why.SPLIT)


def require(toggle: Toggle, snapshot: Snapshot, key: str) -> None:
    """See that a feature is on for a key; Raises: FeatureOff."""
    verdict = judge(toggle, snapshot, key)
    if not verdict.on:
        raise FeatureOff(
            f"{toggle.feature} is turned off{'' if verdict.why is Why.DISABLED else ' for this key'} by {toggle.name}",
            toggle=toggle.name,
            reason=verdict.why,
        )


def find_toggle(toggles: Mapping[str, Toggle], name: str) -> Toggle:
    """A toggle by its feature, or by the parameter that turns it off; Raises: UnknownToggle."""
    feature = name.strip().lower().removeprefix(PREFIX.lower()).removesuffix("_enabled")
    if feature in toggles:
        return toggles[feature]
    near = difflib.get_close_matches(feature, list(toggles), n=1, cutoff=0.5)
    remedy = f"Did you mean {near[0]}?" if near else f"There are {', '.join(toggles)}"
    shown = name[:100]
    raise UnknownToggle(f"There is no toggle {shown!r}. {remedy}", field="feature", value=shown, remedy=remedy)


def _toggle(feature: str, *, owner: str, why: str, default: bool = True, expires_on: date | None = None) -> Toggle:
    name = feature.upper()
    return Toggle(
        feature=feature,
        owner=owner,
        enabled=Parameter(name=f"{name}_ENABLED", default=default, owner=owner, why=why),
        percent=Parameter(
            name=f"{name}_PERCENT", default=100.0, least=0, most=100, unit="%", owner=owner,
            why=f"For which share of API keys {name}_ENABLED holds; the others find it off.",
        ),
        keys=Parameter(
            name=f"{name}_KEYS", default="", owner=owner,
            why=f"Ids of API keys for which {name}_ENABLED holds whatever {name}_PERCENT says, divided by commas.",
        ),
        expires_on=expires_on,
    )  # fmt: skip


SEARCH_CATALOG = _toggle(
    "search_catalog", owner="catalog", why="Searches, lists and suggestions are answered; resolving works either way."
)
EVENT_STREAMING = _toggle(
    "event_streaming", owner="events",
    why="Events are streamed, published, relayed and sent; off, they are kept, and go on from there when it is on.",
)  # fmt: skip

SUBSCRIPTION_PLANNING = _toggle(
    "subscription_planning", owner="subscriptions",
    why="Plans are made and applied; off, tickers go on following what is live, and changes wait.",
)  # fmt: skip

TOGGLES: dict[str, Toggle] = {one.feature: one for one in (SEARCH_CATALOG, EVENT_STREAMING, SUBSCRIPTION_PLANNING)}
TOGGLE_PARAMETERS: tuple[AnyParameter, ...] = tuple(
    parameter for one in TOGGLES.values() for parameter in (one.enabled, one.percent, one.keys)
)


def overdue(toggles: Iterable[Toggle], today: date) -> list[Toggle]:
    """Those that should have been taken out of the program by now."""
    return [one for one in toggles if one.overdue(today)]
