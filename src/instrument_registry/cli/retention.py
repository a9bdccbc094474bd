"""`instrument-registry retention`: how long what is kept, what would go, and letting it go."""

import asyncio
from typing import Annotated

import typer

from instrument_registry.cli import tables
from instrument_registry.cli.connected import caused_here, in_transaction, with_database
from instrument_registry.clock import now
from instrument_registry.database import Database, Transaction
from instrument_registry.operations.retention import service
from instrument_registry.operations.retention.model import Policy, RetentionKind, Step
from instrument_registry.settings import Settings

app = typer.Typer(name="retention", help="How long what is kept.", no_args_is_help=True)

COMMAND = "retention"
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on standard output.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """For how many days each kind is kept."""
    known = in_transaction(service.policies, command=COMMAND)
    if as_json:
        tables.document({"policies": known})
        return
    rows = [(one.kind.value, one.keep_days, f"{one.changed_at:%Y-%m-%d %H:%M}", one.changed_by) for one in known]
    tables.table(("kind", "days>", "changed", "by"), rows)


@app.command("set")
def set_(
    kind: Annotated[RetentionKind, typer.Argument(help="What it is about.")],
    keep_days: Annotated[int, typer.Argument(help="For how many days it is kept.")],
    reason: Annotated[str, typer.Option(help="Why; the audit keeps it.")],
    as_json: AsJson = False,
) -> None:
    """Keep something for another number of days."""

    async def work(tx: Transaction) -> Policy:
        return await service.change(tx, kind, keep_days, reason=reason, metadata=caused_here(), at=now())

    changed = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document(changed)
    else:
        typer.echo(f"{changed.kind} is kept for {changed.keep_days} days.")


@app.command("plan")
def plan(as_json: AsJson = False) -> None:
    """Count what would go now, and change nothing."""

    async def work(database: Database) -> list[Step]:
        return await service.plan(database, now=now())

    _told(with_database(work, command=COMMAND), as_json=as_json)


@app.command("apply")
def apply(as_json: AsJson = False) -> None:
    """Let go of what has been kept long enough; months of facts and of the audit are archived first."""

    async def work(database: Database) -> list[Step]:
        folder = Settings.load().data_dir
        steps = []
        async for step in service.apply(database, folder, metadata=caused_here(), clock=now):
            if not as_json:
                tables.note(f"{step.what}: {step.rows:,} rows {'gone' if step.done else 'stay'}")
            steps.append(step)
            await asyncio.sleep(0)
        return steps

    _told(with_database(work, command=COMMAND), as_json=as_json)


def _told(steps: list[Step], *, as_json: bool) -> None:
    if as_json:
        tables.document({"steps": steps})
        return
    if not steps:
        typer.echo("Nothing has been kept long enough to go.")
        return
    rows = [
        (one.kind.value, one.what, f"{one.before:%Y-%m-%d}", one.rows, one.done, "; ".join(one.reasons_to_keep))
        for one in steps
    ]
    tables.table(("kind", "what", "before", "rows>", "gone", "stays because"), rows)
