"""What a plan comes to, in numbers that were counted."""

from typing import Any

import numpy as np

from instrument_registry.subscriptions.planner import Drop, Move, Plan, moves
from instrument_registry.subscriptions.planner import summary as counted
from instrument_registry.subscriptions.planner.model import NOWHERE, Mode
from instrument_registry.subscriptions.plans.question import Question

MODES = tuple(mode.name.lower() for mode in Mode)


def summed(asked: Question, plan: Plan) -> dict[str, Any]:
    """Counts by tier, connection and reason; of moves and why; bounds, and how far the plan is from them."""
    problem, told = asked.problem, counted(asked.problem, plan)
    served, wanted = plan.at != NOWHERE, ~asked.lingers
    excluded = {reason.value: len(ids) for reason, ids in asked.excluded.items()}
    return {
        "level": told.level.value,
        "quality": told.quality.value,
        "ended": told.ended.value,
        "demanded": int(wanted.sum()) + sum(excluded.values()),
        "served": int((served & wanted).sum()),
        "lingering": int((served & ~wanted).sum()),
        "dropped": int((~served & wanted).sum()),
        "excluded": excluded,
        "tiers": [
            {
                "tier": one.tier, "demanded": one.demanded, "served": one.served, "dropped": one.dropped,
                "bound": one.bound,
            }
            for one in told.tiers
        ],
        "gap": told.gap,
        "moved": int((plan.moved & wanted).sum()),
        "forced": told.forced + asked.retired,
        "moves": [_move(asked, one) for one in moves(problem, plan)],
        "second_copies_wanted": told.second_copies_wanted,
        "second_copies": told.second_copies,
        "drops": [dropped(one) for one in plan.drops],
        "degraded": [dropped(one) for one in plan.degraded],
        "connections": [
            {
                "account": one.account, "connection": one.connection, "alive": connection.alive, "use": one.use,
                "carries": one.carried, "most": one.room, **dict(zip(MODES, one.by_mode, strict=True)),
            }
            for one, connection in zip(told.fillings, problem.connections, strict=True)
        ],
    }  # fmt: skip


def dropped(one: Drop) -> dict[str, Any]:
    """Why some are not served, and the smallest change that would serve them."""
    return {
        "reason": one.reason, "detail": one.detail, "would_fit_if": one.would_fit_if, "count": len(one.members)
    }  # fmt: skip


def _move(asked: Question, one: Move) -> dict[str, Any]:
    connections = asked.problem.connections
    return {
        "reason": one.reason, "detail": one.detail, "forced": one.forced, "copy": one.copy,
        "from": connections[one.source].id, "to": None if one.target == NOWHERE else connections[one.target].id,
        "count": int(np.size(one.members)),
    }  # fmt: skip
