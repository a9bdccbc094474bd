"""A plan in numbers: by tier, by connection, and how far it can be from the best there is."""

from dataclasses import dataclass

import numpy as np

from instrument_registry.subscriptions.planner.model import NOWHERE, TIERS, Ended, Level, Mode, Plan, Problem, Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSummary:
    """One tier: `bound` is how many could be served at most when the higher tiers are served as well as can be."""

    tier: int
    demanded: int
    served: int
    dropped: int
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """What one connection carries."""

    connection: str
    account: str
    use: str
    carried: int
    room: int
    by_mode: tuple[int, int, int]
    load: float
    load_max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Every number is counted from the plan. `gap`: the part of the weight of the bound that is not served.

    One of a tier weighs `tier_ratio` of the next.
    """

    tiers: tuple[TierSummary, ...]
    gap: float
    tier_ratio: float
    quality: Quality
    level: Level
    ended: Ended
    forced: int
    moved: int
    second_copies_wanted: int
    second_copies: int
    connections_open: int
    fillings: tuple[Filling, ...]


def summary(problem: Problem, plan: Plan) -> Summary:
    """What a plan serves, of what could be, and where."""
    served = plan.at != NOWHERE
    demanded, got = (np.bincount(problem.tier[one], minlength=TIERS).tolist() for one in (slice(None), served))
    tiers = tuple(
        TierSummary(
            tier=tier, demanded=demanded[tier], served=got[tier], dropped=demanded[tier] - got[tier],
            bound=plan.served_bound[tier],
        )
        for tier in range(TIERS)
    )  # fmt: skip
    fillings = _fillings(problem, plan)
    return Summary(
        tiers=tiers,
        gap=gap(problem, plan),
        tier_ratio=problem.tier_ratio,
        quality=plan.quality,
        level=plan.level,
        ended=plan.ended,
        forced=int(plan.forced.sum()),
        moved=int(plan.moved.sum()),
        second_copies_wanted=int(((problem.copies > 1) & served).sum()),
        second_copies=int((plan.second != NOWHERE).sum()),
        connections_open=sum(1 for one in fillings if one.carried),
        fillings=fillings,
    )


def gap(problem: Problem, plan: Plan) -> float:
    """The part of the bound's weight that is not served; 0 when it is certain that nothing better exists."""
    weights = problem.tier_ratio ** (TIERS - 1.0 - np.arange(TIERS))
    served = np.bincount(problem.tier[plan.at != NOWHERE], minlength=TIERS)
    most = float(weights @ np.array(plan.served_bound))
    return max(0.0, 1.0 - float(weights @ served) / most) if most else 0.0


def _fillings(problem: Problem, plan: Plan) -> tuple[Filling, ...]:
    count = len(problem.connections)
    used, load = np.zeros((count, len(Mode)), dtype=np.int64), np.zeros(count)
    for places in (plan.at, plan.second):
        there = places != NOWHERE
        flat = places[there] * len(Mode) + problem.mode[there]
        used += np.bincount(flat, minlength=count * len(Mode)).reshape(-1, len(Mode))
        load += np.bincount(places[there], weights=problem.load[there], minlength=count)
    return tuple(
        Filling(
            connection=one.id, account=problem.accounts[owner].id, use=one.uses[use].name, carried=sum(modes),
            room=one.uses[use].total if one.alive else 0, by_mode=(modes[0], modes[1], modes[2]), load=total,
            load_max=one.load_max,
        )
        for one, owner, use, modes, total in zip(
            problem.connections, problem.account_of.tolist(), plan.uses, used.tolist(), load.tolist(), strict=True
        )
    )  # fmt: skip
