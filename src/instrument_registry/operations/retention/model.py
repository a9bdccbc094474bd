"""Policies, and what applying them would do or did."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from instrument_registry.errors import Invalid


class RetentionKind(StrEnum):
    """What a policy is about; `default` is about whatever else ends: finished jobs."""

    EVENTS = "events"
    AUDIT = "audit"
    DELIVERIES = "deliveries"
    INGESTION_DETAILS = "ingestion_details"
    DEFAULT = "default"


# Whoever holds a key cannot shorten the log to nothing; the tables hold to the same.
SHORTEST_DAYS = {
    RetentionKind.EVENTS: 31,
    RetentionKind.AUDIT: 31,
    RetentionKind.DELIVERIES: 1,
    RetentionKind.INGESTION_DETAILS: 1,
    RetentionKind.DEFAULT: 31,
}
LONGEST_DAYS = 36_500


class BadKeepDays(Invalid):
    """Choose a number of days within the bounds."""

    title = "That is no time to keep something"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """For how many days something is kept; whole months go, so one lives at most a month longer."""

    kind: RetentionKind
    keep_days: int
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that goes or stays: a month by its name, or the rows of a kind that ended before `before`."""

    kind: RetentionKind
    what: str
    before: datetime
    rows: int
    done: bool
    reasons_to_keep: tuple[str, ...] = ()


def checked(kind: RetentionKind, keep_days: int) -> int:
    """A number of days that a policy may say; Raises: BadKeepDays."""
    shortest = SHORTEST_DAYS[kind]
    if not shortest <= keep_days <= LONGEST_DAYS:
        raise BadKeepDays(
            f"keep_days is {keep_days}; {kind} is kept for {shortest} to {LONGEST_DAYS} days",
            field="keep_days",
            value=keep_days,
            shortest=shortest,
            longest=LONGEST_DAYS,
        )
    return keep_days
