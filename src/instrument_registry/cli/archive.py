"""`instrument-registry archive`: months that went into files, whether the files are whole, and bringing one back."""

from typing import Annotated

import typer

from instrument_registry.cli import tables
from instrument_registry.cli.connected import caused_here, in_transaction, with_database
from instrument_registry.clock import now
from instrument_registry.database import Database, Transaction
from instrument_registry.events.archives import service
from instrument_registry.events.archives.model import Archive
from instrument_registry.settings import Settings

app = typer.Typer(name="archive", help="Months of facts and of the audit in files.", no_args_is_help=True)

COMMAND = "archive"
Name = Annotated[str, typer.Argument(help="Which one, for example events_2026_08.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on standard output.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every archive, and whether the database still has what it holds."""
    known = in_transaction(service.listed, command=COMMAND)
    if as_json:
        tables.document({"archives": known})
        return
    rows = [(one.name, one.rows, _reach(one), one.state, f"{one.exported_at:%Y-%m-%d}", one.file) for one in known]
    tables.table(("archive", "rows>", "reach", "state", "written", "file"), rows)


@app.command("verify")
def verify(name: Name, as_json: AsJson = False) -> None:
    """Read an archive's file from end to end and compare it with what was written."""

    async def work(tx: Transaction) -> Archive:
        return await service.named(tx, name)

    known = in_transaction(work, command=COMMAND)
    service.verify(known, Settings.load().data_dir)
    if as_json:
        tables.document({"archive": known, "whole": True})
    else:
        typer.echo(f"{name} is whole: {known.rows:,} rows with digest {known.digest}.")


@app.command("restore")
def restore(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; the audit keeps it.")],
    keep_days: Annotated[int, typer.Option(help="For how many days it stays, whatever the policy says.")] = (
        service.KEEP_DAYS
    ),
    as_json: AsJson = False,
) -> None:
    """Bring a month back as it was: the same rows, the same digests and proofs."""

    async def work(database: Database) -> Archive:
        return await service.restore(
            database,
            name,
            Settings.load().data_dir,
            reason=reason,
            metadata=caused_here(),
            at=now(),
            keep_days=keep_days,
        )

    made = with_database(work, command=COMMAND)
    if as_json:
        tables.document(made)
    else:
        typer.echo(f"{name} is back with {made.rows:,} rows and stays until {made.keep_until:%Y-%m-%d}.")


def _reach(archive: Archive) -> str | None:
    first, last = (archive.first_position, archive.last_position) if archive.kind == "events" else (
        archive.first_leaf, archive.last_leaf,
    )  # fmt: skip
    return None if first is None else f"{first:,} to {last:,}"
