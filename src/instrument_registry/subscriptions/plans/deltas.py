"""From what is live to what is planned, step by step, so that no bound is broken at any moment.

In each account: what is freed goes first, then lower modes, then what is new, then higher modes. A move is made before
it is broken: it goes at last, when the new place has it, unless both together would be more than a bound allows.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from instrument_registry.subscriptions.frames import Act
from instrument_registry.subscriptions.planner.model import Account, Mode, Use
from instrument_registry.subscriptions.plans.carrying import Carried, Load, Loads, Socket, digest_of

FREE, LOWER, NEW, HIGHER, BREAK = range(5)


@dataclass(frozen=True, slots=True)
class Item:
    """One instrument in a step; `before` is its mode until then, for a removal or a change."""

    instrument: int
    name: str
    mode: Mode
    before: Mode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is done on one connection at once; `after`: only when that account has come so far in its own steps."""

    socket: Socket
    act: Act
    items: tuple[Item, ...]
    digest_before: str
    digest_after: str
    after: tuple[str, int] | None = None  # account, and the number of its step in this delta
    breaks: bool = False  # it is gone here before it is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a connection may carry: the use that it is planned for."""

    account: Account
    use: Use
    alive: bool


@dataclass(slots=True)
class _Change:
    """One connection's part, before it is ordered."""

    removed: dict[int, Carried] = field(default_factory=dict)
    moved: dict[int, Carried] = field(default_factory=dict)  # removed last
    added: dict[int, Carried] = field(default_factory=dict)
    changed: dict[int, tuple[Carried, Carried]] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)


def delta(before: Loads, after: Loads, bounds: Mapping[Socket, Bound]) -> dict[str, list[Step]]:
    """The steps of every account, in their order; accounts for which nothing changes are left out."""
    changes = {socket: _change(before.get(socket, {}), after.get(socket, {})) for socket in {*before, *after}}
    changes = {socket: one for socket, one in changes.items() if one.removed or one.added or one.changed}
    _make_before_break(changes, before, bounds)
    stages: dict[str, list[tuple[int, Socket]]] = defaultdict(list)
    for socket in sorted(changes):
        for stage in range(5):
            stages[socket.account].append((stage, socket))
    there = _destinations(changes)
    steps: dict[str, list[Step]] = {}
    where: dict[tuple[str, int], int] = {}  # in which step of an account an instrument is added
    loads = {socket: dict(before.get(socket, {})) for socket in changes}
    digests = {socket: digest_of(load) for socket, load in loads.items()}
    for account in sorted(stages):
        mine: list[Step] = []
        for stage, socket in sorted(stages[account], key=lambda one: (one[0], one[1])):
            for act, items, goes, breaks in _parts(changes[socket], stage, socket, there):
                digest = _applied(loads[socket], act, items, after.get(socket, {}))
                if act is Act.ADD:
                    where |= {(account, one.instrument): len(mine) for one in items}
                mine.append(
                    Step(
                        socket=socket, act=act, items=items, digest_before=digests[socket], digest_after=digest,
                        after=(goes, -1) if goes is not None else None, breaks=breaks,
                    )
                )  # fmt: skip
                digests[socket] = digest
        if mine:
            steps[account] = mine
    return {account: [_placed(one, where) for one in mine] for account, mine in steps.items()}


def _change(old: Load, new: Load) -> _Change:
    change = _Change()
    for instrument, carried in old.items():
        other = new.get(instrument)
        if other is None or other.name != carried.name:
            change.removed[instrument] = carried
        elif other.mode is not carried.mode:
            change.changed[instrument] = (carried, other)
    for instrument, carried in new.items():
        known = old.get(instrument)
        if known is None or known.name != carried.name:
            change.added[instrument] = carried
    return change


def _make_before_break(changes: Mapping[Socket, _Change], before: Loads, bounds: Mapping[Socket, Bound]) -> None:
    """Let what goes elsewhere stay until it is there, where there is room for both."""
    arrives = Counter(instrument for one in changes.values() for instrument in one.added)
    for socket, change in changes.items():
        bound = bounds.get(socket)
        if bound is None or not bound.alive:
            continue
        for instrument in sorted(change.removed):
            if instrument in change.added or not arrives[instrument]:
                continue
            arrives[instrument] -= 1
            change.moved[instrument] = change.removed.pop(instrument)
    for socket, change in changes.items():
        if (bound := bounds.get(socket)) is not None:
            _fit(change, before.get(socket, {}), bound.use)
    for account in {bound.account.id: bound.account for bound in bounds.values()}.values():
        _fit_account(account, changes, before)


def _fit(change: _Change, old: Load, use: Use) -> None:
    """Break what must be broken for a connection's own bounds."""
    while not _fits(_peaks(change, old), use.total, use.modes):
        if change.moved:
            _break_one(change)
        elif change.changed:  # modes that change places: gone first, then there again
            for instrument, (carried, other) in change.changed.items():
                change.removed[instrument], change.added[instrument] = carried, other
                change.broken.add(instrument)
            change.changed.clear()
        else:
            return  # the plan itself is over the bound, which the checker says


def _fit_account(account: Account, changes: Mapping[Socket, _Change], before: Loads) -> None:
    total = None if account.total is None else account.total - account.reserve
    if total is None and all(mode is None for mode in account.modes):
        return
    sockets = [Socket(account.id, one.id) for one in account.connections]
    most = sum(len(before.get(socket, {})) for socket in sockets) if total is None else total
    modes = tuple(most if bound is None else bound for bound in account.modes)
    while True:
        peaks: list[Counter[Mode]] = [Counter(), Counter(), Counter(), Counter()]
        for socket in sockets:
            change = changes.get(socket)
            old = before.get(socket, {})
            each = _peaks(change, old) if change is not None else [Counter(one.mode for one in old.values())] * 4
            for sum_, part in zip(peaks, each, strict=True):
                sum_.update(part)
        if _fits(peaks, total, modes):
            return
        moving = next((changes[one] for one in sockets if one in changes and changes[one].moved), None)
        if moving is None:
            return
        _break_one(moving)


def _break_one(change: _Change) -> None:
    instrument = min(change.moved)
    change.removed[instrument] = change.moved.pop(instrument)
    change.broken.add(instrument)


def _peaks(change: _Change, old: Load) -> list[Counter[Mode]]:
    """How many of each mode a connection has after each stage but the last."""
    count = Counter(one.mode for one in old.values())
    count.subtract(one.mode for one in change.removed.values())
    peaks = [count.copy()]
    for lower in (True, None, False):
        if lower is None:
            count.update(one.mode for one in change.added.values())
        else:
            some = [pair for pair in change.changed.values() if (pair[1].mode < pair[0].mode) is lower]
            count.subtract(carried.mode for carried, _ in some)
            count.update(other.mode for _, other in some)
        peaks.append(count.copy())
    return peaks


def _fits(peaks: Iterable[Counter[Mode]], total: int | None, modes: Sequence[int]) -> bool:
    return all(
        (total is None or peak.total() <= total) and all(peak[mode] <= modes[mode] for mode in Mode)
        for peak in list(peaks)[1:]
    )


def _destinations(changes: Mapping[Socket, _Change]) -> dict[int, list[str]]:
    """To which accounts instruments come."""
    there: dict[int, list[str]] = defaultdict(list)
    for socket in sorted(changes):
        for instrument in changes[socket].added:
            there[instrument].append(socket.account)
    return there


def _parts(
    change: _Change, stage: int, socket: Socket, there: Mapping[int, Sequence[str]]
) -> Iterable[tuple[Act, tuple[Item, ...], str | None, bool]]:
    """What is done on a connection in one stage: act, items, the account it waits for, whether it breaks."""
    if stage in (FREE, BREAK):
        gone = change.removed if stage == FREE else change.moved
        by_goal: dict[tuple[str | None, bool], list[Item]] = defaultdict(list)
        for instrument, carried in sorted(gone.items()):
            goals = [] if stage == FREE else [one for one in there[instrument] if one != socket.account]
            goal = goals[0] if goals and socket.account not in there[instrument] else None
            by_goal[goal, instrument in change.broken].append(
                Item(instrument, carried.name, carried.mode, carried.mode)
            )
        for (goal, breaks), items in sorted(by_goal.items(), key=lambda one: (one[0][0] or "", one[0][1])):
            yield Act.REMOVE, tuple(items), goal, breaks
    elif stage == NEW:
        if change.added:
            added = sorted(change.added.items())
            yield Act.ADD, tuple(Item(number, one.name, one.mode) for number, one in added), None, False
    else:
        items = [
            Item(number, other.name, other.mode, carried.mode)
            for number, (carried, other) in sorted(change.changed.items())
            if (other.mode < carried.mode) is (stage == LOWER)
        ]
        if items:
            yield Act.MODE, tuple(items), None, False


def _applied(load: dict[int, Carried], act: Act, items: Sequence[Item], after: Load) -> str:
    for item in items:
        if act is Act.REMOVE:
            load.pop(item.instrument)
        else:
            load[item.instrument] = Carried(item.mode, item.name)
    return digest_of(load)


def _placed(step: Step, where: Mapping[tuple[str, int], int]) -> Step:
    """A step that waits for another account, with the number of that account's step."""
    if step.after is None:
        return step
    account = step.after[0]
    number = max(where[account, item.instrument] for item in step.items)
    return Step(
        socket=step.socket, act=step.act, items=step.items, digest_before=step.digest_before,
        digest_after=step.digest_after, after=(account, number), breaks=step.breaks,
    )  # fmt: skip
