"""Nouns of ingestion: what is asked for, what came of it, and why a dump was kept out."""

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Self

from instrument_registry.configuration.model import Snapshot
from instrument_registry.configuration.parameters import INGESTION_GONE_PERCENT, INGESTION_SET_ASIDE_PERCENT
from instrument_registry.errors import Conflict, RegistryError


class RunStatus(StrEnum):
    """How a run ended."""

    RUNNING = "running"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    FAILED = "failed"
    DRY_RUN = "dry_run"
    RELEASED = "released"
    DISCARDED = "discarded"


class IngestionBusy(Conflict):
    """Another run holds the catalogue and did not end in time."""

    title = "Another ingestion is running"


class NotHeld(Conflict):
    """Somebody has decided about the dump already, or it was never kept out."""

    title = "The dump is not held back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a gate did not open, or what is worth a warning."""

    gate: str
    detail: str
    facts: dict[str, Any] = field(default_factory=dict)  # what the gate saw, by its own names


class GateClosed(RegistryError):
    """The dump would damage the catalogue; it is kept, nothing changed."""

    title = "The dump was not applied"

    def __init__(self, reasons: list[Reason], *, status: RunStatus) -> None:
        super().__init__("; ".join(reason.detail for reason in reasons))
        self.reasons = reasons
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a run."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """From which share on gates that count rows stay closed, in percent."""

    set_aside_percent: float = INGESTION_SET_ASIDE_PERCENT.default
    gone_percent: float = INGESTION_GONE_PERCENT.default

    @classmethod
    def of(cls, now: Snapshot) -> Self:
        """The bounds in force."""
        return cls(set_aside_percent=now[INGESTION_SET_ASIDE_PERCENT], gone_percent=now[INGESTION_GONE_PERCENT])


USUAL = Bounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody asks an ingestion to do."""

    broker: str
    market_date: date
    date_known_by: str  # "given", "file name", "last modified", "today"
    actor: str
    correlation_id: str
    scope: tuple[str, ...] = ()  # segments that must be there; empty: those of the feed's last applied run
    allow_older: bool = False
    dry_run: bool = False
    released_from: int | None = None  # a quarantined run an operator lets through: gates become warnings
    release_reason: str | None = None
    invented: bool = False  # the demo universe, which is no evidence against a real dump
    bounds: Bounds = USUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run; the same facts as its report in the database."""

    id: int
    broker: str
    feed: str
    market_date: date
    date_known_by: str
    status: RunStatus
    reasons: list[Reason]
    warnings: list[Reason]
    rows: int
    set_aside: int  # whole rows that were not taken
    values_set_aside: int  # single values taken away from rows that were
    duplicates: int
    counts: dict[str, int]  # facts by kind
    segments: dict[str, int]  # rows by the broker's segment
    seconds: dict[str, float]  # by step
