"""`instrument-registry tasks`: background work, how it is doing, and a turn at once."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from instrument_registry import clock
from instrument_registry.cli import client
from instrument_registry.cli.tables import note, table

app = typer.Typer(name="tasks", help="Background work: how it is doing; a turn at once.", no_args_is_help=True)


class _Task(msgspec.Struct):
    name: str
    process: str
    does: str
    state: str
    off_by: str | None
    periodic: bool
    began_at: datetime | None
    duration_seconds: float | None
    next_at: datetime | None
    failures: int
    error: str | None


class _Process(msgspec.Struct):
    process: str
    alive: bool
    seen_at: datetime


class _List(msgspec.Struct):
    processes: list[_Process]
    tasks: list[_Task]


class _Asked(msgspec.Struct):
    name: str


@app.command("list")
def list_(url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """What background work is doing in every process; times are UTC."""
    content = client.connect(url, key).get("/actuator/tasks")
    if as_json:
        client.print_json(content)
        return
    told = client.read(content, _List)
    if not told.processes:
        note("No worker process has said anything yet.")
        return
    now = clock.now()
    for process in told.processes:
        alive = "" if process.alive else f", not heard of since {_at(process.seen_at, now)}"
        rows = [
            (one.name, one.state if one.off_by is None else f"off by {one.off_by}", _at(one.began_at, now),
             _took(one.duration_seconds), _at(one.next_at, now), one.failures or None, one.error or one.does)
            for one in told.tasks
            if one.process == process.process
        ]  # fmt: skip
        columns = ("work", "is", "began", "took>", "next", "failed>", "what it does, or how it failed last")
        table(columns, rows, title=f"{process.process}{alive}")


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(help="Which work; one that has turns.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; the audit keeps it.")],
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Let work have a turn now, in whichever process comes first."""
    content = client.connect(url, key).post(f"/actuator/tasks/{client.named(name)}/run", {"reason": reason})
    if as_json:
        client.print_json(content)
    else:
        typer.echo(f"{client.read(content, _Asked).name} has a turn within two seconds; `tasks list` says how it went.")


def _at(at: datetime | None, now: datetime) -> str | None:
    if at is None:
        return None
    at = at.astimezone(UTC)
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def _took(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.2f} s"
