"""`instrument-registry keys`: create, list and revoke API keys in the database of this instance."""

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from instrument_registry.access import service
from instrument_registry.access.model import ApiKey, Scope
from instrument_registry.cli import tables
from instrument_registry.cli.connected import caused_here, in_transaction
from instrument_registry.clock import now
from instrument_registry.database import Transaction

app = typer.Typer(name="keys", help="API keys: who may use the doors.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on standard output.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who will use it, for example a program's name.")],
    scope: Annotated[
        Scope, typer.Option(help="reader: look up; operator: also change; admin: everything.")
    ] = Scope.READER,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once; only a digest of it is kept."""

    async def work(tx: Transaction) -> tuple[ApiKey, str]:
        return await service.create_key(tx, name=name, scope=scope, metadata=caused_here(), at=now())

    key, text = in_transaction(work, command="keys")
    if as_json:
        tables.document({"key": text, **_facts(key)})
        return
    typer.echo(text)
    typer.echo(f"{key.scope} key {key.id} for {key.name}: keep it now, it cannot be shown again.", err=True)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every key, revoked ones too, oldest first; never the secrets."""
    keys = in_transaction(service.list_keys, command="keys")
    if as_json:
        tables.document({"keys": [_facts(key) for key in keys]})
        return
    table = Table(box=None, header_style="bold")
    for column in ("id", "name", "scope", "created", "by", "last used", "revoked"):
        table.add_column(column, no_wrap=column in ("id", "scope"))
    for key in keys:
        revoked = f"{_minute(key.revoked_at)} by {key.revoked_by}" if key.revoked_at else ""
        used = _minute(key.last_used_at) if key.last_used_at else "never"
        table.add_row(key.id, key.name, key.scope, _minute(key.created_at), key.created_by, used, revoked)
    Console().print(table)


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id, as `keys list` shows it.")], as_json: AsJson = False
) -> None:
    """Take a key out of force; every worker refuses it within two seconds."""

    async def work(tx: Transaction) -> ApiKey:
        return await service.revoke_key(tx, key_id, metadata=caused_here(), at=now())

    key = in_transaction(work, command="keys")
    if as_json:
        tables.document(_facts(key))
        return
    typer.echo(f"Revoked {key.id} ({key.name}).")


def _facts(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "scope": key.scope,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
        "revoked_by": key.revoked_by,
    }


def _minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
