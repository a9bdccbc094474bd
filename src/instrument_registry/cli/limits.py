"""`instrument-registry limits`: how often callers may ask, and keys with limits of their own."""

from typing import Annotated

import typer

from instrument_registry import events
from instrument_registry.access.limits import service
from instrument_registry.access.limits.model import KEYED, KeyLimits, Limits, RouteClass
from instrument_registry.cli import tables
from instrument_registry.cli.connected import caused_here, in_transaction, with_database
from instrument_registry.clock import now
from instrument_registry.configuration import service as configuration
from instrument_registry.configuration.model import Snapshot, Sources
from instrument_registry.configuration.parameters import PARAMETERS
from instrument_registry.configuration.service import pins
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Invalid
from instrument_registry.settings import known_names, variables

app = typer.Typer(name="limits", help="How often callers may ask.", no_args_is_help=True)

COMMAND = "limits"
FORM = "CLASS=PER_MINUTE, CLASS=PER_MINUTE/PER_SECOND or CLASS=/PER_SECOND"
KeyId = Annotated[str, typer.Argument(help="The id of a key, as `keys list` shows it.")]
Reason = Annotated[str, typer.Option(help="Why; the audit keeps it.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on standard output.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """How often every key may ask, and the keys that have limits of their own."""

    async def work(tx: Transaction) -> tuple[Snapshot, dict[str, KeyLimits]]:
        sources = Sources(environment=pins(variables(), settings=known_names()))
        return await configuration.read(tx, sources), await service.list_limits(tx)

    there, own = in_transaction(work, command=COMMAND)
    classes = {kind.value: _of_everyone(there, kind) for kind in RouteClass}
    if as_json:
        tables.document({"classes": classes, "keys": list(own.values())})
        return
    rows = [(kind, one.per_minute, one.per_second) for kind, one in classes.items()]
    tables.table(("class", "a minute>", "a second>"), rows, title="Every key; stranger: every address without one")
    if own:
        lines = [
            (one.key_id, kind, limits.per_minute, limits.per_second, one.reason, one.set_by, f"{one.set_at:%Y-%m-%d}")
            for one in own.values()
            for kind, limits in one.limits.items()
        ]
        columns = ("key", "class", "a minute>", "a second>", "reason", "by", "since")
        tables.table(columns, lines, title="Keys with limits of their own")


@app.command("set")
def set_(
    key_id: KeyId,
    limits: Annotated[list[str], typer.Argument(help=f"{FORM}; classes: {', '.join(KEYED)}.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Let a key have exactly these limits; every worker has them within two seconds."""
    wanted = dict(_read(text) for text in limits)

    async def work(database: Database) -> KeyLimits:
        async with database.transaction() as tx:
            made = await service.set_limits(tx, key_id, wanted, reason=reason, metadata=caused_here(), at=now())
        await events.wake(database)
        return made

    made = with_database(work, command=COMMAND)
    if as_json:
        tables.document(made)
    else:
        typer.echo(f"The limits of {made.key_id} are in force within two seconds.")


@app.command("remove")
def remove(key_id: KeyId, reason: Reason, as_json: AsJson = False) -> None:
    """Let a key be limited as every other."""

    async def work(database: Database) -> KeyLimits:
        async with database.transaction() as tx:
            before = await service.remove_limits(tx, key_id, reason=reason, metadata=caused_here(), at=now())
        await events.wake(database)
        return before

    before = with_database(work, command=COMMAND)
    if as_json:
        tables.document({"removed": before})
    else:
        typer.echo(f"{before.key_id} is limited as every other key within two seconds.")


def _of_everyone(there: Snapshot, kind: RouteClass) -> Limits:
    stem = f"RATE_LIMIT_{kind.name}_PER_"
    return Limits(*(int(there.settings[PARAMETERS[stem + span].name].value) for span in ("MINUTE", "SECOND")))


def _read(text: str) -> tuple[str, Limits]:
    """The class and the limits that somebody wrote."""
    name, sign, numbers = text.partition("=")
    minute, _, second = numbers.partition("/")
    if not sign or not all(part.isascii() and part.isdecimal() for part in (minute, second) if part):
        raise Invalid(f"{text!r} cannot be read; write {FORM}, for example read=120000/2000", field=text)
    return name, Limits(int(minute) if minute else None, int(second) if second else None)
