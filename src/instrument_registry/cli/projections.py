"""`instrument-registry projections`: what is derived from the facts, and building it anew."""

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from instrument_registry import events
from instrument_registry.cli import tables
from instrument_registry.cli.connected import in_transaction, with_database
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import RegistryError
from instrument_registry.events.projections import PROJECTIONS, service
from instrument_registry.events.projections.model import NoSuchProjection, Rebuilt, State

app = typer.Typer(name="projections", help="What is derived from the facts.", no_args_is_help=True)

COMMAND = "projections"
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on standard output.")]


class ProjectionDiffered(RegistryError):
    """The one kept up event by event said something else than the facts; readers see the right one now."""

    title = "The projection had gone wrong"


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every projection and how far it is behind the facts."""

    async def work(tx: Transaction) -> tuple[list[State], int]:
        return await service.states(tx), await events.head_position(tx)

    states, head = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document({"projections": states, "head_position": head})
        return
    rows = [(one.name, one.generation, one.position, head - one.position, one.active) for one in states]
    tables.table(("projection", "generation>", "position>", "behind>", "active"), rows)


@app.command("rebuild")
def rebuild(
    name: Annotated[str, typer.Argument(help="Which one, for example daily_facts.")], as_json: AsJson = False
) -> None:
    """Build a projection from the first fact, put it in the place of the one in use, and say whether they agreed."""
    projection = PROJECTIONS.get(name)
    if projection is None:
        known = ", ".join(PROJECTIONS)
        raise NoSuchProjection(f"There is no projection {name}; there are: {known}", projection=name)

    async def work(database: Database) -> Rebuilt:
        async with database.transaction(read_only=True) as tx:
            head = await events.head_position(tx)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task(name, total=head)
            return await service.rebuild(
                database, projection, told=lambda position: bars.update(bar, completed=position)
            )

    made = with_database(work, command=COMMAND)
    if as_json:
        tables.document({"rebuilt": made, "equal": made.equal})
    else:
        tables.facts(
            [
                ("projection", made.name), ("generation", made.generation), ("position", made.position),
                ("events", made.events), ("was", made.before), ("is", made.after),
            ]
        )  # fmt: skip
    if not made.equal:
        raise ProjectionDiffered(f"{name} differed from the facts up to position {made.position}; it has been replaced")
