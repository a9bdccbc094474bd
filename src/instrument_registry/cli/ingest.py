"""`instrument-registry ingest`: bring brokers' dumps into the catalogue.

Exit codes: 0 applied or unchanged, 3 quarantined or refused, 2 wrong usage, 1 failure.
"""

import asyncio
import getpass
import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from instrument_registry.catalog.brokers.frame import Unreadable
from instrument_registry.catalog.ingestion import intake
from instrument_registry.catalog.ingestion.model import Bounds, Outcome, RunStatus
from instrument_registry.catalog.ingestion.service import Progress as Report
from instrument_registry.cli import completing
from instrument_registry.clock import now
from instrument_registry.errors import Invalid
from instrument_registry.processes.runfile import service_database_url
from instrument_registry.settings import Settings
from instrument_registry.wiring import Registry, close_registry, open_registry

REFUSED = 3
GOOD = {RunStatus.APPLIED, RunStatus.UNCHANGED, RunStatus.DRY_RUN}


def ingest(
    broker: Annotated[
        str | None,
        typer.Argument(
            help="The broker's id, for example zerodha; left out with --all.", autocompletion=completing.brokers
        ),
    ] = None,
    sources: Annotated[
        list[str] | None, typer.Argument(help="Files or addresses, packed or not; none: the broker's public address.")
    ] = None,
    all_: Annotated[Path | None, typer.Option("--all", help="Every dump of a folder, in market-date order.")] = None,
    date: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The market date of the dump.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="A segment that must be in the dump; repeat for more.")
    ] = None,
    allow_older: Annotated[bool, typer.Option(help="Back-fill history with a dump older than the last one.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would change, and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")] = False,
) -> None:
    """Bring a broker's instrument dump into the catalogue: as a whole, or not at all."""
    if (broker is None) == (all_ is None):
        raise Invalid("Name a broker, or a folder with --all")
    asked = intake.Asked(
        broker=broker or "", sources=tuple(sources or ()), market_date=date.date() if date else None,
        scope=tuple(scope or ()),
        allow_older=allow_older, dry_run=dry_run, actor=getpass.getuser(), correlation_id=secrets.token_hex(16),
    )  # fmt: skip
    if all_ is None:
        good = asyncio.run(_one(asked, as_json=as_json))
    else:
        good = asyncio.run(_all(all_, asked, as_json=as_json))
    if not good:
        raise typer.Exit(REFUSED)


async def _one(asked: intake.Asked, *, as_json: bool) -> bool:
    registry = await _open()
    try:
        outcome = await _run(registry, asked, quiet=as_json)
    finally:
        await close_registry(registry)
    if as_json:
        typer.echo(json.dumps(_facts(outcome)))
    else:
        _print_outcome(outcome)
    return outcome.status in GOOD


async def _all(folder: Path, asked: intake.Asked, *, as_json: bool) -> bool:
    planned = intake.plan_folder(folder)
    left_out = [(one.path, one.reason or "") for one in planned if not one.in_scope]
    outcomes: list[Outcome] = []
    refused: list[tuple[str, str]] = []
    registry = await _open()
    try:
        for run in intake.runs_of(planned, asked):
            try:
                outcomes.append(await _run(registry, run, quiet=as_json))
            except Unreadable as error:
                refused.append((" ".join(Path(source).name for source in run.sources), str(error)))
    finally:
        await close_registry(registry)
    if as_json:
        body = {
            "runs": [_facts(outcome) for outcome in outcomes],
            "refused": [{"files": files, "reason": reason} for files, reason in refused],
            "left_out": [{"file": str(path), "reason": reason} for path, reason in left_out],
        }
        typer.echo(json.dumps(body))
    else:
        _print_all(outcomes, refused, left_out)
    return not refused and all(outcome.status in GOOD for outcome in outcomes)


async def _open() -> Registry:
    settings = Settings.load()
    url = service_database_url(settings)
    registry = await open_registry(settings, database_url=url, application="instrument-registry ingest")
    await registry.configuration.refresh()
    return registry


async def _run(registry: Registry, asked: intake.Asked, *, quiet: bool) -> Outcome:
    with _bar(asked, quiet=quiet) as progress:
        return await intake.take_in(
            registry.database, replace(asked, bounds=Bounds.of(registry.configuration.now)), clock=now,
            allowed=registry.settings.fetch_networks, breakers=registry.breakers, progress=progress,
        )  # fmt: skip


@contextmanager
def _bar(asked: intake.Asked, *, quiet: bool) -> Iterator[Report]:
    if quiet or not sys.stderr.isatty():
        yield lambda step, share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[step]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(f"{asked.broker} {asked.market_date or ''}", total=1.0, step="")
        yield lambda step, share: bars.update(task, completed=share, step=step)


def _facts(outcome: Outcome) -> dict[str, object]:
    facts = asdict(outcome)
    return facts | {"market_date": outcome.market_date.isoformat(), "status": outcome.status.value}


def _print_outcome(outcome: Outcome) -> None:
    console = Console()
    seconds = sum(outcome.seconds.values())
    console.print(
        f"[bold]{outcome.broker}[/] {outcome.market_date} ({outcome.date_known_by}): [bold]{outcome.status.value}[/], "
        f"{outcome.rows:,} rows, {_aside(outcome)} set aside, {outcome.duplicates} repeated, "
        f"{seconds:.1f} s, run {outcome.id}",
        highlight=False,
    )
    for reason in outcome.reasons:
        console.print(f"  [red]{reason.gate}[/]: {reason.detail}", highlight=False)
    for warning in outcome.warnings:
        console.print(f"  [yellow]{warning.gate}[/]: {warning.detail}", highlight=False)
    if outcome.counts:
        table = Table("change", "instruments", box=None, header_style="bold")
        for fact, count in sorted(outcome.counts.items(), key=lambda item: -item[1]):
            table.add_row(fact, f"{count:,}")
        console.print(table)


def _aside(outcome: Outcome) -> str:
    """What was not taken: whole rows, and single values of rows that were."""
    values = f" rows and {outcome.values_set_aside:,} values" if outcome.values_set_aside else ""
    return f"{outcome.set_aside:,}{values}"


def _print_all(outcomes: list[Outcome], refused: list[tuple[str, str]], left_out: list[tuple[Path, str]]) -> None:
    console = Console()
    table = Table("date", "broker", "feed", "status", "rows", "aside", "changes", "s", box=None, header_style="bold")
    for outcome in outcomes:
        changes = ", ".join(
            f"{fact} {count:,}" for fact, count in sorted(outcome.counts.items(), key=lambda item: -item[1])[:4]
        )
        table.add_row(
            str(outcome.market_date), outcome.broker, outcome.feed, outcome.status.value, f"{outcome.rows:,}",
            _aside(outcome), changes or "; ".join(reason.detail for reason in outcome.reasons),
            f"{sum(outcome.seconds.values()):.1f}",
        )  # fmt: skip
    console.print(table)
    for files, reason in refused:
        told = reason if reason.startswith(files) else f"{files}: {reason}"
        console.print(f"[red]refused[/] {told}", highlight=False)
    for path, reason in left_out:
        console.print(f"[dim]left out[/] {path.name}: {reason}", highlight=False)
