"""Background work says what it does where every process reads it, waits in maintenance, and goes when it is asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from facts import AT, METADATA
from frame import NOON
from instrument_registry.configuration import service
from instrument_registry.configuration.model import Sources
from instrument_registry.configuration.toggles import EVENT_STREAMING
from instrument_registry.database import Database
from instrument_registry.operations import work
from instrument_registry.operations.work import UnknownWork, WorkDoing, WorkNotPeriodic, WorkNotThere, WorkState
from instrument_registry.wiring import Registry
from instrument_registry.workers import WORKERS, board, tending
from instrument_registry.workers.board import Board
from instrument_registry.workers.pausing import outside_maintenance
from instrument_registry.workers.switching import while_on
from instrument_registry.workers.turns import turns
from streaming import registry_of

WITHIN_SECONDS = 20
AN_HOUR = 3600.0


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "AT_MOST_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(tending, "BACKOFF_SECONDS", (AN_HOUR,))


@contextlib.asynccontextmanager
async def at_work(database: Database, folder: Path, **workers: object) -> AsyncIterator[Board]:
    """A process that does some work, its board, and its look at the configuration."""
    registry = registry_of(database, folder)
    here = Board(lambda: NOON, process=f"host:{len(workers)}")
    registry.configuration.read_beside(here.hear)
    tasks = [
        asyncio.create_task(tending.tend_all(registry, {**workers, "board": here.keep}, board=here)),
        asyncio.create_task(registry.configuration.follow(poll_seconds=0.01)),
    ]
    yield here
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def states(database: Database) -> dict[str, WorkState]:
    async with database.transaction(read_only=True) as tx:
        return {state.name: state for one in await work.processes(tx) for state in one.work}


async def becomes(database: Database, name: str, doing: WorkDoing) -> WorkState:
    async with asyncio.timeout(WITHIN_SECONDS):
        while (there := (await states(database)).get(name)) is None or there.state is not doing:
            await asyncio.sleep(0.01)
    return there


async def change(database: Database, **values: str) -> None:
    async with database.transaction() as tx:
        await service.change(tx, values, Sources(), reason="trial", metadata=METADATA, at=AT)


async def ask(database: Database, name: str) -> int:
    async with database.transaction() as tx:
        return await work.ask(tx, name, reason="trial", metadata=METADATA, at=NOON)


async def until(reached) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while not reached():
            await asyncio.sleep(0.005)


class Turning:
    """Work with a turn an hour, which counts its turns."""

    def __init__(self) -> None:
        self.turns: list[bool] = []

    async def __call__(self, registry: Registry) -> None:
        """Count.

        The rest is nobody's concern.
        """
        async for asked in turns(lambda: AN_HOUR):
            await outside_maintenance(registry)
            self.turns.append(asked)


class TestWhatIsSaid:
    async def test_says_how_each_is_doing_and_why(self, database: Database, tmp_path: Path) -> None:
        async def breaks(_: Registry) -> None:
            """Break."""
            raise ZeroDivisionError("by zero, at postgresql://me:hunter2@db/x")

        async def ends(_: Registry) -> None:
            """End."""

        async def streams(_: Registry) -> None:
            """Stream."""
            await asyncio.Event().wait()

        await change(database, EVENT_STREAMING_ENABLED="off")
        async with at_work(
            database, tmp_path, hourly=Turning().__call__, breaks=breaks, ends=ends,
            streams=while_on(EVENT_STREAMING, streams),
        ):  # fmt: skip
            waiting = await becomes(database, "hourly", WorkDoing.WAITING)
            failed = await becomes(database, "breaks", WorkDoing.FAILED)
            await becomes(database, "ends", WorkDoing.FINISHED)
            off = await becomes(database, "streams", WorkDoing.OFF)
            await change(database, EVENT_STREAMING_ENABLED="on")
            on = await becomes(database, "streams", WorkDoing.WORKING)

        assert (waiting.does, waiting.periodic, waiting.turns) == ("Count.", True, 1)
        assert waiting.next_at is not None
        assert (waiting.next_at - NOON).total_seconds() == AN_HOUR
        assert (failed.failures, failed.error, failed.error_at) == (
            1,
            "ZeroDivisionError: by zero, at postgresql://me:***@db/x",
            NOON,
        )
        assert (off.does, off.off_by, on.off_by) == ("Stream.", "EVENT_STREAMING_ENABLED", None)

    def test_every_worker_says_what_it_is_for(self) -> None:
        here = Board(lambda: NOON)
        says = {name: here.add(name, one).state.does for name, one in WORKERS.items()}

        assert [name for name, does in says.items() if not does.endswith(".")] == []

    async def test_a_process_that_leaves_is_not_missed(self, database: Database, tmp_path: Path) -> None:
        async with at_work(database, tmp_path, hourly=Turning().__call__) as here:
            await becomes(database, "hourly", WorkDoing.WAITING)
        await here.leave(registry_of(database, tmp_path))

        assert await states(database) == {}

    async def test_at_rest_it_writes_next_to_nothing(self, database: Database, tmp_path: Path) -> None:
        """Turns many times a second are no reason to write: what they say is read a quarter of a minute later."""

        async def often(_: Registry) -> None:
            """Turn."""
            async for _turn in turns(lambda: 0.001):
                pass

        async def written() -> int:
            async with database.transaction(read_only=True) as tx:
                row = await (await tx.execute("select xmin::text::bigint from background_processes")).fetchone()
            return row[0] if row else 0

        async with at_work(database, tmp_path, often=often):
            await becomes(database, "board", WorkDoing.WORKING)
            await asyncio.sleep(0.2)  # what was said of the start is said
            before = await written()
            await asyncio.sleep(0.5)
            after = await written()

        assert after == before


class TestBeingAsked:
    async def test_has_a_turn_at_once_and_only_one(self, database: Database, tmp_path: Path) -> None:
        hourly = Turning()
        async with at_work(database, tmp_path, hourly=hourly.__call__):
            await becomes(database, "hourly", WorkDoing.WAITING)
            async with database.transaction() as tx:  # asked twice before anybody could take it
                one = await work.ask(tx, "hourly", reason="trial", metadata=METADATA, at=NOON)
                two = await work.ask(tx, "hourly", reason="trial", metadata=METADATA, at=NOON)
            await until(lambda: len(hourly.turns) == 2)
            three = await ask(database, "hourly")
            await until(lambda: len(hourly.turns) == 3)
            await asyncio.sleep(0.1)
            async with database.transaction(read_only=True) as tx:
                asked = (await work.asked(tx))["hourly"]

        assert (one, two, three) == (1, 1, 2)
        assert hourly.turns == [False, True, True]
        assert (asked.taken, asked.taken_by) == (2, "host:1")

    async def test_is_done_by_one_process_of_several(self, database: Database, tmp_path: Path) -> None:
        one, two = Turning(), Turning()
        async with (
            at_work(database, tmp_path, hourly=one.__call__),
            at_work(database, tmp_path, hourly=two.__call__, other=two.__call__),
        ):
            await becomes(database, "other", WorkDoing.WAITING)
            for number in range(5):
                await ask(database, "hourly")
                await until(lambda number=number: sum(one.turns) + sum(two.turns) == number + 1)
            await asyncio.sleep(0.1)

        assert sum(one.turns) + sum(two.turns) == 5

    async def test_what_cannot_be_asked_is_refused(self, database: Database, tmp_path: Path) -> None:
        async def always(_: Registry) -> None:
            """Go on."""
            await asyncio.Event().wait()

        with pytest.raises(WorkNotThere):
            await ask(database, "hourly")
        async with at_work(database, tmp_path, hourly=Turning().__call__, always=always):
            await becomes(database, "hourly", WorkDoing.WAITING)
            with pytest.raises(UnknownWork, match="Did you mean hourly"):
                await ask(database, "hourlly")
            with pytest.raises(WorkNotPeriodic, match="hourly"):
                await ask(database, "always")


@pytest.mark.obeys("MAINTENANCE")
class TestMaintenance:
    async def test_work_that_changes_the_catalogue_waits_and_goes_on(self, database: Database, tmp_path: Path) -> None:
        hourly = Turning()
        async with at_work(database, tmp_path, hourly=hourly.__call__):
            await becomes(database, "hourly", WorkDoing.WAITING)
            await change(database, MAINTENANCE="on")
            await ask(database, "hourly")
            await becomes(database, "hourly", WorkDoing.PAUSED)
            meanwhile = list(hourly.turns)
            await change(database, MAINTENANCE="off")
            await until(lambda: len(hourly.turns) == 2)

        assert (meanwhile, hourly.turns) == ([False], [False, True])
