"""A problem as JSON, everything that the solver saw, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from instrument_registry.errors import Invalid
from instrument_registry.subscriptions.planner.model import Account, Connection, Level, Problem, Use
from instrument_registry.subscriptions.planner.supposing import COLUMNS

VERSION = 1
BOOLS, FLOATS = ("pinned",), ("load",)


class NotAnInstance(Invalid):
    """Bring what `instance` wrote."""

    title = "This is no instance of the planner's problem"


def instance(problem: Problem, *, level: Level = Level.MODERATE) -> dict[str, Any]:
    """The problem in columns, by ascending id; a column that is the same for everybody is that one value."""
    return {
        "version": VERSION,
        "level": level.value,
        "accounts": [_account(one) for one in problem.accounts],
        "groups": problem.groups.astype(int).tolist(),
        "count": len(problem),
        "instruments": {name: _column(getattr(problem, name)) for name in COLUMNS},
        "counted_load": _column(problem.counted_load),
        "tier_ratio": problem.tier_ratio,
    }


def problem_of(given: Mapping[str, Any]) -> Problem:
    """The problem that was written; Raises: NotAnInstance."""
    try:
        if given["version"] != VERSION:
            raise NotAnInstance(f"Version {given['version']!r} is not known", field="version", remedy=f"use {VERSION}")
        columns = {name: _values(name, given["instruments"][name], given["count"]) for name in COLUMNS}
        accounts = tuple(_account_of(one) for one in given["accounts"])
        groups = np.asarray(given["groups"], dtype=np.bool_).reshape(-1, len(accounts))
        return Problem(accounts=accounts, groups=groups, **columns)
    except (KeyError, TypeError, ValueError) as error:
        raise NotAnInstance(f"Something is missing or is of the wrong kind: {error}", field="instance") from error


def _account(account: Account) -> dict[str, Any]:
    return {
        "id": account.id, "broker": account.broker, "total": account.total, "modes": list(account.modes),
        "reserve": account.reserve,
        "connections": [
            {
                "id": one.id, "alive": one.alive, "draining": one.draining, "used_as": one.used_as,
                "load_max": one.load_max,
                "uses": [{"name": use.name, "total": use.total, "modes": list(use.modes)} for use in one.uses],
            }
            for one in account.connections
        ],
    }  # fmt: skip


def _account_of(given: Mapping[str, Any]) -> Account:
    ltp, quote, full = given["modes"]
    return Account(
        id=given["id"], broker=given["broker"], total=given["total"], modes=(ltp, quote, full),
        reserve=given["reserve"],
        connections=tuple(
            Connection(
                id=one["id"], alive=one["alive"], draining=one["draining"], used_as=one["used_as"],
                load_max=one["load_max"],
                uses=tuple(Use(use["name"], use["total"], tuple(use["modes"])) for use in one["uses"]),
            )
            for one in given["connections"]
        ),
    )  # fmt: skip


def _column(values: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - a list, or one value
    if len(values) and (values == values[0]).all():
        return values[0].item()
    return values.tolist()


def _values(name: str, given: Any, count: int) -> npt.NDArray[Any]:  # noqa: ANN401 - as written
    kind = np.bool_ if name in BOOLS else np.float64 if name in FLOATS else np.int64
    values: npt.NDArray[Any] = np.asarray(given, dtype=kind)
    if values.ndim and len(values) != count:
        raise NotAnInstance(f"{name} has {len(values)} values of {count}", field=name)
    return np.full(count, values) if values.ndim == 0 else values
