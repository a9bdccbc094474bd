"""`instrument-registry config`: parameters and toggles, what is in force and why, changed and undone."""

import time
from typing import Annotated

import msgspec
import typer

from instrument_registry import events
from instrument_registry.breakers import Breakers
from instrument_registry.cli import client, tables
from instrument_registry.cli.connected import caused_here, in_transaction, with_database
from instrument_registry.clock import now
from instrument_registry.configuration import service
from instrument_registry.configuration.model import Snapshot, Sources, Version, find
from instrument_registry.configuration.parameters import PARAMETERS
from instrument_registry.configuration.service import Changes, Difference
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Invalid, Unavailable
from instrument_registry.settings import Settings
from instrument_registry.wiring import sources_of

app = typer.Typer(name="config", help="Parameters and toggles that are changed while it runs.", no_args_is_help=True)

COMMAND = "config"
AGAIN_SECONDS = 0.5
Pairs = Annotated[list[str], typer.Argument(help="NAME=VALUE, as many as belong together; NAME= takes a value back.")]
Reason = Annotated[str, typer.Option(help="Why; the audit keeps it.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on standard output.")]


@app.command("list")
def list_(
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not at its default.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every parameter with its value and where that comes from."""
    there = in_transaction(_read, command=COMMAND)
    names = [name for name, one in there.settings.items() if not changed or one.source != "default"]
    if as_json:
        values = [
            {"name": name, "value": service.text(there, name), "source": there.settings[name].source} for name in names
        ]
        tables.document({"version": there.version, "parameters": values})
        return
    rows = [
        (name, service.text(there, name), PARAMETERS[name].unit, there.settings[name].source, PARAMETERS[name].bounds())
        for name in names
    ]
    tables.table(("parameter", "value>", "unit", "source", "may be"), rows, title=f"Version {there.version}")


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="Which parameter.")], as_json: AsJson = False) -> None:
    """One parameter: what it is for, what it may be, and every change of it."""
    parameter = find(PARAMETERS, name)

    async def work(tx: Transaction) -> tuple[Snapshot, list[Version]]:
        return await _read(tx), await service.history(tx, name=parameter.name)

    there, versions = in_transaction(work, command=COMMAND)
    setting, shown = there.settings[parameter.name], service.text(there, parameter.name)
    if as_json:
        tables.document({"name": parameter.name, "value": shown, "source": setting.source, "versions": versions})
        return
    tables.facts(
        [
            ("parameter", parameter.name), ("value", shown), ("unit", parameter.unit), ("source", setting.source),
            ("default", parameter.text(parameter.default)), ("may be", parameter.bounds()),
            ("changed", "while it runs" if parameter.live else "at the next start, by the environment"),
            ("owner", parameter.owner), ("why", parameter.why),
        ]
    )  # fmt: skip
    _versions(versions)


@app.command("set")
def set_(pairs: Pairs, reason: Reason, as_json: AsJson = False) -> None:
    """Change parameters, all of them or none; every process has them within two seconds."""
    changes = _changes(pairs)

    async def work(database: Database) -> Version:
        async with database.transaction() as tx:
            made = await service.change(tx, changes, _sources(), reason=reason, metadata=caused_here(), at=now())
        await events.wake(database)
        return made

    made = with_database(work, command=COMMAND)
    if as_json:
        tables.document(made)
    else:
        typer.echo(f"Version {made.version} is in force within two seconds.")


@app.command("preview")
def preview(pairs: Pairs, as_json: AsJson = False) -> None:
    """What a change would do, without doing it."""
    changes = _changes(pairs)

    async def work(tx: Transaction) -> list[Difference]:
        return await service.preview(tx, changes, _sources())

    found = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document({"differences": [one._asdict() for one in found]})
    elif not found:
        typer.echo("Nothing would change.")
    else:
        tables.table(("parameter", "now", "then"), found)


@app.command("history")
def history(as_json: AsJson = False) -> None:
    """Every change, the newest first."""

    async def work(tx: Transaction) -> list[Version]:
        return await service.history(tx)

    versions = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document({"versions": versions})
    elif not versions:
        typer.echo("Nothing has been changed yet.")
    else:
        _versions(versions)


@app.command("revert")
def revert(
    version: Annotated[int, typer.Argument(help="To which version; 0: before the first change.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Set everything as it was at a version."""

    async def work(database: Database) -> Version | None:
        async with database.transaction() as tx:
            made = await service.revert(tx, version, _sources(), reason=reason, metadata=caused_here(), at=now())
        await events.wake(database)
        return made

    made = with_database(work, command=COMMAND)
    if as_json:
        tables.document({"made": made})
    else:
        typer.echo(f"Version {made.version} is as {version} was." if made else "Everything is so already.")


@app.command("watch")
def watch(
    start: Annotated[int | None, typer.Option("--from", help="Go on after this version; else from now on.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Follow changes as they come into force, until Ctrl-C; a worker that stops is left for another."""
    instance, after = client.connect(url, key), start
    while True:
        ended = False
        for line in instance.follow("/configuration/watch", **{"from": after}):
            told = client.read(line, _Watched)
            after = told.version if told.version is not None else after
            if as_json:
                client.print_json(line.rstrip())
            elif told.kind == "snapshot":
                tables.note(f"At version {told.version}. Waiting for changes; Ctrl-C ends.")
            elif told.kind == "change":
                for name, change in told.changes.items():
                    was, then = tables.plain(change["old"]), tables.plain(change["new"])
                    typer.echo(tables.plain(f"{told.version}  {name}: {was} -> {then}  ({told.actor}: {told.reason})"))
            ended = told.kind == "end"
            if ended and told.reason != "stopping":
                raise Unavailable(str(told.reason))
        if not ended:
            raise Unavailable("The stream broke off; start again with --from " + str(after))
        time.sleep(AGAIN_SECONDS)


class _Watched(msgspec.Struct):
    kind: str
    version: int | None = None
    changes: dict[str, dict[str, str | None]] = {}
    actor: str | None = None
    reason: str | None = None


async def _read(tx: Transaction) -> Snapshot:
    return await service.read(tx, _sources())


def _sources() -> Sources:
    """What holds where this command runs; the configuration service is not asked for it."""
    return sources_of(Settings.load(), Breakers())[0]


def _changes(pairs: list[str]) -> Changes:
    changes: dict[str, str | None] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise Invalid(f"{pair!r} has no =; write NAME=VALUE, or NAME= to take a value back", field=pair)
        changes[name] = value or None
    return changes


def _versions(versions: list[Version]) -> None:
    rows = [
        (one.version, f"{one.at:%Y-%m-%d %H:%M}", one.actor, name, change["old"], change["new"], one.reason)
        for one in versions
        for name, change in one.changes.items()
    ]
    tables.table(("version>", "at", "by", "parameter", "was", "is", "reason"), rows)
