"""Accounts and demand for tests of the planner."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from instrument_registry.subscriptions.planner import NOWHERE, Account, Connection, Plan, Problem, Use, problem


def anything(total: int) -> Use:
    """A socket that carries so many of whatever mode."""
    return Use("any", total, (total, total, total))


def account(name: str, *rooms: int, lost: tuple[int, ...] = (), total: int | None = None, reserve: int = 0) -> Account:
    """An account with connections of these sizes, some of them lost."""
    connections = tuple(
        Connection(id=f"{name}-{number}", uses=(anything(room),), alive=number not in lost)
        for number, room in enumerate(rooms)
    )
    return Account(id=name, broker=name.lower(), connections=connections, total=total, reserve=reserve)


def upstox(sockets: int = 2) -> Account:
    """An account whose sockets carry more when they do not mix modes."""
    uses = (
        Use("ltp", 5000, (5000, 0, 0)), Use("full", 2000, (0, 0, 2000)), Use("mixed", 3500, (2000, 2000, 1500)),
    )  # fmt: skip
    return Account(
        id="upstox",
        broker="upstox",
        connections=tuple(Connection(id=f"upstox-{n}", uses=uses) for n in range(sockets)),
    )


def counts(plan: Plan, asked: Problem) -> list[int]:
    """How many each connection carries, first and second copies."""
    places = np.concatenate([plan.at, plan.second])
    return np.bincount(places[places >= 0], minlength=len(asked.connections)).tolist()


def dropped(plan: Plan, asked: Problem) -> list[int]:
    """The ids of those who are not served."""
    return sorted(int(one) for drop in plan.drops for one in asked.ids[drop.members])


def random_problem(random: Generator, *, count: int, connections: int, full: float) -> Problem:
    """Accounts of several brokers with bounds of every kind, and demand for about so much of what they carry."""
    rooms = random.integers(2, 2 + max(2, 2 * count // connections), connections)
    rooms = np.maximum(2, (rooms * count / full / rooms.sum()).astype(int))
    accounts: list[Account] = []
    taken = 0
    while taken < connections:
        mine = rooms[taken : taken + int(random.integers(1, 5))]
        uses = [Use("any", int(one), (int(one), max(1, int(one * 0.8)), max(1, int(one * 0.6)))) for one in mine]
        accounts.append(
            Account(
                id=f"A{len(accounts)}",
                broker="kud"[len(accounts) % 3],
                connections=tuple(Connection(id=f"{taken + n}", uses=(use,)) for n, use in enumerate(uses)),
                total=max(1, int(mine.sum() * 0.97)) if random.random() < 0.7 else None,
                reserve=int(random.integers(0, 2)),
            )
        )
        taken += len(mine)
    groups = [[one.broker in brokers for one in accounts] for brokers in ("kud", "kd", "ud", "u")]
    return problem(
        accounts,
        groups=groups,
        ids=random.permutation(count) * 7,
        mode=random.choice(3, count, p=[0.55, 0.3, 0.15]),
        tier=random.choice(4, count, p=[0.1, 0.2, 0.3, 0.4]),
        order=random.integers(0, max(1, count // 2), count),
        group=random.choice(4, count, p=[0.5, 0.2, 0.2, 0.1]),
    )


def varied_problem(
    random: Generator, *, count: int, connections: int, full: float, loads: bool = False, copies: bool = False
) -> Problem:
    """The same with everything else: some live, some pinned, accounts' modes bounded, connections lost and emptied."""
    plain = random_problem(random, count=count, connections=connections, full=full)
    accounts = tuple(
        replace(
            one,
            modes=tuple(int(random.integers(1, count + 1)) if random.random() < 0.2 else None for _ in range(3)),
            connections=tuple(
                replace(
                    connection,
                    alive=bool(random.random() > 0.1),
                    draining=bool(random.random() < 0.1),
                    load_max=float(random.integers(1, 4 * connection.uses[0].total + 2)) if loads else None,
                )
                for connection in one.connections
            ),
        )
        for one in plain.accounts
    )
    live = np.where(random.random(count) < 0.6, random.integers(0, connections, count), NOWHERE)
    return replace(
        plain,
        accounts=accounts,
        live=live,
        pinned=random.random(count) < 0.2,
        copies=np.where(random.random(count) < 0.3, 2, 1) if copies else plain.copies,
        load=2.0 ** random.integers(0, 4, count) if loads else plain.load,
    )
