"""What a plan costs and how good it is: 10,000, 100,000 and a million instruments, below and above what feeds carry.

Events as they come: everybody at once, nothing changed, one instrument more, a connection dies, a tenth of the demand
is another, an expiry day; without and with bounds of messages a second. Asked of the solver's own process, as the
service asks it, with reasons. Beside each plan, in the same run: the bound of the linear relaxation, the fewest moves
that carry the same instruments, and what naive methods serve: sorted by name and cut off, and first fit by tier. The
checker, which shares no code with the solver, judges every plan.
Run: python bench/planner.py [--largest 1000000]
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from reports import keep

from instrument_registry.subscriptions.planner import (
    NOWHERE,
    Account,
    Connection,
    Level,
    Plan,
    Problem,
    Use,
    moves,
    problem,
)
from instrument_registry.subscriptions.planner.linear import INFINITE, Programme, Terms
from instrument_registry.subscriptions.planner.supposing import only
from instrument_registry.subscriptions.solver import Solver

SIZES = {10_000: (20, 0.2), 100_000: (60, 2.0), 1_000_000: (200, 8.0)}  # connections; seconds that may be taken
ONE_MORE_SECONDS = 0.3  # at 100,000
WEIGHT = 13.0
SERVED_SHARE = 0.9999
HARDER_SHARE = 0.99999
MOVES_OVER = 1.05  # of the fewest, and one a connection, where messages are bounded; else none over
FROZEN_SECONDS = 1.0  # what a stuck solver may take, and no more than a second beyond
REPEATS = 3
MEMORY_MB = 1536
BROKERS = ("kite", "upstox", "dhan")


def feeds(random: Generator, count: int, connections: int, full: float) -> tuple[Account, ...]:
    """Accounts of one to five connections that carry, together, the demand divided by `full`."""
    sizes = random.choice([1000, 3000, 5000], connections)
    sizes = np.maximum(4, sizes * count / full / sizes.sum() / 0.97).astype(int)
    accounts: list[Account] = []
    taken = 0
    while taken < connections:
        mine = sizes[taken : taken + int(random.integers(1, 6))]
        accounts.append(
            Account(
                id=f"account-{len(accounts)}",
                broker=BROKERS[len(accounts) % len(BROKERS)],
                connections=tuple(
                    Connection(
                        id=f"{taken + n}", uses=(Use("any", int(one), (int(one), int(one * 0.8), int(one * 0.6))),)
                    )
                    for n, one in enumerate(mine)
                ),
                total=int(mine.sum() * 0.97),
            )
        )
        taken += len(mine)
    return tuple(accounts)


def demand(random: Generator, accounts: tuple[Account, ...], count: int) -> Problem:
    """Instruments of all modes and tiers; three fifths are known to one broker only."""
    groups = [[one.broker in brokers for one in accounts] for brokers in (BROKERS, ("kite",), ("upstox",), ("dhan",))]
    return problem(
        accounts, groups=groups, ids=np.arange(count) * 3, mode=random.choice(3, count, p=[0.55, 0.30, 0.15]),
        tier=random.choice(4, count, p=[0.1, 0.2, 0.3, 0.4]), order=random.permutation(count),
        group=random.choice(4, count, p=[0.4, 0.2, 0.2, 0.2]),
    )  # fmt: skip


def events(random: Generator, asked: Problem, live: np.ndarray) -> Iterator[tuple[str, Problem]]:
    """What happens to a feed that carries a plan."""
    lives = replace(asked, live=live)
    yield "nothing changed", lives
    yield "one instrument more", one_more(lives)
    account = asked.accounts[0]
    dead = replace(account, connections=(replace(account.connections[0], alive=False), *account.connections[1:]))
    yield "a connection dies", replace(lives, accounts=(dead, *asked.accounts[1:]))
    changed = random.random(len(asked)) < 0.1
    yield "a tenth is another", replace(
        lives, live=np.where(changed, NOWHERE, live), ids=np.where(changed, asked.ids + 1, asked.ids),
        tier=np.where(changed, random.choice(4, len(asked)), asked.tier),
    )  # fmt: skip
    expired = random.random(len(asked)) < 0.3
    yield "an expiry day", only(lives, ~expired)


def with_messages(random: Generator, asked: Problem) -> Problem:
    """The same where each connection takes about as many messages a second as its instruments bring."""
    load = 2.0 ** random.choice(4, len(asked), p=[0.4, 0.3, 0.2, 0.1])
    accounts = tuple(
        replace(
            one,
            connections=tuple(
                replace(each, load_max=float(each.uses[0].total * load.mean() * random.uniform(0.85, 1.15)))
                for each in one.connections
            ),
        )
        for one in asked.accounts
    )
    return replace(asked, accounts=accounts, load=load)


def one_more(asked: Problem) -> Problem:
    """The same demand without its first instrument living anywhere: it is new."""
    live = asked.live.copy()
    live[0] = NOWHERE
    tier = asked.tier.copy()
    tier[0] = 0
    return replace(asked, live=live, tier=tier)


def weight(asked: Problem, served: np.ndarray) -> float:
    """What is served, a tier worth thirteen of the next."""
    return float((WEIGHT ** (3 - asked.tier[served])).sum())


def bound(asked: Problem) -> float:
    """The most that could be served if instruments could be divided: instrument classes on single connections."""
    kinds, _, sizes = alike(asked)
    k, c = np.nonzero(asked.groups[asked.group[kinds]][:, asked.account_of] & asked.alive)
    terms = Terms.none()
    for number, size in enumerate(sizes):
        terms.row(np.flatnonzero(k == number), upper=float(size))
    limits(asked, terms, kinds, k, c)
    return Programme(WEIGHT ** (3.0 - asked.tier[kinds][k]), terms).solve()[0]


def fewest_moves(asked: Problem, found: Plan) -> int:
    """How few of those who live and are served must move when so many of each class are: again as a relaxation."""
    served = found.at != NOWHERE
    kinds, kind_of, _ = alike(asked)
    sizes = np.bincount(kind_of[served], minlength=len(kinds))
    lives = asked.lives & served
    count = len(asked.connections)
    living = np.bincount(kind_of[lives] * count + asked.live[lives], minlength=len(kinds) * count).reshape(-1, count)
    k, c = np.nonzero(asked.groups[asked.group[kinds]][:, asked.account_of] & asked.alive)
    kk, cc = np.append(k, k), np.append(c, c)  # those who stay, those who come
    terms = Terms.none()
    for number, size in enumerate(sizes):
        terms.row(np.flatnonzero(kk == number), lower=float(size), upper=float(size))
    limits(asked, terms, kinds, kk, cc)
    upper = np.append(living[k, c].astype(float), np.full(len(k), INFINITE))
    stays, _ = Programme(np.append(np.ones(len(k)), np.zeros(len(k))), terms, upper=upper).solve()
    return int(np.ceil(lives.sum() - stays - 1e-6))


def alike(asked: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One instrument of each class, the class of each, and how many it has."""
    loads, load = np.unique(asked.load, return_inverse=True)
    key = ((asked.mode * 4 + asked.tier) * len(asked.groups) + asked.group) * len(loads) + load
    _, kinds, kind_of, sizes = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    return kinds, kind_of, sizes


def limits(asked: Problem, terms: Terms, kinds: np.ndarray, k: np.ndarray, c: np.ndarray) -> None:
    """What connections and accounts carry."""
    mode, load = asked.mode[kinds][k], asked.load[kinds][k]
    for at, connection in enumerate(asked.connections):
        use, here = connection.uses[0], np.flatnonzero(c == at)
        terms.row(here, upper=use.total)
        for which, most in enumerate(use.modes):
            terms.row(here[mode[here] == which], upper=most)
        if connection.load_max is not None:
            terms.row(here, upper=connection.load_max, values=load[here])
    for number, account in enumerate(asked.accounts):
        terms.row(np.flatnonzero(asked.account_of[c] == number), upper=float(account.total or len(asked)))


def first_fit(asked: Problem, turns: np.ndarray) -> np.ndarray:
    """Who is served when each, in turn, takes the first connection with room."""
    room = [[*one.uses[0].modes, one.uses[0].total] for one in asked.connections]
    left = [float(one.total or len(asked)) for one in asked.accounts]
    places = [[at for at in range(len(room)) if asked.alive[at] and row[asked.account_of[at]]] for row in asked.groups]
    owner, served = asked.account_of.tolist(), np.zeros(len(asked), dtype=bool)
    for one, mode, group in zip(turns.tolist(), asked.mode[turns].tolist(), asked.group[turns].tolist(), strict=True):
        for at in places[group]:
            if room[at][mode] > 0 and room[at][3] > 0 and left[owner[at]] > 0:
                room[at][mode] -= 1
                room[at][3] -= 1
                left[owner[at]] -= 1
                served[one] = True
                break
    return served


async def measured(solver: Solver, what: str, asked: Problem, *, level: Level) -> tuple[dict[str, Any], Plan]:
    """One plan: how long it took, how good it is, who moved."""
    best, found = float("inf"), None
    for _ in range(REPEATS if level is Level.MODERATE else 1):
        began = time.perf_counter()
        found = await solver.plan(asked, level=level, timeout_seconds=60)
        best = min(best, time.perf_counter() - began)
    assert found is not None
    most, fewest = bound(asked), fewest_moves(asked, found)
    began = time.perf_counter()
    wrong = await solver.faults(asked, found, timeout_seconds=60)
    checked = time.perf_counter() - began
    began = time.perf_counter()
    told = moves(asked, found)
    explained = time.perf_counter() - began
    served = found.at != NOWHERE
    row: dict[str, Any] = {
        "level": level.value, "event": what, "seconds": round(best, 3), "served": int(served.sum()),
        "served_share_of_bound": round(weight(asked, served) / most, 9), "moved": int(found.moved.sum()),
        "fewest_moves": fewest, "forced": int(found.forced.sum()), "open": len(np.unique(found.at[served])),
        "ended": found.ended.value, "reasons": sorted({one.reason for one in found.drops}), "faults": len(wrong),
        "checked_in_seconds": round(checked, 3), "moves_explained_in_seconds": round(explained, 3),
        "moves_because_of": sorted({one.reason for one in told}),
    }  # fmt: skip
    if what == "everybody at once" and not asked.bounded:
        by_tier = np.lexsort((asked.order, asked.tier))
        row["first_fit_share"] = round(weight(asked, first_fit(asked, by_tier)) / most, 7)
        row["cut_off_share"] = round(weight(asked, first_fit(asked, np.arange(len(asked)))) / most, 7)
    return row, found


async def measure(largest: int) -> tuple[list[dict[str, Any]], float, float]:
    """Every size, filling, bound of messages and event; how long a stuck solver took, and the child's memory."""
    rows: list[dict[str, Any]] = []
    solver = Solver()
    await solver.start()
    for count, (connections, _) in SIZES.items():
        for full, messages in ((0.9, False), (1.08, False), (1.08, True)) if count <= largest else ():
            random = np.random.default_rng(count)
            asked = demand(random, feeds(random, count, connections, full), count)
            asked = with_messages(random, asked) if messages else asked
            row, first = await measured(solver, "everybody at once", asked, level=Level.MODERATE)
            found = [row]
            for what, one in events(random, asked, first.at):
                found.append((await measured(solver, what, one, level=Level.MODERATE))[0])
                if what == "a connection dies" and count < max(SIZES):
                    found.append((await measured(solver, what, one, level=Level.AGGRESSIVE))[0])
            for one in found:
                named = {"instruments": count, "connections": connections, "demand_of_capacity": full}
                rows.append({**named, "messages_bounded": messages, **one})
                print(*(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
    peak = peak_mb(solver.pid)
    assert solver.pid is not None
    os.kill(solver.pid, signal.SIGSTOP)
    began = time.perf_counter()
    await solver.plan(asked, level=Level.AGGRESSIVE, timeout_seconds=FROZEN_SECONDS)
    frozen = time.perf_counter() - began
    await solver.close()
    return rows, frozen, peak


def peak_mb(pid: int | None) -> float:
    """The most memory a process has had."""
    told = Path(f"/proc/{pid}/status").read_text()
    return round(int(told.split("VmHWM:")[1].split()[0]) / 1024)


def main() -> None:
    """Measure, print, keep."""
    asked_for = argparse.ArgumentParser(description=__doc__)
    asked_for.add_argument("--largest", type=int, default=1_000_000)
    rows, frozen, peak = asyncio.run(measure(asked_for.parse_args().largest))
    figures, bars = summed(rows)
    figures |= {
        "solver_peak_mb": peak,
        "frozen_seconds": round(frozen, 3),
        "load_average": round(os.getloadavg()[0], 1),
    }
    bars |= {"solver_peak_mb": MEMORY_MB, "frozen_seconds": FROZEN_SECONDS + 1}
    sys.exit(keep("planner", figures, bars=bars, samples={"rows": rows}))


def summed(rows: list[dict[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """The worst of each size, and what it may be."""
    usual, harder = ([row for row in rows if row["level"] == one] for one in (Level.MODERATE, Level.AGGRESSIVE))
    figures: dict[str, float] = {
        "not_served_share": 1 - min(row["served_share_of_bound"] for row in usual),
        "not_served_share_aggressive": 1 - min(row["served_share_of_bound"] for row in harder),
        "faults": sum(row["faults"] for row in rows),
        "moves_over": max(moves_over(row) for row in usual),
    }
    bars: dict[str, float] = {
        "not_served_share": 1 - SERVED_SHARE, "not_served_share_aggressive": 1 - HARDER_SHARE, "faults": 0,
        "moves_over": 0,
    }  # fmt: skip
    for count, (_, seconds_max) in SIZES.items():
        those = [row["seconds"] for row in usual if row["instruments"] == count]
        if those:
            bars[f"seconds_at_{count}"], figures[f"seconds_at_{count}"] = seconds_max, max(those)
    more = [row["seconds"] for row in usual if (row["instruments"], row["event"]) == (100_000, "one instrument more")]
    if more:
        figures["seconds_one_more_at_100000"], bars["seconds_one_more_at_100000"] = max(more), ONE_MORE_SECONDS
    return figures, bars


def moves_over(row: dict[str, Any]) -> int:
    """How many more move than may."""
    most = row["fewest_moves"]
    if row["messages_bounded"]:
        most = most * MOVES_OVER + row["connections"]
    return int(max(0, row["moved"] - most))


if __name__ == "__main__":
    main()
