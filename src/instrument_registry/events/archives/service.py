"""Write a month to a file and read it back, let it go, bring it back: nothing goes that was not read from its file."""

import hashlib
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import psycopg

from instrument_registry.clock import Clock
from instrument_registry.database import Database, Transaction
from instrument_registry.events import service as events
from instrument_registry.events.archives import files, storage
from instrument_registry.events.archives.events import ArchiveDropped, ArchiveRestored, ArchiveVerified
from instrument_registry.events.archives.model import (
    COLUMNS,
    MORE,
    Archive,
    ArchiveDamaged,
    NoSuchArchive,
    Partition,
    PartitionStays,
)
from instrument_registry.events.model import Metadata

FOLDER = "archives"
KEEP_DAYS = 30  # what was brought back
LONG_SECONDS = 3_600


async def listed(tx: Transaction) -> list[Archive]:
    """Every archive, oldest first."""
    return await storage.archives(tx)


async def named(tx: Transaction, name: str) -> Archive:
    """One archive; Raises: NoSuchArchive."""
    found = await storage.find(tx, name)
    if found is None:
        raise NoSuchArchive(f"There is no archive {name}", archive=name)
    return found


async def export(
    database: Database, partition: Partition, folder: Path, *, metadata: Metadata, clock: Clock
) -> Archive:
    """Write a partition to a file and read it back; one that was is compared again instead.

    Raises: ArchiveDamaged when what was read back is not what the database has.
    """
    path = folder / FOLDER / f"{partition.name}.parquet"
    async with database.transaction(
        read_only=True, isolation="repeatable read", statement_timeout_seconds=LONG_SECONDS
    ) as tx:
        known = await storage.find(tx, partition.name)
        if known is not None:
            verify(known, folder)
            return known
        rows, digest = await storage.digest(tx, partition.name)
        first, last = await storage.reach(tx, partition)
        of_events = partition.kind == "events"
        made = Archive(
            name=partition.name, kind=partition.kind, starts_at=partition.starts_at, ends_at=partition.ends_at,
            rows=rows, digest=digest, first_position=first if of_events else None,
            last_position=last if of_events else None, first_leaf=None if of_events else first,
            last_leaf=None if of_events else last, columns=[*COLUMNS[partition.kind], *MORE[partition.kind]],
            file=path.name, file_bytes=0, file_sha256="", state="verified", exported_at=clock(),
        )  # fmt: skip
        manifest = {name: str(value) for name, value in asdict(made).items() if value not in (None, "", 0)}
        await files.write(path, partition.kind, storage.batches(tx, partition, size=files.BATCH), manifest)
    made = replace(made, file_bytes=path.stat().st_size, file_sha256=files.sha256(path))
    verify(made, folder)
    async with database.transaction() as tx:
        await storage.add(tx, made)
        told = ArchiveVerified(
            archive=made.name, rows=made.rows, digest=made.digest, file_sha256=made.file_sha256, occurred_at=clock()
        )
        await events.append(tx, told, stream=_stream(made), metadata=metadata)
    return made


def verify(archive: Archive, folder: Path) -> None:
    """Read an archive's file from end to end and compare it with its manifest; Raises: ArchiveDamaged."""
    path = folder / FOLDER / archive.file
    if files.sha256(path) != archive.file_sha256:
        raise ArchiveDamaged(f"{path} has other bytes than when it was written", file=str(path))
    read = files.digest(path, archive.kind)
    if (read.rows, read.value()) != (archive.rows, archive.digest):
        raise ArchiveDamaged(
            f"{path} holds {read.rows} rows with digest {read.value()}, its manifest says {archive.rows} and "
            f"{archive.digest}",
            file=str(path),
        )


async def prove_records(database: Database, folder: Path) -> list[range]:
    """The positions in the audit's tree whose records are in archives alone, each read from its file and found there.

    Raises: ArchiveDamaged when a file is not what was written, or says something else than the tree has leaves for.
    """
    async with database.transaction(read_only=True, statement_timeout_seconds=LONG_SECONDS) as tx:
        gone = [one for one in await storage.archives(tx) if (one.kind, one.state) == ("audit", "dropped")]
        for archive in gone:
            verify(archive, folder)
            for rows in files.read(folder / FOLDER / archive.file, archive.kind):
                leaves = await storage.leaves(tx, [number for number, *_ in rows])
                for number, *_, text in rows:
                    if leaves.get(number) != hashlib.sha256(b"\x00" + str(text).encode()).digest():
                        raise ArchiveDamaged(
                            f"{archive.file} has another text for record number {number} than the tree has a leaf for",
                            file=archive.file,
                            number=number,
                        )
    return [range(one.first_leaf, one.last_leaf + 1) for one in gone if one.first_leaf and one.last_leaf]


async def reasons_to_keep(tx: Transaction, name: str) -> list[str]:
    """Why a partition may not go; none: it may."""
    return await storage.reasons_to_keep(tx, name)


async def drop(database: Database, archive: Archive, folder: Path, *, metadata: Metadata, at: datetime) -> None:
    """Let a month be in its archive alone; Raises: ArchiveDamaged, PartitionStays."""
    verify(archive, folder)
    try:
        async with database.transaction(statement_timeout_seconds=LONG_SECONDS) as tx:
            await storage.drop(tx, archive.name)
            told = ArchiveDropped(archive=archive.name, rows=archive.rows, digest=archive.digest, occurred_at=at)
            await events.append(tx, told, stream=_stream(archive), metadata=metadata)
    except psycopg.errors.RaiseException as error:
        raise PartitionStays(_said(error), archive=archive.name) from error


async def restore(
    database: Database,
    name: str,
    folder: Path,
    *,
    reason: str,
    metadata: Metadata,
    at: datetime,
    keep_days: int = KEEP_DAYS,
) -> Archive:
    """Bring a month back for some days, its rows the ones that went or none of them.

    Raises: NoSuchArchive, ArchiveDamaged, PartitionStays when it is here.
    """
    async with database.transaction(read_only=True) as tx:
        archive = await named(tx, name)
    if archive.state != "dropped":
        raise PartitionStays(f"{name} is here already", archive=name)
    verify(archive, folder)
    try:
        async with database.transaction(statement_timeout_seconds=LONG_SECONDS) as tx:
            await storage.begin_restoring(tx, name)
            for rows in files.read(folder / FOLDER / archive.file, archive.kind):
                await storage.copy_back(tx, name, archive.kind, rows)
            await storage.finish_restoring(tx, name, keep_days=keep_days)
            told = ArchiveRestored(
                archive=name, rows=archive.rows, digest=archive.digest, keep_days=keep_days, reason=reason,
                occurred_at=at,
            )  # fmt: skip
            await events.append(tx, told, stream=_stream(archive), metadata=metadata)
    except psycopg.errors.RaiseException as error:
        raise PartitionStays(_said(error), archive=name) from error
    async with database.transaction(read_only=True) as tx:
        return await named(tx, name)


def _stream(archive: Archive) -> str:
    return f"archive-{archive.name}"


def _said(error: psycopg.errors.RaiseException) -> str:
    return error.diag.message_primary or str(error)
