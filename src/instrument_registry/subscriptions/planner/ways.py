"""A plan as a network: who could go where, and who would have to yield.

One more of a kind enters an account's mode, goes on to that mode of one of its connections, to the connection, to the
account. What is full sends somebody back who came this way: to another connection, or out. Who is bound to one
connection, or lives where nobody else may come, enters there.
"""

from collections import deque
from collections.abc import Iterator

import numpy as np

from instrument_registry.subscriptions.planner.model import NOWHERE, TIERS, Bools, Ints, Mode, Plan, Problem

FREE = -1
MODES = len(Mode)


def used_by_mode(problem: Problem, plan: Plan) -> Ints:
    """How many copies of each mode every connection carries."""
    flat = [places[places != NOWHERE] * MODES + problem.mode[places != NOWHERE] for places in (plan.at, plan.second)]
    return np.bincount(np.concatenate(flat), minlength=len(problem.connections) * MODES).reshape(-1, MODES)


def kinds_of(problem: Problem) -> tuple[Ints, Ints]:
    """Mode, tier, group, own connection, whether bound to it, copies, of each kind of instrument; the kind of each."""
    own = np.where(problem.lives & (problem.pinned | problem.leaving), problem.live, NOWHERE)
    bound = (own != NOWHERE) & problem.pinned
    key = np.zeros(len(problem), dtype=np.int64)
    for column in (problem.mode, problem.tier, problem.group, own + 1, bound.astype(np.int64), problem.copies):
        key = key * (int(column.max(initial=0)) + 1) + column
    _, first, kind_of = np.unique(key, return_index=True, return_inverse=True)
    columns = np.stack([problem.mode, problem.tier, problem.group, own, bound, problem.copies], axis=1)
    return columns[first], kind_of.ravel()


class Ways:
    """Nodes are kinds, modes of accounts, modes of connections, connections, accounts; numbered in this order."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        count, accounts = len(problem.connections), len(problem.accounts)
        kinds, kind_of = kinds_of(problem)
        self._kinds, self._count, self._accounts = len(kinds), count, accounts
        self._account_of = problem.account_of.tolist()
        chosen = [one.uses[use] for one, use in zip(problem.connections, plan.uses, strict=True)]
        self._modes = np.array([one.modes for one in chosen], dtype=np.int64).reshape(-1, MODES)
        used = used_by_mode(problem, plan)
        there = plan.at != NOWHERE
        carried = np.bincount(kind_of[there] * count + plan.at[there], minlength=len(kinds) * count)
        self._carried = carried.reshape(len(kinds), count) > 0
        self._open = self._opened(problem, used, np.array([one.total for one in chosen]))
        self._mode_of, self._own, self._bound = kinds[:, 0].tolist(), kinds[:, 3].tolist(), kinds[:, 4].tolist()
        self._copies = kinds[:, 5].tolist()
        self._groups = problem.groups[kinds[:, 2]] if len(kinds) else np.zeros((0, accounts), dtype=np.bool_)
        self._usable = problem.alive & ~problem.emptied
        loose = np.array([not bound for bound in self._bound], dtype=np.bool_)
        # Of each mode on each connection: whether somebody is there who may go to another of the same account.
        self._loose = (
            np.stack([self._carried[loose & (kinds[:, 0] == mode)].any(axis=0) for mode in range(MODES)], axis=1)
            & self._usable[:, None]
        )
        self._some = used > 0
        self._of_account = [np.flatnonzero(problem.account_of == one).tolist() for one in range(accounts)]
        # Of each kind, the one who was to be served first and is not, and the last who is.
        turns = np.lexsort((problem.ids, problem.order))
        self.first_dropped = _first(kind_of, turns[~there[turns]], len(kinds))
        self.last_served = _first(kind_of, turns[there[turns]][::-1], len(kinds))

    def _opened(self, problem: Problem, used: Ints, total: Ints) -> list[bool]:
        """By node after the kinds: whether one more could be there."""
        owner, accounts = problem.account_of, len(problem.accounts)
        by_mode = np.zeros((accounts, MODES), dtype=np.int64)
        np.add.at(by_mode, owner, used)
        infinite = np.inf
        modes = np.array([[infinite if most is None else most for most in one.modes] for one in problem.accounts])
        totals = np.array([infinite if one.total is None else one.total - one.reserve for one in problem.accounts])
        opened: list[bool] = np.concatenate(
            [
                (by_mode < modes.reshape(-1, MODES)).ravel(),
                ((used < self._modes) & problem.alive[:, None]).ravel(),
                used.sum(axis=1) < total,
                by_mode.sum(axis=1) < totals,
            ]
        ).tolist()
        return opened

    def from_kind(self, kind: int) -> Iterator[int]:
        """Every kind of which one could go for one more of this kind; FREE when there is room."""
        seen, queue = {kind}, deque([kind])
        while queue:
            node = queue.popleft()
            if node < self._kinds and node != kind and self.last_served[node] != NOWHERE:
                yield node
            for onward in self._onward(node, kind):
                if onward == FREE:
                    yield FREE
                    return
                if onward not in seen:
                    seen.add(onward)
                    queue.append(onward)

    def _onward(self, node: int, kind: int) -> Iterator[int]:
        """Where one more can go from here: on where there is room, or back to whoever came this way and may yield."""
        account_modes, modes = self._kinds, self._kinds + self._accounts * MODES
        connections, accounts = modes + self._count * MODES, modes + self._count * (MODES + 1)
        if node < account_modes:
            if node == kind or self._copies[node] == 1:  # the other copy may be where it would go
                yield from self._from(node)
        elif node < modes:
            account, mode = divmod(node - account_modes, MODES)
            mine = [at for at in self._of_account[account] if self._usable[at]]
            yield from self._kinds_in(mine, mode)
            if self._open[node - self._kinds]:
                yield from (modes + at * MODES + mode for at in mine if self._modes[at, mode] > 0)
        elif node < connections:
            at, mode = divmod(node - modes, MODES)
            yield from (k for k in self._kinds_in([at], mode) if self._own[k] == at)
            if self._loose[at, mode]:
                yield account_modes + self._account_of[at] * MODES + mode
            if self._open[node - self._kinds]:
                yield connections + at
        elif node < accounts:
            at = node - connections
            yield from (modes + at * MODES + mode for mode in range(MODES) if self._some[at, mode])
            if self._open[node - self._kinds]:
                yield accounts + self._account_of[at]
        else:
            account = node - accounts
            yield from (connections + at for at in self._of_account[account] if self._some[at].any())
            if self._open[node - self._kinds]:
                yield FREE

    def _from(self, kind: int) -> Iterator[int]:
        """Where one of a kind enters."""
        mode, own = self._mode_of[kind], self._own[kind]
        if own != NOWHERE and self._modes[own, mode] > 0:
            yield from self._kinds_in([own], mode)
            if self._open[self._account_of[own] * MODES + mode]:
                yield self._kinds + self._accounts * MODES + own * MODES + mode
        if not self._bound[kind]:
            for account in np.flatnonzero(self._groups[kind]).tolist():
                yield self._kinds + account * MODES + mode

    def _kinds_in(self, places: list[int], mode: int) -> list[int]:
        """Which kinds of a mode are in some places."""
        found = np.asarray(self._carried[:, places].any(axis=1))
        return [k for k in np.flatnonzero(found).tolist() if self._mode_of[k] == mode]


def _first(kind_of: Ints, turns: Ints, count: int) -> Ints:
    """The first of each kind in an order, NOWHERE where there is none."""
    found = np.full(count, NOWHERE, dtype=np.int64)
    found[kind_of[turns[::-1]]] = turns[::-1]
    return found


def without_chains(problem: Problem, plan: Plan) -> Iterator[tuple[int, int]]:
    """Where messages are bounded: who is dropped though one place is free, or held by one of a lower tier alone.

    Pairs of who is dropped and who would have to go, NOWHERE for nobody.
    """
    owner, used = problem.account_of, used_by_mode(problem, plan)
    chosen = [one.uses[use] for one, use in zip(problem.connections, plan.uses, strict=True)]
    by_mode = np.zeros((len(problem.accounts), MODES), dtype=np.int64)
    np.add.at(by_mode, owner, used)
    load = np.zeros(len(owner))
    for places in (plan.at, plan.second):
        load += np.bincount(
            places[places != NOWHERE], weights=problem.counted_load[places != NOWHERE], minlength=len(owner)
        )
    out, heaviest = np.flatnonzero(plan.at == NOWHERE), _heaviest(problem, plan)
    for one in _lightest(problem, out).tolist():
        mode, tier, weight = int(problem.mode[one]), int(problem.tier[one]), float(problem.counted_load[one])
        for at in np.flatnonzero(_may(problem, one)).tolist():
            account = problem.accounts[owner[at]]
            most = problem.connections[at].load_max
            slack = np.inf if most is None else most - load[at] + 1e-9
            tight_mode = bool(
                used[at, mode] >= chosen[at].modes[mode] or _full(account.modes[mode], int(by_mode[owner[at], mode]))
            )
            total = account.total if account.total is None else account.total - account.reserve
            tight = tight_mode or used[at].sum() >= chosen[at].total or _full(total, by_mode[owner[at]].sum())
            if not chosen[at].modes[mode]:
                continue
            if not tight and weight <= slack:
                yield one, NOWHERE
                break
            there = heaviest[at, [mode] if tight_mode else slice(None), tier + 1 :].ravel()
            enough = [who for who in there.tolist() if who != NOWHERE and problem.counted_load[who] + slack >= weight]
            if enough:
                yield one, enough[0]
                break


def _heaviest(problem: Problem, plan: Plan) -> Ints:
    """By connection, mode and tier: who brings most messages of those with one copy, NOWHERE for nobody."""
    there = np.flatnonzero((plan.at != NOWHERE) & (problem.copies == 1))
    there = there[np.argsort(problem.counted_load[there], kind="stable")]
    found = np.full((len(problem.connections), MODES, TIERS), NOWHERE, dtype=np.int64)
    found[plan.at[there], problem.mode[there], problem.tier[there]] = there  # the last of each is the heaviest
    return found


def _full(most: int | None, used: int) -> bool:
    return most is not None and used >= most


def _may(problem: Problem, one: int) -> Bools:
    own = np.arange(len(problem.connections)) == (problem.live[one] if problem.lives[one] else NOWHERE)
    right = problem.groups[problem.group[one]][problem.account_of] & problem.alive & (~problem.emptied | own)
    return np.asarray(right & own if problem.pinned[one] and problem.lives[one] else right, dtype=np.bool_)


def _lightest(problem: Problem, out: Ints) -> Ints:
    """Of all that are out and alike, the one that is placed most easily."""
    kinds, kind_of = kinds_of(problem)
    order = out[np.lexsort((problem.ids[out], problem.copies[out], problem.counted_load[out]))]
    order = order[problem.copies[order] == 1]
    found = _first(kind_of, order, len(kinds))
    return np.asarray(found[found != NOWHERE], dtype=np.int64)
