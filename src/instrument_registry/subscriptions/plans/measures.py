"""What is measured of plans; the names are those that dashboards know already."""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from instrument_registry.subscriptions.capacity.measures import OTHER, labels
from instrument_registry.subscriptions.plans.model import PlanRow

CREATED = Counter("subscription_plans_created_total", "Plans made", ["level", "status"])
SECONDS = Histogram(
    "subscription_plan_optimization_duration_seconds",
    "How long the planner took for one plan",
    ["level"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
CACHE = Counter(
    "subscription_plan_cache_operations_total", "Whether a question had been answered before", ["operation"]
)
ACTIVE = Gauge("subscription_plans_active", "Whether a plan is live")
SERVED = Gauge("instrument_registry_subscription_served", "Instruments that the newest plan serves", ["tier"])
DROPPED = Gauge("instrument_registry_subscription_dropped", "Instruments that the newest plan drops", ["tier"])
MOVED = Counter("instrument_registry_subscription_moves", "Instruments moved between connections", ["why"])
USE = Gauge(
    "instrument_registry_subscription_connection_use_ratio",
    "How full a connection is planned",
    ["account", "connection"],
)
FULLEST = "fullest"  # the connection that speaks for all accounts which are no labels
HELD = Gauge("instrument_registry_subscription_plan_held", "Whether a plan waits for an operator")


def made(plan: PlanRow, *, solve_seconds: float) -> None:
    """Count a plan."""
    CREATED.labels(level=plan.level, status=plan.status.value).inc()
    SECONDS.labels(level=plan.level).observe(solve_seconds)


def applied(plan: PlanRow) -> None:
    """Show what is live now."""
    ACTIVE.set(1)
    for tier in plan.summary.get("tiers", ()):  # type: ignore[attr-defined]
        SERVED.labels(tier=str(tier["tier"])).set(tier["served"])
        DROPPED.labels(tier=str(tier["tier"])).set(tier["dropped"])
    MOVED.labels(why="voluntary").inc(plan.summary.get("moved", 0))  # type: ignore[arg-type]
    MOVED.labels(why="forced").inc(plan.summary.get("forced", 0))  # type: ignore[arg-type]
    USE.clear()
    for (account, connection), share in use_of(plan.summary.get("connections", ())).items():  # type: ignore[arg-type]
        USE.labels(account=account, connection=connection).set(share)


def use_of(connections: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """How full each connection is; of the accounts beyond a bound, the fullest one of all."""
    bounded = [one for one in connections if one["most"]]
    carried: dict[str, int] = {}
    for one in bounded:
        carried[one["account"]] = carried.get(one["account"], 0) + one["carries"]
    named = labels(carried)
    found: dict[tuple[str, str], float] = {}
    for one in bounded:
        account = named[one["account"]]
        place = (account, FULLEST if account == OTHER else one["connection"])
        found[place] = max(found.get(place, 0.0), one["carries"] / one["most"])
    return found
