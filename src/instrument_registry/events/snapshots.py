"""Snapshots: what a stream amounted to at a version, so that reading it again need not begin at its first fact."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from instrument_registry.database import Transaction
from instrument_registry.errors import Conflict

SAVE = """
insert into snapshots (stream, version, schema_version, data)
select %(stream)s, %(version)s, %(schema_version)s, %(data)s
 where exists (select from stream_heads where stream = %(stream)s and version >= %(version)s)
    on conflict (stream, version) do nothing
returning version
"""

NEWEST = """
select stream, version, schema_version, data, recorded_at from snapshots
 where stream = %(stream)s and version <= %(at_version)s order by version desc limit 1
"""


class NoSuchVersion(Conflict):
    """A snapshot is of a version the stream has reached, and there is one of each."""

    title = "There can be no snapshot of this version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a stream amounted to after the fact with this version."""

    stream: str
    version: int
    schema_version: int
    data: str
    recorded_at: datetime


async def save(tx: Transaction, stream: str, *, version: int, data: str, schema_version: int = 1) -> None:
    """Keep what a stream amounts to at a version; Raises: NoSuchVersion."""
    values = {"stream": stream, "version": version, "schema_version": schema_version, "data": data}
    if await (await tx.execute(SAVE, values)).fetchone() is None:
        raise NoSuchVersion(
            f"{stream} has no version {version} yet, or has a snapshot of it", stream=stream, version=version
        )


async def newest(tx: Transaction, stream: str, *, at_version: int = 2**62) -> Snapshot | None:
    """The newest snapshot of a stream, or the newest at a version; reading goes on behind it."""
    async with tx.cursor(row_factory=class_row(Snapshot)) as cursor:
        await cursor.execute(NEWEST, {"stream": stream, "at_version": at_version})
        return await cursor.fetchone()
