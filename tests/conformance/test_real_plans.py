"""All option chains of real dumps on real brokers' limits: what is planned is allowed, complete, and what frames say.

The catalogue is that of every dump in scope; the clock stands at 2026-08-18 09:00 in India. Two hundred users want the
options of the indices and of all shares, on four accounts at Kite, two at Upstox and two at Dhan, with all that these
carry and with two fifths of it.
"""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from catalogues import Catalogue
from instrument_registry.catalog import wire
from instrument_registry.catalog.wire import WireRow
from instrument_registry.database import Database
from instrument_registry.subscriptions.capacity.standing import AccountStanding, Standing
from instrument_registry.subscriptions.capacity.venues import venue
from instrument_registry.subscriptions.demand.model import Demand
from instrument_registry.subscriptions.demand.summing import COPIES_AT, ID_AT, MODE_AT, PRIORITY_AT, summed
from instrument_registry.subscriptions.planner import NOWHERE, Plan, plan
from instrument_registry.subscriptions.planner.checker import faults
from instrument_registry.subscriptions.plans import question
from instrument_registry.subscriptions.plans.applying import bounds_of, frames_of
from instrument_registry.subscriptions.plans.carrying import loads_of
from instrument_registry.subscriptions.plans.deltas import Step, delta
from instrument_registry.subscriptions.plans.planning import content_of
from instrument_registry.subscriptions.plans.question import Question

NINE = datetime(2026, 8, 18, 9, tzinfo=ZoneInfo("Asia/Kolkata"))
ACCOUNTS = {
    "K1": "kite", "K2": "kite", "K3": "kite", "K4": "kite", "U1": "upstox", "U2": "upstox", "D1": "dhan", "D2": "dhan",
}  # fmt: skip
USERS = 200
OPTIONS = """
    select v.instrument_id from instrument_versions v
     where v.known_to = 'infinity' and v.valid_from <= %s and v.valid_to > %s
       and v.option_type is not null and v.venue in ('NFO', 'BFO') and not v.is_test
"""
DHAN_MODES = {15: "ltp", 17: "quote", 21: "full"}


@dataclass(frozen=True)
class Planned:
    """One question and its plan."""

    asked: Question
    plan: Plan
    demand: Demand
    steps: Mapping[str, list[Step]]
    standing: Standing


def standing(share: float) -> Standing:
    """The accounts, with a share of what each connection carries by its broker's profile."""
    return Standing(version=1, at=NINE, accounts=tuple(account(*one, share) for one in ACCOUNTS.items()))


def account(name: str, broker: str, share: float) -> AccountStanding:
    limits = venue(broker)
    whole = limits.account(name)
    connections = tuple(
        replace(
            one,
            uses=tuple(
                replace(use, total=int(use.total * share), modes=tuple(int(most * share) for most in use.modes))
                for use in one.uses
            ),
        )
        for one in whole.connections
    )  # fmt: skip
    return AccountStanding(
        name=name, broker=limits.broker, tokens=limits.tokens or limits.broker, version=1, frame=limits.frame,
        account=replace(whole, connections=connections), segments=None, segment_modes={},
        health=tuple(None for _ in connections),
    )  # fmt: skip


def wanted(ids: Iterable[int]) -> Demand:
    """Every option by one to three users, in some mode, with some priority: always the same."""
    random = np.random.default_rng(200)
    each = np.array(sorted(ids), dtype=np.int64)
    numbers = np.repeat(each, random.integers(1, 4, len(each)))
    count = len(numbers)
    packed = numbers << ID_AT | random.choice([0, 1, 2], count, p=[0.55, 0.3, 0.15]) << MODE_AT
    packed |= random.integers(0, 101, count) << PRIORITY_AT | np.zeros(count, np.int64) << COPIES_AT
    return summed(packed, random.integers(0, USERS, count))


async def rows_of(everything: Catalogue, ids: list[int]) -> dict[int, WireRow]:
    database = await Database(everything.service_url, application="test", pool_size=1).open()
    try:
        async with database.transaction() as tx:
            return await wire.rows(tx, ids, day=NINE.date(), brokers=question.dumps_of(standing(1.0)))
    finally:
        await database.close()


@cache
def known(everything: Catalogue) -> tuple[list[int], dict[int, WireRow]]:
    ids = [number for (number,) in everything.rows(OPTIONS, NINE.date(), NINE.date())]
    return ids, asyncio.run(rows_of(everything, ids))


@pytest.fixture(scope="module", params=[1.0, 0.4], ids=["all they carry", "two fifths"])
def planned(request: pytest.FixtureRequest, everything: Catalogue) -> Planned:
    ids, rows = known(everything)
    demand, there = wanted(ids), standing(request.param)
    asked = question.compose(demand, rows, there, live=None, lingering={}, at=NINE, options="moderate")
    found = plan(asked.problem)
    content = content_of(asked, found)
    steps = delta({}, loads_of(content), bounds_of(content))
    return Planned(asked=asked, plan=found, demand=demand, steps=steps, standing=there)


def test_every_option_is_accounted_for_once(planned: Planned) -> None:
    served = int((planned.plan.at != NOWHERE).sum())
    dropped = sum(len(drop.members) for drop in planned.plan.drops)
    excluded = sum(map(len, planned.asked.excluded.values()))

    assert len(planned.demand) > 50_000
    assert served + dropped + excluded == len(planned.demand)
    assert served > 10_000


def test_the_checker_finds_nothing_wrong_and_nobody_served_before_a_better_one(planned: Planned) -> None:
    assert faults(planned.asked.problem, planned.plan) == []


def test_only_accounts_whose_broker_has_a_live_token_carry_an_instrument(planned: Planned) -> None:
    problem = planned.asked.problem
    served = np.flatnonzero(planned.plan.at != NOWHERE)
    accounts = problem.account_of[planned.plan.at[served]].tolist()
    strangers = [
        planned.asked.rows[place].key
        for place, account in zip(served.tolist(), accounts, strict=True)
        if planned.standing.accounts[account].tokens not in planned.asked.rows[place].tokens
    ]

    assert strangers == []


def test_frames_replayed_are_the_plan(planned: Planned) -> None:
    content = content_of(planned.asked, planned.plan)
    heard: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
    for name, steps in planned.steps.items():
        account = next(one for one in planned.standing.accounts if one.name == name)
        for step in steps:
            socket = heard.setdefault((name, step.socket.connection), Counter())
            for frame in frames_of(step.items, step.act, account):
                assert account.frame.items.value is None or frame["instruments"] <= account.frame.items.value
                replay(account.broker, frame, socket)

    for socket, load in loads_of(content).items():
        expected = Counter(told(ACCOUNTS[socket.account], one.name, one.mode.name.lower()) for one in load.values())
        assert heard.get((socket.account, socket.connection), Counter()) == expected


def told(broker: str, name: str, mode: str) -> tuple[str, str]:
    """An instrument and its mode as a broker's frames have them."""
    segment, _, token = name.partition("|")
    if broker == "upstox":
        return f"{segment}|{token}", "ltpc" if mode == "ltp" else "full"
    return (token if broker == "kite" else f"{segment}|{token}"), mode


def replay(broker: str, frame: Mapping[str, object], carried: Counter[tuple[str, str]]) -> None:
    """What a broker's socket does with a frame that adds."""
    said = json.loads(bytes_of(frame))
    if broker == "kite":
        tokens = said["v"] if said["a"] == "subscribe" else said["v"][1]
        for token in map(str, tokens):
            if said["a"] == "mode":
                del carried[token, "quote"]
            carried[token, "quote" if said["a"] == "subscribe" else said["v"][0]] += 1
    elif broker == "upstox":
        carried.update((one, said["data"]["mode"]) for one in said["data"]["instrumentKeys"])
    else:
        mode = DHAN_MODES[said["RequestCode"]]
        carried.update((f"{one['ExchangeSegment']}|{one['SecurityId']}", mode) for one in said["InstrumentList"])


def bytes_of(frame: Mapping[str, object]) -> bytes:
    return base64.b64decode(str(frame["base64"])) if "base64" in frame else str(frame["text"]).encode()
