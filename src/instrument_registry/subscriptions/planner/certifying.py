"""What lets an outsider check a plan without a solver of their own: bounds with their proofs, drops, moves.

The proof of a bound is a price for every bound of the problem. Prices are at least nothing; whoever adds up, for an
instrument of tier t and each place where it may be, the prices of what it would take there (its class, the mode and
the total of the connection, its messages a second, the mode and the total of the account) gets at least 1 when t is
among the tiers that count, or the weight of its tier where messages are bounded. Then no plan whatever serves more
than all limits times their prices: one addition shows it. The prices are the solver's duals; nothing of the solver is
needed to check them.
"""

from typing import Any

import numpy as np

from instrument_registry.subscriptions.planner.bounds import Bin
from instrument_registry.subscriptions.planner.classes import Classes, classified
from instrument_registry.subscriptions.planner.keeping import ranks
from instrument_registry.subscriptions.planner.model import NOWHERE, TIERS, Floats, Ints, Plan, Problem
from instrument_registry.subscriptions.planner.moving import moves
from instrument_registry.subscriptions.planner.serving import Room
from instrument_registry.subscriptions.planner.solving import bound_to

SMALLEST = 1e-9


def certificate(problem: Problem, plan: Plan) -> dict[str, Any]:
    """The assignment, its bound with proofs, drops and moves, as JSON; see above. Raises: Unsolved."""
    fixed = np.where(bound_to(problem, plan.level), problem.live, NOWHERE)
    classes = classified(problem, ranks(problem), fixed)
    return {
        "level": plan.level.value,
        "quality": plan.quality.value,
        "ended": plan.ended.value,
        "uses": list(plan.uses),
        "at": plan.at.tolist(),
        "second": plan.second.tolist(),
        "classes": [_class(classes, k) for k in range(len(classes))],
        "proofs": _proofs(problem, classes, plan.uses),
        "drops": [
            {
                "reason": one.reason, "detail": one.detail, "would_fit_if": one.would_fit_if,
                "ids": problem.ids[one.members].tolist(),
            }
            for one in (*plan.drops, *plan.degraded)
        ],
        "moves": [
            {
                "reason": one.reason, "detail": one.detail, "forced": one.forced, "copy": one.copy,
                "from": problem.connections[one.source].id,
                "to": problem.connections[one.target].id if one.target != NOWHERE else None,
                "ids": problem.ids[one.members].tolist(),
            }
            for one in moves(problem, plan)
        ],
    }  # fmt: skip


def _class(classes: Classes, k: int) -> dict[str, Any]:
    """What instruments of a class have in common; `fixed` is the one connection where they may be."""
    return {
        "mode": int(classes.mode[k]), "tier": int(classes.tier[k]), "group": int(classes.group[k]),
        "load": float(classes.load[k]), "fixed": int(classes.fixed[k]), "host": int(classes.host[k]),
        "size": int(classes.sizes[k]),
    }  # fmt: skip


def _proofs(problem: Problem, classes: Classes, uses: tuple[int, ...]) -> list[dict[str, Any]]:
    """For each beginning of the tiers how many of them can be served; where messages are bounded the whole weight."""
    room = Room(problem, classes, uses)
    if problem.bounded:
        gains: Floats = np.power(problem.tier_ratio, TIERS - 1.0 - classes.tier).astype(np.float64)
        return [_proof(problem, room, gains, classes.sizes, tiers=TIERS, weighted=True)]
    found = []
    for tiers in range(1, TIERS + 1):
        gains = np.where(classes.tier < tiers, 1.0, 0.0)
        sizes = np.where(classes.tier < tiers, classes.sizes, 0)
        if sizes.any():
            found.append(_proof(problem, room, gains, sizes, tiers=tiers, weighted=False))
    return found


def _proof(problem: Problem, room: Room, gains: Floats, sizes: Ints, *, tiers: int, weighted: bool) -> dict[str, Any]:
    bound, of_class, of_bounds = room.priced(gains, sizes)
    prices = []
    for one, price in zip(room.bounds, of_bounds.tolist(), strict=True):
        if price <= SMALLEST:
            continue
        if one.what.startswith("account"):
            prices.append({"what": one.what, "account": one.number, "mode": one.mode, "price": price})
        else:
            box: Bin = room.boxes[one.number]
            prices += [{"what": one.what, "connection": at, "mode": one.mode, "price": price} for at in box.connections]
    return {
        "tiers": tiers,
        "weighted": weighted,
        "bound": bound,
        "class_prices": {str(k): price for k, price in enumerate(of_class.tolist()) if price > SMALLEST},
        "prices": prices,
    }
