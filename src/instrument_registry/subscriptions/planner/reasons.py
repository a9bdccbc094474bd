"""Why somebody is not served: what was short, in numbers, and the smallest change that would serve them."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from instrument_registry.subscriptions.planner.classes import Classes, class_of
from instrument_registry.subscriptions.planner.expanding import chosen
from instrument_registry.subscriptions.planner.model import NOWHERE, Account, Bools, Drop, Ints, Mode, Problem
from instrument_registry.subscriptions.planner.serving import Room, served


def drops(
    problem: Problem,
    classes: Classes,
    first: Ints,
    order: Ints,
    *,
    second: Ints,
    uses: tuple[int, ...],
    solve: bool = True,
) -> tuple[Drop, ...]:
    """Every instrument that is not served, by what was short; without solving nobody knows who a reserve keeps out."""
    out = first == NOWHERE
    if not out.any():
        return ()
    number, used = class_of(classes), _used(problem, first, second)
    found: list[Drop] = []
    nobody = np.zeros(len(problem), dtype=np.bool_)
    freed = _without_reserve(problem, classes, order, uses) if solve else nobody
    for k in np.unique(number[out]):
        members = classes.of(int(k))
        members = members[out[members]]
        within = members[freed[members]]
        others = members[~freed[members]]
        if len(within):
            found.append(_reserved(problem, classes, int(k), within))
        if len(others):
            found.append(_short(problem, classes, int(k), others, used=used, uses=uses))
    return tuple(_merged(found))


def degraded(problem: Problem, first: Ints, second: Ints) -> tuple[Drop, ...]:
    """Who is served, but without the second copy that was asked for."""
    alone = np.flatnonzero((problem.copies > 1) & (first != NOWHERE) & (second == NOWHERE))
    found = []
    for group in np.unique(problem.group[alone]).tolist():
        members = alone[problem.group[alone] == group]
        owners = [int(one) for one in np.flatnonzero(problem.groups[group])]
        living = [one for one in owners if problem.alive[problem.account_of == one].any()]
        if len(living) < 2:
            detail = f"only {_names(problem, living)} carries it" if living else "no account carries it"
            change = "another account that carries it lives"
        else:
            detail = f"{_names(problem, living)} have no room for a second copy in another account than the first"
            change = f"there were room for {len(members)} more in another account"
        found.append(Drop(reason="degraded.redundancy", detail=detail, would_fit_if=change, members=members))
    return tuple(_merged(found))


def _without_reserve(problem: Problem, classes: Classes, order: Ints, uses: tuple[int, ...]) -> Bools:
    """Who would be served if nothing were held back."""
    if not any(one.reserve for one in problem.accounts):
        return np.zeros(len(problem), dtype=np.bool_)
    open_ = replace(problem, accounts=tuple(replace(one, reserve=0) for one in problem.accounts))
    more = served(open_, classes, Room(open_, classes, uses), order)
    return chosen(classes, more.first)


def _owners(problem: Problem, classes: Classes, k: int) -> list[int]:
    return [int(one) for one in np.flatnonzero(problem.groups[classes.group[k]])]


def _reserved(problem: Problem, classes: Classes, k: int, members: Ints) -> Drop:
    owners = [problem.accounts[one] for one in _owners(problem, classes, k) if problem.accounts[one].reserve]
    told = "; ".join(f"{one.id} holds {one.reserve} of {one.total} back" for one in owners)
    return Drop(
        reason="capacity.reserve", detail=told, would_fit_if=f"{len(members)} fewer were held back", members=members
    )


def _short(problem: Problem, classes: Classes, k: int, members: Ints, *, used: Ints, uses: tuple[int, ...]) -> Drop:
    mode, owners = Mode(int(classes.mode[k])), _owners(problem, classes, k)
    if classes.fixed[k] != NOWHERE:
        return _bound(problem, int(classes.fixed[k]), mode, members)
    if not owners:
        return Drop(
            reason="no_eligible_pool", detail="no account has a live token for it and carries its segment",
            would_fit_if="an account that carries it is added", members=members,
        )  # fmt: skip
    alive = [n for n in range(len(uses)) if problem.account_of[n] in owners and problem.alive[n]]
    if not alive:
        return Drop(
            reason="capacity.conn", detail="no connection of " + _names(problem, owners) + " lives",
            would_fit_if="a connection comes back", members=members,
        )  # fmt: skip
    if not any(problem.connections[n].uses[uses[n]].modes[mode] for n in alive):
        return Drop(
            reason="mode_unsupported", detail=f"{_names(problem, owners)} cannot carry {mode.name.lower()}",
            would_fit_if="a lower mode is asked for", members=members,
        )  # fmt: skip
    reasons, told = zip(*_tight(problem, owners, mode, used=used, uses=uses), strict=True)
    reason = next(one for one in RANKED if one in reasons)
    change = f"there were room for {len(members)} more in {_names(problem, owners)}"
    lower = _lower(problem, owners, mode, used=used, uses=uses) if reason == "capacity.mode" else None
    if lower is not None:
        change += f", or {min(lower[1], len(members))} of them were asked for as {lower[0].name.lower()}"
    return Drop(reason=reason, detail="; ".join(dict.fromkeys(told)), would_fit_if=change, members=members)


def _lower(
    problem: Problem, owners: list[int], mode: Mode, *, used: Ints, uses: tuple[int, ...]
) -> tuple[Mode, int] | None:
    """The highest lower mode that still has room where they could be, and for how many."""
    for lower in reversed([one for one in Mode if one < mode]):
        room = 0
        for number in owners:
            account = problem.accounts[number]
            mine = np.flatnonzero((problem.account_of == number) & problem.alive & ~problem.emptied).tolist()
            here = sum(
                min(
                    problem.connections[n].uses[uses[n]].total - int(used[n].sum()),
                    problem.connections[n].uses[uses[n]].modes[lower] - int(used[n, lower]),
                )
                for n in mine
            )
            everywhere = used[problem.account_of == number]
            if account.total is not None:
                here = min(here, account.total - account.reserve - int(everywhere.sum()))
            bound = account.modes[lower]
            if bound is not None:
                here = min(here, bound - int(everywhere[:, lower].sum()))
            room += max(0, here)
        if room:
            return lower, room
    return None


def _bound(problem: Problem, at: int, mode: Mode, members: Ints) -> Drop:
    """Who may be at one connection alone, where others come first."""
    connection = problem.connections[at]
    if problem.pinned[members].all():
        return Drop(
            reason="pin_conflict",
            detail=f"pinned to {connection.id}, where those who come first leave no room for {mode.name.lower()}",
            would_fit_if=f"{len(members)} were not pinned, or {connection.id} carried {len(members)} more",
            members=members,
        )
    return Drop(
        reason="capacity.conn",
        detail=f"nobody may move, and those who come first leave no room on {connection.id}",
        would_fit_if=f"they could move, or {connection.id} carried {len(members)} more",
        members=members,
    )


RANKED = ("capacity.account", "capacity.mode", "capacity.load", "capacity.conn")


def _used(problem: Problem, first: Ints, second: Ints) -> Ints:
    """How many of each mode every connection carries."""
    flat = [at[at != NOWHERE] * len(Mode) + problem.mode[at != NOWHERE] for at in (first, second)]
    return np.bincount(np.concatenate(flat), minlength=len(problem.connections) * len(Mode)).reshape(-1, len(Mode))


def _tight(
    problem: Problem, owners: list[int], mode: Mode, *, used: Ints, uses: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """What is full in each account that could carry somebody."""
    for number in owners:
        mine = np.flatnonzero((problem.account_of == number) & problem.alive).tolist()
        yield from _tight_in(problem, problem.accounts[number], mine, used[mine], mode=mode, uses=uses)


def _tight_in(
    problem: Problem, account: Account, mine: list[int], used: Ints, *, mode: Mode, uses: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    each, in_mode = used.sum(axis=1).tolist(), used[:, mode].tolist()
    total, here = sum(each), [problem.connections[n].uses[uses[n]] for n in mine]
    if account.total is not None and total >= account.total - account.reserve:
        yield "capacity.account", f"{account.id} carries {account.total - account.reserve} in all and is full"
    elif sum(in_mode) == (account.modes[mode] if account.modes[mode] is not None else NOWHERE):
        yield "capacity.mode", f"{account.id} carries {account.modes[mode]} as {mode.name.lower()} and is full"
    elif all(count >= use.total for count, use in zip(each, here, strict=True)):
        bounds = " + ".join(f"{times} x {size}" for size, times in _times([use.total for use in here]))
        yield "capacity.account", f"{account.id} has connections for {bounds} and all are full"
    elif all(count >= use.modes[mode] for count, use in zip(in_mode, here, strict=True)):
        yield "capacity.mode", f"{account.id} has no connection left for {mode.name.lower()}"
    elif any(problem.connections[n].load_max is not None for n in mine):
        yield "capacity.load", f"{account.id} has no connection for so many messages a second"
    else:
        yield "capacity.conn", f"{account.id} has room only where it cannot be carried"


def _times(sizes: list[int]) -> list[tuple[int, int]]:
    return [(size, sizes.count(size)) for size in dict.fromkeys(sizes)]


def _names(problem: Problem, owners: list[int]) -> str:
    return ", ".join(problem.accounts[one].id for one in owners)


def _merged(found: list[Drop]) -> Iterator[Drop]:
    """Drops that read alike are one."""
    together: dict[tuple[str, str], list[Drop]] = {}
    for one in found:
        together.setdefault((one.reason, one.detail), []).append(one)
    for same in together.values():
        members = np.sort(np.concatenate([one.members for one in same]))
        change = same[0].would_fit_if if len(same) == 1 else f"there were room for {len(members)} more"
        yield replace(same[0], members=members, would_fit_if=change)
