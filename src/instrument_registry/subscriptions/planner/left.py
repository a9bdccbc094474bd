"""What is left of every bound while places are taken and given back, by kind of instrument."""

import numpy as np

from instrument_registry.subscriptions.planner.model import Floats, Ints, Mode, Problem

ENDLESS = np.iinfo(np.int64).max // 4


class Left:
    """What is left of every bound."""

    def __init__(self, problem: Problem, uses: tuple[int, ...]) -> None:
        chosen = [one.uses[use] for one, use in zip(problem.connections, uses, strict=True)]
        self.account_of = problem.account_of
        self.total = np.array([one.total for one in chosen], dtype=np.int64) * problem.alive
        self.modes = np.array([one.modes for one in chosen], dtype=np.int64).reshape(-1, len(Mode))
        loads = [one.load_max for one in problem.connections]
        self.load: Floats = np.array([np.inf if one is None else one for one in loads])
        self.accounts = np.array(
            [ENDLESS if one.total is None else max(0, one.total - one.reserve) for one in problem.accounts],
            dtype=np.int64,
        )
        self.account_modes = np.array(
            [[ENDLESS if most is None else most for most in one.modes] for one in problem.accounts], dtype=np.int64
        ).reshape(-1, len(Mode))

    def room(self, mode: int, load: float) -> Ints:
        """How many more of one kind each connection could carry, its account aside."""
        most = np.minimum(self.total, self.modes[:, mode])
        if load > 0:
            by_load = np.minimum(np.floor(np.maximum(self.load, 0) / load + 1e-9), float(ENDLESS)).astype(np.int64)
            most = np.minimum(most, by_load)
        return np.asarray(np.maximum(most, 0), dtype=np.int64)

    def taken(self, wanted: Ints, most: int, mode: int, load: float) -> Ints:
        """Take at most so many here and there, together at most `most`; how many were."""
        got: Ints = np.minimum(wanted, self.room(mode, load))
        for account in np.unique(self.account_of[got > 0]).tolist():
            mine = self.account_of == account
            bound = min(int(self.accounts[account]), int(self.account_modes[account, mode]))
            before = np.cumsum(got[mine]) - got[mine]
            got[mine] = np.clip(bound - before, 0, got[mine])
        before = np.cumsum(got) - got
        got = np.asarray(np.clip(most - before, 0, got), dtype=np.int64)
        self.use(got, mode, load)
        return got

    def use(self, got: Ints, mode: int, load: float) -> None:
        """Count what was taken; what is negative is given back."""
        self.total -= got
        self.modes[:, mode] -= got
        self.load -= got * load
        mine = np.bincount(self.account_of, weights=got, minlength=len(self.accounts)).astype(np.int64)
        self.accounts -= mine
        self.account_modes[:, mode] -= mine
