"""`instrument-registry quarantine`: look at dumps that were kept out, let them through, or give them up.

Exit codes: 0 done, 3 the dump is not held back or cannot be released, 2 wrong usage, 1 failure.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from instrument_registry import events
from instrument_registry.catalog.ingestion import release as releasing
from instrument_registry.catalog.ingestion import reports
from instrument_registry.catalog.ingestion.model import Outcome
from instrument_registry.catalog.ingestion.reports import IngestionReport, IngestionRun, SetAside, Wanted
from instrument_registry.cli import tables
from instrument_registry.cli.connected import caused_here, in_transaction, with_database
from instrument_registry.clock import now
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import NotFound

app = typer.Typer(name="quarantine", help="Dumps that were kept out: look, release, discard.", no_args_is_help=True)

COMMAND = "quarantine"
LISTED_MAX = 1_000
Run = Annotated[int, typer.Argument(help="The run's number, as `quarantine list` shows it.")]
Reason = Annotated[str, typer.Option(help="Why, in words that somebody understands next year.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on standard output.")]


class NoFiles(NotFound):
    """Only dumps that were kept out are kept, until they are given up."""

    title = "No files are kept of this run"


@app.command("list")
def list_(
    broker: Annotated[str | None, typer.Option(help="Those of one broker.")] = None,
    as_json: AsJson = False,
) -> None:
    """The dumps that wait for a decision, the newest first."""

    async def work(tx: Transaction) -> list[IngestionRun]:
        return await reports.listed(tx, Wanted(broker=broker, held=True), limit=LISTED_MAX)

    runs = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document({"ingestions": runs})
        return
    if not runs:
        typer.echo("No dump waits for a decision.")
        return
    columns = ("run", "date", "broker", "feed", "status", "why")
    tables.table(columns, [(str(run.id), run.market_date, run.broker, run.feed, run.status, _why(run)) for run in runs])


@app.command("show")
def show(
    run: Run,
    rows: Annotated[int, typer.Option(min=0, max=LISTED_MAX, help="How many rows that were set aside.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Everything that is known of a run, and rows it set aside."""

    async def work(tx: Transaction) -> tuple[IngestionReport, list[SetAside]]:
        return await reports.report(tx, run), await reports.rows_set_aside(tx, run, limit=rows)

    report, aside = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document({"ingestion": report, "set_aside": aside})
        return
    _print_report(report, aside)


@app.command("save")
def save(
    run: Run,
    to: Annotated[Path, typer.Option(help="The folder for the files.", file_okay=False)] = Path(),
) -> None:
    """Write the kept files of a dump to a folder, to look at them."""

    async def work(tx: Transaction) -> list[tuple[str, bytes]]:
        await reports.report(tx, run)
        return await releasing.kept_files(tx, run)

    files = in_transaction(work, command=COMMAND)
    if not files:
        raise NoFiles(f"Run {run} has none")
    to.mkdir(parents=True, exist_ok=True)
    for name, content in files:
        path = to / f"{run}-{Path(name).name}"
        path.write_bytes(content)
        typer.echo(path)


@app.command("release")
def release(run: Run, reason: Reason, as_json: AsJson = False) -> None:
    """Let a dump through: it is ingested again, and what its gates said becomes warnings."""

    async def work(database: Database) -> Outcome:
        return await releasing.release(database, run, reason=reason, metadata=caused_here(), clock=now)

    outcome = with_database(work, command=COMMAND)
    if as_json:
        tables.document(outcome)
        return
    changes = ", ".join(f"{count:,} {fact}" for fact, count in sorted(outcome.counts.items(), key=lambda one: -one[1]))
    typer.echo(
        f"Released run {run} as run {outcome.id}: {outcome.status}, {outcome.rows:,} rows, {changes or 'no change'}."
    )


@app.command("discard")
def discard(run: Run, reason: Reason, as_json: AsJson = False) -> None:
    """Give a dump up: its files go, its report and the reason stay."""

    async def work(database: Database) -> IngestionReport:
        async with database.transaction() as tx:
            await releasing.discard(tx, run, reason=reason, metadata=caused_here(), at=now())
            report = await reports.report(tx, run)
        await events.wake(database)
        return report

    report = with_database(work, command=COMMAND)
    if as_json:
        tables.document(report)
        return
    typer.echo(f"Discarded run {run} of {report.broker} for {report.market_date}.")


def _print_report(report: IngestionReport, aside: Sequence[SetAside]) -> None:
    tables.facts(
        [
            ("run", str(report.id)), ("broker", report.broker),
            ("market date", f"{report.market_date}, {report.date_known_by}"), ("status", report.status),
            ("files", ", ".join(file.name for file in report.files)), ("rows", report.rows),
            ("set aside", f"{report.set_aside:,} rows, {report.values_set_aside:,} values"),
            ("begun", f"{report.started_at:%Y-%m-%d %H:%M} by {report.actor}"),
            *[(f"gate {one.gate}", one.detail) for one in report.reasons],
            *[(f"warning {one.gate}", one.detail) for one in report.warnings],
            ("released as", report.released_as and f"run {report.released_as} by {report.released_by}"),
            ("discarded by", report.discarded_by), ("because", report.release_reason or report.discard_reason),
        ]
    )  # fmt: skip
    if aside:
        rows = [(row.file, str(row.line), row.field, row.value, row.reason) for row in aside]
        tables.table(("file", "line>", "field", "value", "reason"), rows, title="Set aside")
    if report.kept:
        tables.note(
            f"It waits: quarantine save {report.id}, release {report.id} --reason …, or discard {report.id} --reason …"
        )


def _why(run: IngestionRun) -> str:
    return "; ".join(reason.detail for reason in run.reasons)
