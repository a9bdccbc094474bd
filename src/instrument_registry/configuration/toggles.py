"""Toggles: features that operators turn off and on, for everybody, for some keys, or for a share of them.

A toggle is three parameters, so that it is changed, scheduled, reverted and pinned like any other.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import xxhash

from instrument_registry.configuration.model import AnyParameter, Parameter, Snapshot
from instrument_registry.errors import Unavailable

BUCKETS = 10_000


class FeatureOff(Unavailable):
    """An operator has turned the feature off; nothing was lost, try again when it is on."""

    title = "The feature is turned off"


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

TOGGLES: dict[str, Toggle] = {one.feature: one for one in (SEARCH_CATALOG, EVENT_STREAMING)}
TOGGLE_PARAMETERS: tuple[AnyParameter, ...] = tuple(
    parameter for one in TOGGLES.values() for parameter in (one.enabled, one.percent, one.keys)
)
