"""Who is cancelled while working with the database stays cancelled: work that goes on for ever could not be ended."""

import asyncio

import psycopg
import pytest

from conftest import DatabaseUrls
from instrument_registry.database import Database, DatabaseUnavailable


async def test_a_cancelled_caller_is_not_handed_the_connection_that_came_free_just_then(
    database_urls: DatabaseUrls,
) -> None:
    database = await Database(database_urls.service, pool_size=1).open()

    async def work() -> None:
        async with database.transaction():
            pass

    for _ in range(30):
        async with database.transaction():
            waiting = asyncio.create_task(work())
            await asyncio.sleep(0.002)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
    await work()  # the connection is not lost
    await database.close()


async def test_what_the_server_says_to_a_cancelled_caller_is_not_heard(database: Database) -> None:
    async def work() -> None:
        async with database.transaction():
            try:
                await asyncio.sleep(60)
            finally:
                raise psycopg.errors.QueryCanceled("too late: this was to stop the statement before")

    working = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    working.cancel()
    await asyncio.wait({working})
    assert working.cancelled()


async def test_who_was_late_and_goes_on_is_not_cancelled_by_a_later_error(database: Database) -> None:
    async def work() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            async with database.transaction():
                raise psycopg.OperationalError("the server has gone") from None

    with pytest.raises(DatabaseUnavailable):
        await work()
