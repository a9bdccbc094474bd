"""The planner: pure, without database, clock or network."""

from instrument_registry.subscriptions.planner.certifying import certificate
from instrument_registry.subscriptions.planner.instance import NotAnInstance, instance, problem_of
from instrument_registry.subscriptions.planner.model import (
    NOWHERE,
    Account,
    Connection,
    Drop,
    Ended,
    Level,
    Mode,
    Plan,
    Problem,
    Quality,
    Use,
    problem,
)
from instrument_registry.subscriptions.planner.moving import Move, moves
from instrument_registry.subscriptions.planner.solving import plan
from instrument_registry.subscriptions.planner.summing import Summary, summary
from instrument_registry.subscriptions.planner.supposing import (
    UnknownAccount,
    with_connections,
    with_limit,
    with_more,
    without,
    without_account,
    without_connection,
)

__all__ = [
    "NOWHERE",
    "Account",
    "Connection",
    "Drop",
    "Ended",
    "Level",
    "Mode",
    "Move",
    "NotAnInstance",
    "Plan",
    "Problem",
    "Quality",
    "Summary",
    "UnknownAccount",
    "Use",
    "certificate",
    "instance",
    "moves",
    "plan",
    "problem",
    "problem_of",
    "summary",
    "with_connections",
    "with_limit",
    "with_more",
    "without",
    "without_account",
    "without_connection",
]
