"""A database that hangs, is lost or is slow: who waits is told, the next are refused at once, and all recovers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from conftest import DatabaseUrls
from instrument_registry.breakers import Breaker, Breakers, DependencyResting, State, Terms
from instrument_registry.database import Database, DatabaseResting, DatabaseUnavailable
from lines import Line, line_to

WITHIN_SECONDS = 30.0
TERMS = Terms(minimum_calls=5, slow_seconds=10.0, rest_seconds=0.2, longest_rest_seconds=0.2, probes=1)
# A cut waits for the answer this long; shorter than in a process that serves, so that tests are quick.
QUICK = {"wait_timeout_seconds": 1.0, "answer_seconds": 0.2}


@pytest_asyncio.fixture
async def line(database_urls: DatabaseUrls) -> AsyncIterator[Line]:
    there = conninfo_to_dict(database_urls.service)
    async with line_to(str(there["host"]), int(there["port"])) as one:
        yield one


@pytest.fixture
def breaker(tmp_path: Path) -> Breaker:
    return Breakers(tmp_path).of("database", terms=TERMS, resting=DatabaseResting)


@pytest_asyncio.fixture
async def database(database_urls: DatabaseUrls, line: Line, breaker: Breaker) -> AsyncIterator[Database]:
    url = make_conninfo(database_urls.service, host="127.0.0.1", port=line.port)
    opened = await Database(url, pool_size=4, breaker=breaker, **QUICK).open()
    yield opened
    line.up()
    await opened.close()


async def ask(database: Database) -> None:
    async with database.transaction(read_only=True) as tx:
        await tx.execute("select 1")


async def tells(database: Database) -> type[BaseException] | None:
    try:
        await ask(database)
    except DatabaseUnavailable as error:
        return type(error)
    return None


async def until_it_answers(database: Database) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while await tells(database) is not None:
            await asyncio.sleep(0.02)


class TestADatabaseThatHangs:
    async def test_is_told_of_to_all_who_wait_then_refused_at_once_and_recovers(
        self, database: Database, line: Line, breaker: Breaker
    ) -> None:
        await ask(database)
        line.down()

        async with asyncio.timeout(WITHIN_SECONDS):
            first = await asyncio.gather(*(tells(database) for _ in range(20)))
        async with asyncio.timeout(WITHIN_SECONDS):
            while await tells(database) is not DatabaseResting:
                pass
        line.up()
        await until_it_answers(database)

        assert set(first) <= {DatabaseUnavailable, DatabaseResting}
        assert breaker.standing.state is State.CLOSED

    async def test_lets_go_of_whoever_waits_for_a_statement(self, database: Database, line: Line) -> None:
        begun = asyncio.Event()

        async def long_one() -> None:
            async with database.transaction() as tx:
                begun.set()
                await tx.execute("select pg_sleep(600)")

        waiting = asyncio.create_task(long_one())
        await begun.wait()
        await ask(database)
        line.down()
        await tells(database)

        async with asyncio.timeout(WITHIN_SECONDS):
            with pytest.raises(DatabaseUnavailable):
                await waiting

    async def test_does_not_lose_a_long_statement_when_it_answers_somebody_else(
        self, database: Database, database_urls: DatabaseUrls, breaker: Breaker
    ) -> None:
        """One connection that hangs is cut, and the others are left at work."""
        begun = asyncio.Event()
        locked = make_conninfo(database_urls.owner)

        async def long_one() -> str:
            async with database.transaction() as tx:
                begun.set()
                await tx.execute("select pg_sleep(1.5)")
                return "done"

        waiting = asyncio.create_task(long_one())
        await begun.wait()
        database._in_use.suspect()  # as after a BEGIN without an answer
        async with await psycopg.AsyncConnection.connect(locked) as other:
            await other.execute("select 1")

        assert await waiting == "done"
        assert breaker.closed


class TestFailuresOfTheCallersMaking:
    async def test_do_not_count(self, database: Database, breaker: Breaker) -> None:
        for _ in range(10):
            with pytest.raises(psycopg.errors.UndefinedTable):
                async with database.transaction() as tx:
                    await tx.execute("select 1 from nothing")
            with pytest.raises(DatabaseUnavailable):
                async with database.transaction(statement_timeout_seconds=0.01) as tx:
                    await tx.execute("select pg_sleep(10)")

        assert breaker.standing.state is State.CLOSED


class TestFailuresOfTheDatabase:
    async def test_statements_ended_by_the_bound_of_all_count(
        self, database_urls: DatabaseUrls, breaker: Breaker
    ) -> None:
        database = await Database(
            database_urls.service, pool_size=2, statement_timeout_seconds=0.01, breaker=breaker
        ).open()

        for _ in range(6):
            with pytest.raises(DatabaseUnavailable):
                async with database.transaction() as tx:
                    await tx.execute("select pg_sleep(10)")
        reason = breaker.standing.reason
        await database.close()

        assert reason == "statements take too long"

    async def test_lost_connections_count(
        self, database: Database, database_urls: DatabaseUrls, breaker: Breaker
    ) -> None:
        for _ in range(6):
            with pytest.raises(DatabaseUnavailable):
                async with database.transaction() as tx:
                    own = tx.info.backend_pid
                    async with await psycopg.AsyncConnection.connect(database_urls.owner, autocommit=True) as owner:
                        await owner.execute("select pg_terminate_backend(%s)", (own,))
                    await tx.execute("select 1")

        assert breaker.standing.state is State.OPEN

    async def test_nobody_there_counts_for_sessions_too(self, breaker: Breaker) -> None:
        database = Database("postgresql://nobody@127.0.0.1:1/none", breaker=breaker)

        for _ in range(5):
            with pytest.raises(DatabaseUnavailable):
                async with database.session("test"):
                    pass

        with pytest.raises(DependencyResting), database.blocking_session("test"):
            pass
