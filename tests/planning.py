"""Plans through the door for tests: an account, demand, a plan that is made and applied, a ticker's lines."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import date

from httpx import Response

from desk import ARRANGED, Caller, Desk
from instrument_registry.subscriptions.capacity import service as capacity
from instrument_registry.subscriptions.capacity.model import Figure
from instrument_registry.subscriptions.capacity.terms import ModeName, Terms
from instrument_registry.subscriptions.demand import service as demand
from instrument_registry.subscriptions.demand.wants import DemandSource, Want
from instrument_registry.subscriptions.planner.model import Mode

AT = "/subscriptions"
TEA, RND, FUTURE, CALL = "NSE:TEALEAF", "NSE:R&D", "NFO:NIFTY;F;2026-08-25", "NFO:NIFTY;2026-09-01;24500;C"


@asynccontextmanager
async def planner(desk: Desk, *, connections: int = 1, each: int = 3) -> AsyncIterator[Caller]:
    """A caller where one account at Kite carries so much."""
    async with desk.caller() as caller:
        await carries(desk, "K", connections=connections, each=each)
        yield caller


async def carries(
    desk: Desk, account: str, *, connections: int, each: int, segments: tuple[str, ...] | None = None
) -> None:
    """Let an account at Kite carry so much, of some segments or of all."""
    figure = {"source": "tests", "as_of": date(2026, 8, 1)}
    figures = {"connections": Figure(value=connections, **figure), "connection_total": Figure(value=each, **figure)}
    only = None if segments is None else {one: tuple(ModeName) for one in segments}
    terms = Terms(broker="kite", figures=figures, segments=only)
    async with desk.database.transaction() as tx:
        await capacity.put(tx, account, terms, reason="tests", metadata=ARRANGED, at=desk.now)


async def want(desk: Desk, owner: str, keys: Iterable[str], mode: Mode = Mode.QUOTE, priority: int = 50) -> None:
    """Let somebody want these and no others."""
    async with desk.database.transaction() as tx:
        cursor = await tx.execute(
            "select instrument_id from instrument_versions where known_to = 'infinity' and key = any(%s)", (list(keys),)
        )
        ids = [row[0] for row in await cursor.fetchall()]
        wants = [Want(instrument_id=one, mode=mode, priority=priority) for one in ids]
        await demand.replace(tx, DemandSource.MANUAL, owner, user_id=owner, wants=wants, metadata=ARRANGED, at=desk.now)


async def planned(caller: Caller, **body: object) -> dict:
    answer = await caller.http.post(f"{AT}/plan", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def applied(caller: Caller, plan: str, *, expected: str | None) -> dict:
    answer = await caller.http.post(f"{AT}/plans/{plan}/apply", json={"expected_live": expected, "reason": "tests"})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def lines(caller: Caller, account: str = "K", start: str | int = "snapshot") -> list[dict]:
    """What a ticker is sent until there is nothing more."""
    answer = await caller.http.get(f"{AT}/deltas", params={"account": account, "from": start, "follow": "false"})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def keys_of(line: dict) -> list[str]:
    return sorted(one["key"] for one in line["items"])


async def acknowledged(caller: Caller, *, epoch: int, position: int, carries: dict[str, str]) -> Response:
    body = {"account": "K", "epoch": epoch, "position": position, "connections": carries}
    return await caller.http.post(f"{AT}/acks", json=body)
