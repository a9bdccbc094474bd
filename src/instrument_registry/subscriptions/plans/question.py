"""What the planner is asked: demand, what the catalogue says of it, what accounts can carry, and what is live."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache

import numpy as np

from instrument_registry.catalog.calendars import CalendarUnknown, expiry_instant
from instrument_registry.catalog.wire import WireRow
from instrument_registry.subscriptions.capacity.standing import AccountStanding, Standing
from instrument_registry.subscriptions.demand.model import Demand
from instrument_registry.subscriptions.frames import CODECS
from instrument_registry.subscriptions.frames.names import segment_on_wire
from instrument_registry.subscriptions.planner.model import NOWHERE, TIERS, Account, Bools, Ints, Mode, Problem
from instrument_registry.subscriptions.plans.content import Content
from instrument_registry.subscriptions.plans.model import Excluded

BUILD = "1"  # of what is made of a question: another one is another question
INDEX = ";IDX"  # how the key of an index ends
LAST_TIER = TIERS - 1
MODES = tuple(Mode)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A problem and the names of what is in it; `edge` is when the same demand becomes another question."""

    problem: Problem
    rows: tuple[WireRow, ...]
    accounts: tuple[AccountStanding, ...]
    excluded: Mapping[Excluded, tuple[int, ...]]
    lingers: Bools  # wanted no more, and carried for a moment where there is room
    retired: int  # live on connections that are no more
    edge: datetime | None
    digest: str

    def name(self, place: int, connection: int) -> str:
        """What the broker of a connection calls an instrument: `segment|token`; empty for no connection."""
        if connection == NOWHERE or place >= len(self.rows):
            return ""
        return name_of(self.rows[place], self.accounts[int(self.problem.account_of[connection])]) or ""


def compose(
    demand: Demand,
    rows: Mapping[int, WireRow],
    standing: Standing,
    *,
    live: Content | None,
    lingering: Mapping[int, int],
    at: datetime,
    options: str,
) -> Question:
    """The question of a moment; `lingering`: modes of what is live and wanted no more, or less, for a moment yet."""
    demand, lingers = _with_lingering(demand, lingering)
    accounts = standing.accounts
    groups: dict[tuple[bool, ...], int] = {}
    carried: dict[object, tuple[bool, ...]] = {}  # rows alike in market and names are carried alike
    excluded: dict[Excluded, list[int]] = {}
    keep, group = [], []
    edge = demand.next_edge
    for place, (number, mode) in enumerate(zip(demand.ids.tolist(), demand.mode.tolist(), strict=True)):
        row = rows.get(number)
        ends = None if row is None else _ends(row)
        why = _excluded(row, ends, at=at)
        can: tuple[bool, ...] = ()
        if why is None and row is not None:
            alike = (
                row.venue,
                mode,
                _index(row),
                tuple((broker, token.segment) for broker, token in row.tokens.items()),
            )
            if alike not in carried:
                carried[alike] = tuple(_carries(one, row, MODES[mode]) for one in accounts)
            can = carried[alike]
            if not any(can):
                known = any(one.tokens in row.tokens for one in accounts)
                why = Excluded.NOWHERE if known else Excluded.UNRESOLVED
        if why is not None:
            if not lingers[place]:
                excluded.setdefault(why, []).append(number)
            continue
        if ends is not None and (edge is None or ends < edge):
            edge = ends
        keep.append(place)
        group.append(groups.setdefault(can, len(groups)))
    problem, retired = _problem(
        demand, np.array(keep, dtype=np.int64), standing, live, groups=list(groups), group=group
    )
    kept = tuple(rows[int(number)] for number in problem.ids)
    found = Question(
        problem=problem, rows=kept, accounts=accounts, lingers=lingers[keep], retired=retired, edge=edge, digest="",
        excluded={reason: tuple(ids) for reason, ids in sorted(excluded.items())},
    )  # fmt: skip
    return replace(found, digest=_digest(found, standing, options))


def name_of(row: WireRow, account: AccountStanding) -> str | None:
    """What an account's socket calls an instrument; None where it cannot be told."""
    token = row.tokens.get(account.tokens)
    segment = None if token is None else segment_on_wire(account.broker, token.segment, index=_index(row))
    return None if token is None or segment is None else f"{segment}|{token.token}"


def _index(row: WireRow) -> bool:
    return row.key is not None and row.key.endswith(INDEX)


def lives(row: WireRow, *, at: datetime) -> bool:
    """Whether an instrument can be carried at all at a moment."""
    return _excluded(row, _ends(row), at=at) is None


def dumps_of(standing: Standing) -> set[str]:
    """Whose tokens are needed."""
    return {one.tokens for one in standing.accounts}


def _with_lingering(demand: Demand, lingering: Mapping[int, int]) -> tuple[Demand, Bools]:
    """Demand and behind it what lingers: last of the lowest tier, or in the mode that is live."""
    if not lingering:
        return demand, np.zeros(len(demand), dtype=np.bool_)
    wanted = set(demand.ids.tolist())
    modes = np.array(
        [max(mode, lingering.get(one, 0)) for one, mode in zip(demand.ids.tolist(), demand.mode.tolist(), strict=True)]
    )
    more = np.array(sorted(set(lingering) - wanted), dtype=np.int64)
    last = int(demand.order.max(initial=0)) + 1
    ids = np.concatenate([demand.ids, more])
    turn = np.argsort(ids, kind="stable")

    def column(values: Ints, rest: object) -> Ints:
        return np.concatenate([values, np.broadcast_to(np.asarray(rest, dtype=values.dtype), len(more))])[turn]

    joined = Demand(
        ids=ids[turn], mode=column(modes, [lingering[int(one)] for one in more] or 0),
        tier=column(demand.tier, LAST_TIER),
        order=column(demand.order, last), wanted_by=column(demand.wanted_by, 0), copies=column(demand.copies, 1),
        pinned=column(demand.pinned, False), digest=demand.digest, next_edge=demand.next_edge,  # type: ignore[arg-type]
    )  # fmt: skip
    return joined, np.concatenate([np.zeros(len(demand), np.bool_), np.ones(len(more), np.bool_)])[turn]


def _excluded(row: WireRow | None, ends: datetime | None, *, at: datetime) -> Excluded | None:
    if row is None:
        return Excluded.UNKNOWN
    if not row.listed or (ends is not None and ends <= at):
        return Excluded.EXPIRED if row.expiry is not None or not row.listed else Excluded.INACTIVE
    if row.suspended:
        return Excluded.INACTIVE
    return None if row.streamable else Excluded.POLLED


def _ends(row: WireRow) -> datetime | None:
    return (
        None
        if row.expiry is None or row.venue is None or row.root is None
        else _instant(row.venue, row.root, row.expiry)
    )


@lru_cache(maxsize=20_000)
def _instant(venue: str, root: str, expiry: date) -> datetime | None:
    try:
        return expiry_instant(venue, root, expiry)
    except CalendarUnknown:
        return None


def _carries(one: AccountStanding, row: WireRow, mode: Mode) -> bool:
    if one.broker not in CODECS or row.venue is None or not one.can_carry(row.venue, mode):
        return False
    return name_of(row, one) is not None


def _problem(
    demand: Demand,
    keep: Ints,
    standing: Standing,
    live: Content | None,
    *,
    groups: list[tuple[bool, ...]],
    group: list[int],
) -> tuple[Problem, int]:
    """The problem of those who can be carried, and how many live on connections that are no more."""
    accounts = tuple(_used(one.account, live) for one in standing.accounts)
    ids = demand.ids[keep]
    places, others, retired = _living(ids, accounts_of(standing), live)
    found = Problem(
        accounts=accounts,
        groups=np.array(groups, dtype=np.bool_).reshape(len(groups), len(accounts)),
        ids=ids,
        mode=demand.mode[keep],
        tier=demand.tier[keep],
        order=demand.order[keep],
        group=np.array(group, dtype=np.int64),
        live=places,
        second=others,
        copies=demand.copies[keep],
        pinned=demand.pinned[keep],
        load=np.zeros(len(keep)),
    )
    return found, retired


def _used(account: Account, live: Content | None) -> Account:
    """An account whose connections tell how they are used by what is live."""
    if live is None:
        return account
    uses = dict(zip(live.sockets, live.plan.uses, strict=True))
    connections = []
    for one in account.connections:
        use = uses.get((account.id, one.id))
        known = use is not None and one.alive and use < len(one.uses)
        connections.append(replace(one, used_as=use) if known else one)
    return replace(account, connections=tuple(connections))


def accounts_of(standing: Standing) -> dict[tuple[str, str], int]:
    """The number of each connection by its account and name, as the planner counts them."""
    names = [(one.account.id, connection.id) for one in standing.accounts for connection in one.account.connections]
    return {name: number for number, name in enumerate(names)}


def _living(ids: Ints, numbers: Mapping[tuple[str, str], int], live: Content | None) -> tuple[Ints, Ints, int]:
    """Where instruments live now, in the numbers of the connections of now."""
    nowhere = np.full(len(ids), NOWHERE, dtype=np.int64)
    if live is None or not len(live.problem):
        return nowhere, nowhere.copy(), 0
    number = np.array(
        [*(numbers.get(one, NOWHERE) for one in live.sockets), NOWHERE], dtype=np.int64
    )  # NOWHERE stays so
    known = np.minimum(np.searchsorted(live.problem.ids, ids), len(live.problem) - 1)
    there = live.problem.ids[known] == ids
    places = np.where(there, number[live.at[known]], NOWHERE)
    others = np.where(there, number[live.second[known]], NOWHERE)
    retired = int((there & (live.at[known] != NOWHERE) & (places == NOWHERE)).sum())
    return places, others, retired


def _digest(question: Question, standing: Standing, options: str) -> str:
    """Of everything an answer depends on: the same digest has the same answer."""
    problem = question.problem
    digest = hashlib.sha256(f"{BUILD}|{standing.version}|{options}".encode())
    digest.update(repr(problem.accounts).encode())
    for values in (
        problem.ids, problem.mode, problem.tier, problem.order, problem.group, problem.live, problem.second,
        problem.copies, problem.pinned, problem.groups, question.lingers,
    ):  # fmt: skip
        digest.update(np.ascontiguousarray(values).tobytes())
    for row in question.rows:
        digest.update(f"{row.ulid}{sorted(row.tokens.items())}".encode())
    digest.update(repr(sorted(question.excluded.items())).encode())
    return digest.hexdigest()
