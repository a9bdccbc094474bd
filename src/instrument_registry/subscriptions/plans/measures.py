"""What is measured of plans; the names are those that dashboards know already."""

from prometheus_client import Counter, Gauge, Histogram

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
    for one in plan.summary.get("connections", ()):  # type: ignore[attr-defined]
        if one["most"]:
            USE.labels(account=one["account"], connection=one["connection"]).set(one["carries"] / one["most"])
