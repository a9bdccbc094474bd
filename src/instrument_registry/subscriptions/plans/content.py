"""All of a plan as it is kept: what was asked, who goes where and why, by which token; arrays, packed."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from instrument_registry.subscriptions.planner.model import (
    NOWHERE,
    Account,
    Bools,
    Drop,
    Ended,
    Ints,
    Level,
    Plan,
    Problem,
    Quality,
)
from instrument_registry.subscriptions.plans.model import Excluded

INTS = ("ids", "mode", "tier", "order", "group", "live", "second", "copies")
TEXTS = ("ulids", "keys", "names", "second_names")
FAST = 1  # of zlib: a tenth of the time of the best for a fifth more bytes


@dataclass(frozen=True, kw_only=True)
class Content:
    """A problem and the plan that answers it, and what sockets are told.

    `names[i]` is what the broker of the first copy's account calls the i-th instrument, as `segment|token`; empty
    where nobody carries it; `second_names` of the second copy. `lingers` marks who is wanted no more.
    """

    problem: Problem
    plan: Plan
    ulids: Sequence[str]
    keys: Sequence[str]
    names: Sequence[str]
    second_names: Sequence[str]
    lingers: Bools
    excluded: Mapping[Excluded, tuple[int, ...]]

    @property
    def at(self) -> Ints:
        """The connection of each first copy."""
        return self.plan.at

    @property
    def second(self) -> Ints:
        """The connection of each second copy."""
        return self.plan.second

    @cached_property
    def sockets(self) -> list[tuple[str, str]]:
        """Account and name of each connection."""
        return [(account.id, one.id) for account in self.problem.accounts for one in account.connections]

    @cached_property
    def places(self) -> dict[int, int]:
        """Where each instrument stands in the arrays, by its number."""
        return {int(one): place for place, one in enumerate(self.problem.ids)}

    @cached_property
    def called(self) -> dict[int, tuple[str, str]]:
        """Permanent id and key of each instrument by its number."""
        return dict(zip(self.problem.ids.tolist(), zip(self.ulids, self.keys, strict=True), strict=True))

    @cached_property
    def why(self) -> dict[int, Drop]:
        """Why instruments are not served, by their places."""
        return {int(place): drop for drop in self.plan.drops for place in drop.members}

    @cached_property
    def digest(self) -> str:
        """Of who is where in which mode: two plans that lead to the same have the same."""
        digest = hashlib.sha256()
        for name, at in (("1", self.at), ("2", self.second)):
            for place in np.flatnonzero(at != NOWHERE).tolist():
                account, connection = self.sockets[int(at[place])]
                mode = int(self.problem.mode[place])
                digest.update(f"{name}|{self.problem.ids[place]}|{account}|{connection}|{mode}\n".encode())
        return digest.hexdigest()


class _Why(msgspec.Struct, frozen=True, array_like=True):
    reason: str
    detail: str
    would_fit_if: str | None
    members: bytes


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    accounts: tuple[Account, ...]
    groups: list[list[bool]]
    ints: dict[str, bytes]
    bits: dict[str, bytes]
    load: bytes
    uses: tuple[int, ...]
    quality: Quality
    level: Level
    ended: Ended
    served_bound: tuple[float, ...]
    drops: list[_Why]
    degraded: list[_Why]
    texts: dict[str, str]
    excluded: dict[str, tuple[int, ...]]


def packed(content: Content) -> bytes:
    """As bytes to be stored."""
    problem, plan = content.problem, content.plan
    ints = {name: _bytes(getattr(problem, name)) for name in INTS}
    bits = {"pinned": problem.pinned, "lingers": content.lingers, "moved": plan.moved, "forced": plan.forced}
    whole = _Packed(
        accounts=problem.accounts,
        groups=problem.groups.tolist(),
        ints=ints | {"at": _bytes(plan.at), "other": _bytes(plan.second)},
        bits={name: np.packbits(values).tobytes() for name, values in bits.items()},
        load=_bytes(problem.load),
        uses=tuple(plan.uses),
        quality=plan.quality,
        level=plan.level,
        ended=plan.ended,
        served_bound=tuple(float(one) for one in plan.served_bound),
        drops=_whys(plan.drops),
        degraded=_whys(plan.degraded),
        texts={name: "\n".join(getattr(content, name)) for name in TEXTS},
        excluded={reason.value: ids for reason, ids in content.excluded.items()},
    )
    return zlib.compress(msgspec.msgpack.encode(whole), FAST)


def unpacked(stored: bytes) -> Content:
    """As it was before it was stored."""
    whole = msgspec.msgpack.decode(zlib.decompress(stored), type=_Packed)
    ints = {name: _array(data) for name, data in whole.ints.items()}
    count = len(ints["ids"])
    bits = {name: _bits(data, count) for name, data in whole.bits.items()}
    problem = Problem(
        accounts=whole.accounts,
        groups=np.array(whole.groups, dtype=np.bool_).reshape(len(whole.groups), len(whole.accounts)),
        **{name: ints[name] for name in INTS},
        pinned=bits["pinned"],
        load=np.frombuffer(whole.load, dtype=np.float64),
    )
    plan = Plan(
        at=ints["at"], second=ints["other"], uses=whole.uses, drops=_drops(whole.drops), quality=whole.quality,
        served_bound=whole.served_bound, moved=bits["moved"], forced=bits["forced"],
        degraded=_drops(whole.degraded), level=whole.level, ended=whole.ended,
    )  # fmt: skip
    texts = {name: text.split("\n") if count else [] for name, text in whole.texts.items()}
    excluded = {Excluded(reason): ids for reason, ids in whole.excluded.items()}
    return Content(problem=problem, plan=plan, lingers=bits["lingers"], excluded=excluded, **texts)


def _whys(drops: Sequence[Drop]) -> list[_Why]:
    return [_Why(one.reason, one.detail, one.would_fit_if, _bytes(one.members.astype(np.int64))) for one in drops]


def _drops(whys: Sequence[_Why]) -> tuple[Drop, ...]:
    return tuple(
        Drop(reason=one.reason, detail=one.detail, would_fit_if=one.would_fit_if, members=_array(one.members))
        for one in whys
    )


def _bytes(values: npt.NDArray[np.generic]) -> bytes:
    return np.ascontiguousarray(values).tobytes()


def _array(data: bytes) -> Ints:
    return np.frombuffer(data, dtype=np.int64)


def _bits(data: bytes, count: int) -> Bools:
    return np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=count).astype(np.bool_)
