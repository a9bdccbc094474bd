"""The database of the instance a command is about, for as long as the command needs it."""

import asyncio
import getpass
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from instrument_registry.database import Database, Transaction
from instrument_registry.events import Metadata
from instrument_registry.processes.runfile import service_database_url
from instrument_registry.settings import Settings
from instrument_registry.wiring import close_registry, open_registry

Result = TypeVar("Result")


def with_database(work: Callable[[Database], Awaitable[Result]], *, command: str) -> Result:
    """Do something with the database of the settings, else of the instance that runs in the data folder.

    Raises: NotRunning, DatabaseUnavailable.
    """

    async def connected() -> Result:
        settings = Settings.load()
        application = f"instrument-registry {command}"
        registry = await open_registry(
            settings, database_url=service_database_url(settings), application=application, asks=False
        )
        try:
            return await work(registry.database)
        finally:
            await close_registry(registry)

    return asyncio.run(connected())


def in_transaction(work: Callable[[Transaction], Awaitable[Result]], *, command: str) -> Result:
    """Do something in one transaction; Raises: as `with_database`."""

    async def committed(database: Database) -> Result:
        async with database.transaction() as tx:
            return await work(tx)

    return with_database(committed, command=command)


def caused_here() -> Metadata:
    """Who causes what a command changes: the person at the terminal."""
    return Metadata(actor=getpass.getuser(), correlation_id=secrets.token_hex(16), source="cli")
