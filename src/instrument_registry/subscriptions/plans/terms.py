"""How to plan, as the parameters in force say it."""

from instrument_registry.configuration.model import Snapshot
from instrument_registry.configuration.parameters import (
    PLAN_CACHE_TTL,
    PLANNER_HOLD_DROPS_PERCENT,
    PLANNER_HOLD_MOVES_PERCENT,
    PLANNER_OPTIMIZATION_LEVEL,
    PLANNER_TIMEOUT,
    SUBSCRIPTION_LINGER,
)
from instrument_registry.subscriptions.planner.model import Level
from instrument_registry.subscriptions.plans.planning import Terms


def of(now: Snapshot, *, level: Level | None = None, timeout_seconds: float | None = None) -> Terms:
    """The terms of now; a level or a time that somebody asks for goes first."""
    return Terms(
        level=level or Level(now[PLANNER_OPTIMIZATION_LEVEL]),
        timeout_seconds=timeout_seconds or float(now[PLANNER_TIMEOUT]),
        cache_seconds=float(now[PLAN_CACHE_TTL]),
        linger_seconds=float(now[SUBSCRIPTION_LINGER]),
        drops_max=now[PLANNER_HOLD_DROPS_PERCENT] / 100,
        moves_max=now[PLANNER_HOLD_MOVES_PERCENT] / 100,
    )
