"""Workers are kept at work, until they are told to stop."""

import asyncio
from typing import cast

import pytest

from instrument_registry.wiring import Registry
from instrument_registry.workers import tending

NOTHING = cast(Registry, None)  # none of these workers looks at it


async def test_a_worker_that_fails_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tending, "BACKOFF_SECONDS", (0.0,))
    begun = 0

    async def fails_twice(_: Registry) -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise RuntimeError("not yet")

    await tending.tend(NOTHING, "stubborn", fails_twice)

    assert begun == 3


async def test_a_worker_that_fails_on_its_way_out_is_not_started_again() -> None:
    begun = 0
    at_work = asyncio.Event()

    async def cannot_tidy_up(_: Registry) -> None:
        nonlocal begun
        begun += 1
        try:
            at_work.set()
            await asyncio.Event().wait()
        finally:
            if begun == 1:
                raise RuntimeError("the database went first")

    task = asyncio.create_task(tending.tend_all(NOTHING, {"untidy": cannot_tidy_up}))
    await at_work.wait()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=2)

    assert (len(done), begun) == (1, 1)
    assert task.cancelled()
