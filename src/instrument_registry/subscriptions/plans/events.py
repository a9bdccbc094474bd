"""What is told about plans."""

from dataclasses import dataclass
from typing import ClassVar

from instrument_registry.events import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfPlan(Fact):
    plan_id: str

    @property
    def subject(self) -> str:
        """The plan's id."""
        return self.plan_id


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDrafted(_OfPlan):
    """Somebody, or a change, asked for a plan; what of is in its question."""

    type: ClassVar[str] = "plan.drafted"
    audited: ClassVar[bool] = False

    level: str
    demanded: int
    live_plan: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptimized(_OfPlan):
    """The planner has found where everybody goes."""

    type: ClassVar[str] = "plan.optimized"
    audited: ClassVar[bool] = False

    quality: str
    served: int
    dropped: int
    moved: int
    forced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanValidated(_OfPlan):
    """Other code than the planner's found nothing wrong with it; `held_because`: it waits for an operator."""

    type: ClassVar[str] = "plan.validated"
    audited: ClassVar[bool] = False

    held_because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanApplied(_OfPlan):
    """It is live from now on: `steps` is how many each account's ticker is to take, up to `positions`."""

    type: ClassVar[str] = "plan.applied"

    previous: str | None
    based_on: str | None
    steps: dict[str, int]
    positions: dict[str, int]
    added: int
    removed: int
    changed: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSuperseded(_OfPlan):
    """Another plan is live."""

    type: ClassVar[str] = "plan.superseded"
    audited: ClassVar[bool] = False

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFailed(_OfPlan):
    """It is not to be applied: why."""

    type: ClassVar[str] = "plan.failed"

    why: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanExpired(_OfPlan):
    """It waited too long: what it answered is not the question any more."""

    type: ClassVar[str] = "plan.expired"
    audited: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTaken(Fact):
    """A ticker follows an account from now on; who did before is refused."""

    type: ClassVar[str] = "lease.taken"

    account: str
    holder: str
    epoch: int

    @property
    def subject(self) -> str:
        """The account."""
        return self.account
