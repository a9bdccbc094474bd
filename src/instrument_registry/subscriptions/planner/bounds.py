"""Where each class may be, and what bounds it there: rows of a programme, for connections alone or by kinds of them."""

from dataclasses import dataclass

import numpy as np

from instrument_registry.subscriptions.planner.classes import Classes
from instrument_registry.subscriptions.planner.linear import Terms
from instrument_registry.subscriptions.planner.model import NOWHERE, Bools, Ints, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Connections that are alike and need not be told apart to know who is served."""

    account: int
    connections: tuple[int, ...]
    total: int
    modes: tuple[int, int, int]
    load_max: float | None


@dataclass(frozen=True, slots=True)
class Bound:
    """What a row bounds: `total`, `mode` or `load` of a bin, `account` or `account_mode` of an account."""

    row: int
    what: str
    number: int
    mode: int = NOWHERE


def bins(problem: Problem, uses: tuple[int, ...], classes: Classes) -> list[Bin]:
    """The bins of a problem: a connection where somebody must be, or nobody may come, is one of its own."""
    alone = set(classes.fixed.tolist()) | set(np.flatnonzero(problem.emptied).tolist())
    found: dict[tuple[object, ...], list[int]] = {}
    for number, one in enumerate(problem.connections):
        if one.alive:
            use = one.uses[uses[number]]
            kind = (int(problem.account_of[number]), use.total, use.modes, one.load_max)
            found.setdefault((*kind, number if number in alone else NOWHERE), []).append(number)
    return [
        Bin(account=key[0], connections=tuple(at), total=key[1], modes=key[2], load_max=key[3])  # type: ignore[arg-type]
        for key, at in found.items()
    ]


def singles(problem: Problem, uses: tuple[int, ...]) -> list[Bin]:
    """Every connection as a bin of its own, in their order."""
    return [
        Bin(
            account=int(problem.account_of[number]), connections=(number,), total=one.uses[use].total,
            modes=one.uses[use].modes, load_max=one.load_max,
        )
        for number, (one, use) in enumerate(zip(problem.connections, uses, strict=True))
    ]  # fmt: skip


def possible(problem: Problem, classes: Classes, uses: tuple[int, ...]) -> Bools:
    """Which class may be at which connection."""
    modes = np.array([one.uses[use].modes for one, use in zip(problem.connections, uses, strict=True)]).reshape(-1, 3)
    number = np.arange(len(uses))
    right = problem.groups[classes.group][:, problem.account_of]
    fixed = classes.fixed != NOWHERE
    right[fixed] = number == classes.fixed[fixed, None]
    right &= ~problem.emptied | (number == classes.host[:, None]) | (number == classes.fixed[:, None])
    right &= problem.alive & (modes[:, classes.mode].T > 0)
    return np.asarray(right, dtype=np.bool_)


def bound(
    terms: Terms, problem: Problem, classes: Classes, boxes: list[Bin], columns: tuple[Ints, Ints, Ints]
) -> list[Bound]:
    """Add the rows that keep every bin and account within its bounds; columns are of classes in bins in accounts."""
    k, b, account = columns
    mode, found = classes.mode[k] if len(k) else k, []
    by_bin, edges = _grouped(b, len(boxes))
    for number, box in enumerate(boxes):
        count, here = len(box.connections), by_bin[edges[number] : edges[number + 1]]
        found.append(Bound(terms.row(here, upper=count * box.total), "total", number))
        for one, most in enumerate(box.modes):
            if most < box.total:
                found.append(Bound(terms.row(here[mode[here] == one], upper=count * most), "mode", number, one))
        if box.load_max is not None:
            row = terms.row(here, upper=count * box.load_max, values=classes.load[k[here]])
            found.append(Bound(row, "load", number))
    by_account, edges = _grouped(account, len(problem.accounts))
    for number, owner in enumerate(problem.accounts):
        here = by_account[edges[number] : edges[number + 1]]
        if owner.total is not None:
            found.append(Bound(terms.row(here, upper=max(0, owner.total - owner.reserve)), "account", number))
        for one, limit in enumerate(owner.modes):
            if limit is not None:
                found.append(Bound(terms.row(here[mode[here] == one], upper=limit), "account_mode", number, one))
    return found


def _grouped(numbers: Ints, count: int) -> tuple[Ints, Ints]:
    """Places by their number, and where each number begins."""
    order = np.argsort(numbers, kind="stable")
    return order, np.searchsorted(numbers[order], np.arange(count + 1))
