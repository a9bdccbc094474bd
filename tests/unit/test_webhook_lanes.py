"""Lanes of endpoints: who waits for something to send sleeps until there is, however many endpoints are not well."""

import asyncio

import pytest

from frame import NOON
from instrument_registry.events.webhooks import lanes as module
from instrument_registry.events.webhooks.lanes import PROBES_AT_ONCE, Lane, Lanes
from instrument_registry.events.webhooks.model import Endpoint, EndpointState, Signature, Wanted
from instrument_registry.events.webhooks.signing import Key

LONG, SHORT = 60.0, 0.05
KEY = Key(scheme=Signature.HMAC, raw=bytes(32))


def endpoint(number: int) -> Endpoint:
    return Endpoint(
        id=number, wanted=Wanted(url=f"https://{number}.example/"), state=EndpointState.ACTIVE, state_reason=None,
        starts_after=0, version=1, actor="tests", created_at=NOON, changed_at=NOON,
    )  # fmt: skip


def known(count: int) -> Lanes:
    """Endpoints nobody has heard of yet, for each of which something may lie in the table."""
    lanes = Lanes()
    for number in range(count):
        lanes.by_endpoint[number] = Lane(endpoint=endpoint(number), keys=[(KEY, None)])
    lanes.look_for(lanes.by_endpoint)
    return lanes


def probed(lanes: Lanes, now: float) -> int:
    """How many of them are tried at an instant."""
    return len([one for one in lanes.chosen(now) if lanes.probes.take(now)])


async def sleeps(lanes: Lanes, now: float) -> bool:
    try:
        await asyncio.wait_for(lanes.wait(now), SHORT)
    except TimeoutError:
        return True
    return False


async def test_sleeps_until_more_of_those_who_are_not_well_may_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBES_EVERY_SECONDS", LONG)
    lanes, now = known(3 * PROBES_AT_ONCE), asyncio.get_running_loop().time()
    first = probed(lanes, now)

    assert first == PROBES_AT_ONCE
    assert await sleeps(lanes, now)
    assert probed(lanes, now + 1) == 0  # as many as there is time for are tried together
    assert await sleeps(lanes, now)
    assert probed(lanes, now + LONG) == PROBES_AT_ONCE


async def test_is_woken_by_what_is_due_earlier_than_what_it_waits_for() -> None:
    lanes, now = known(1), asyncio.get_running_loop().time()
    lanes.by_endpoint[0].more = False
    lanes.chosen(now)
    lanes.look_at(now + LONG, 0)
    waiting = asyncio.create_task(lanes.wait(now))
    await asyncio.sleep(0)
    lanes.look_at(now + SHORT, 0)

    async with asyncio.timeout(LONG / 2):
        await waiting
