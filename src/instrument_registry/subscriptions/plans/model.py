"""Plans and their states, and what can be wrong with asking for one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from instrument_registry.errors import Conflict, Gone, Invalid, NotFound


class Status(StrEnum):
    """Where a plan stands: draft, optimized, validated, applied, superseded; any may fail or expire."""

    DRAFT = "draft"
    OPTIMIZED = "optimized"
    VALIDATED = "validated"
    APPLIED = "applied"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    EXPIRED = "expired"


class Excluded(StrEnum):
    """Why a wanted instrument is not put to the planner at all."""

    UNKNOWN = "unknown_instrument"
    EXPIRED = "expired"
    INACTIVE = "inactive"
    POLLED = "not_subscribable"
    UNRESOLVED = "unresolved_token"
    NOWHERE = "no_eligible_pool"


class NoSuchPlan(NotFound):
    """List the plans to see which there are; old ones are forgotten."""

    title = "There is no such plan"


class PlanNotValid(Conflict):
    """Only a plan that an independent check found good is applied: make another one."""

    title = "The plan cannot be applied"


class OtherPlanLive(Conflict):
    """Look at the live plan, and plan again from there."""

    title = "Another plan is live by now"


class NothingBefore(Conflict):
    """There is no plan before the live one that could be put back."""

    title = "There is nothing to go back to"


class NoAccounts(Conflict):
    """Describe the accounts first: PUT subscriptions/capacity/{account}."""

    title = "No broker account can carry anything"


class DeltasGone(Gone):
    """Begin with a snapshot: from=snapshot."""

    title = "These steps are no longer kept"


class AccountTaken(Conflict):
    """Wait until its lease ends, or end the other ticker."""

    title = "Another ticker follows this account"


class StaleEpoch(Conflict):
    """Take a lease, then begin with a snapshot: another ticker has followed the account meanwhile."""

    title = "The lease is not that of now"


class NotThereYet(Invalid):
    """Acknowledge what was sent: up to the last position."""

    title = "No such step has been sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """A plan as it is listed; its content is read apart."""

    id: str
    status: Status
    level: str
    quality: str | None
    question: str
    live_plan: str | None
    based_on: str | None
    user_id: str | None
    summary: Mapping[str, object]
    faults: list[str]
    held_because: str | None
    actor: str
    correlation_id: str
    made_at: datetime
    expires_at: datetime
    applied_at: datetime | None = None
    superseded_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Which plan is live, which was before it, and why nothing is applied by itself, if so."""

    plan_id: str | None
    previous_id: str | None
    held_because: str | None
    changed_at: datetime | None


def no_such(plan_id: str) -> NoSuchPlan:
    """That there is no plan with an id."""
    return NoSuchPlan(f"There is no plan {plan_id[:40]!r}; plans are forgotten after a while", plan_id=plan_id[:40])
