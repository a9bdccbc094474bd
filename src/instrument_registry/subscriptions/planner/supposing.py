"""Other problems than the one there is: what if an account were lost, a limit were higher, more were wanted."""

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt

from instrument_registry.errors import NotFound
from instrument_registry.subscriptions.planner.model import NOWHERE, Account, Bools, Connection, Mode, Problem, Use

COLUMNS = ("ids", "mode", "tier", "order", "group", "live", "second", "copies", "pinned", "load")


class UnknownAccount(NotFound):
    """Name one that there is."""

    title = "There is no account of this name"


def without_account(problem: Problem, name: str) -> Problem:
    """All connections of an account are lost: whoever lives there must go elsewhere; Raises: UnknownAccount."""
    account = _account(problem, name)
    return _with(problem, replace(account, connections=tuple(replace(one, alive=False) for one in account.connections)))


def without_connection(problem: Problem, connection: str) -> Problem:
    """One connection is lost; Raises: UnknownAccount when no account has it."""
    owner = next((one for one in problem.accounts if any(c.id == connection for c in one.connections)), None)
    if owner is None:
        raise UnknownAccount(f"No account has a connection {connection[:100]!r}", field="connection")
    left = tuple(replace(one, alive=one.alive and one.id != connection) for one in owner.connections)
    return _with(problem, replace(owner, connections=left))


def with_limit(problem: Problem, name: str, total: int) -> Problem:
    """Every connection of an account carries so many; Raises: UnknownAccount.

    A bound of a mode that was the whole connection's grows with it, others stay. The account's own total, where it
    was no more than what its connections carry together, is what they carry then.
    """
    account = _account(problem, name)
    before = sum(max(use.total for use in one.uses) for one in account.connections)
    connections = tuple(
        replace(one, uses=tuple(_with_total(use, total) for use in one.uses)) for one in account.connections
    )
    own = account.total if account.total is None or account.total < before else total * len(connections)
    return _with(problem, replace(account, connections=connections, total=own))


def with_connections(problem: Problem, name: str, more: int) -> Problem:
    """An account has so many more connections, like its last, with nothing on them; Raises: UnknownAccount."""
    account = _account(problem, name)
    like = account.connections[-1]
    added = tuple(Connection(id=f"{like.id}+{n + 1}", uses=like.uses, load_max=like.load_max) for n in range(more))
    places = problem.account_of <= problem.accounts.index(account)  # connections after them are numbered anew
    moved = np.where(places, np.arange(len(places)), np.arange(len(places)) + more)
    live, second = (np.where(at == NOWHERE, NOWHERE, moved[at]) for at in (problem.live, problem.second))
    grown = replace(account, connections=(*account.connections, *added))
    return replace(_with(problem, grown), live=live, second=second)


def with_more(
    problem: Problem, count: int, *, mode: Mode, tier: int, group: int | None = None, load: float = 0.0
) -> Problem:
    """So many more instruments are wanted, the last of their tier; without a group whatever most accounts carry."""
    which = int(problem.groups.sum(axis=1).argmax()) if group is None else group
    first_id, first_turn = int(problem.ids.max(initial=0)) + 1, int(problem.order.max(initial=0)) + 1
    number = np.arange(count)
    columns: dict[str, npt.ArrayLike] = {
        "ids": first_id + number, "mode": np.full(count, int(mode)), "tier": np.full(count, tier),
        "order": first_turn + number, "group": np.full(count, which), "live": np.full(count, NOWHERE),
        "second": np.full(count, NOWHERE), "copies": np.ones(count, np.int64), "pinned": np.zeros(count, np.bool_),
        "load": np.full(count, load),
    }  # fmt: skip
    return _columns(problem, {name: np.append(getattr(problem, name), more) for name, more in columns.items()})


def without(problem: Problem, ids: Sequence[int] | npt.ArrayLike) -> Problem:
    """Some are not wanted any more, as those that expire."""
    return only(problem, ~np.isin(problem.ids, np.asarray(ids, dtype=np.int64)))


def only(problem: Problem, chosen: Bools) -> Problem:
    """A part of the demand."""
    return _columns(problem, {name: getattr(problem, name)[chosen] for name in COLUMNS})


def _columns(problem: Problem, columns: dict[str, npt.NDArray[np.generic]]) -> Problem:
    return Problem(accounts=problem.accounts, groups=problem.groups, **columns)  # type: ignore[arg-type]


def _account(problem: Problem, name: str) -> Account:
    found = next((one for one in problem.accounts if one.id == name), None)
    if found is not None:
        return found
    names = [one.id for one in problem.accounts]
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    remedy = f"Did you mean {near[0]}?" if near else f"There are {', '.join(names[:20]) or 'none'}"
    raise UnknownAccount(f"There is no account {name[:100]!r}. {remedy}", field="account", remedy=remedy)


def _with(problem: Problem, account: Account) -> Problem:
    return replace(problem, accounts=tuple(account if one.id == account.id else one for one in problem.accounts))


def _with_total(use: Use, total: int) -> Use:
    ltp, quote, full = (total if most >= use.total else min(most, total) for most in use.modes)
    return Use(use.name, total, (ltp, quote, full))
