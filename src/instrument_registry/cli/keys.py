"""`instrument-registry keys`: create, list, rotate and revoke API keys in the database of this instance."""

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from instrument_registry.access import binding, granting, service
from instrument_registry.access.model import ApiKey, KeyState, Scope
from instrument_registry.access.service import Rotated
from instrument_registry.access.spans import end_of, span_of
from instrument_registry.cli import tables
from instrument_registry.cli.connected import caused_here, in_transaction
from instrument_registry.clock import now
from instrument_registry.configuration.secrets.model import name_of
from instrument_registry.database import Transaction
from instrument_registry.errors import Invalid
from instrument_registry.settings import Settings

STYLES = {KeyState.IN_FORCE: "green", KeyState.ENDING: "yellow", KeyState.ENDED: "dim", KeyState.REVOKED: "dim"}

app = typer.Typer(name="keys", help="API keys: who may use the doors.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on standard output.")]
KeyId = Annotated[str, typer.Argument(help="The id, as `keys list` shows it.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the audit.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who will use it, for example a program's name.")],
    scope: Annotated[
        Scope, typer.Option(help="reader: look up; operator: also change; admin: everything.")
    ] = Scope.READER,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 90d, 12h, 2027-01-31 or 2027-01-31T18:00:00Z. Without it: never.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once; only a digest of it is kept."""
    at = now()
    end = end_of(expires, at=at) if expires is not None else None

    async def work(tx: Transaction) -> tuple[ApiKey, str]:
        return await service.create_key(tx, name=name, scope=scope, expires_at=end, metadata=caused_here(), at=at)

    key, text = in_transaction(work, command="keys")
    if as_json:
        tables.document({"key": text, **_facts(key)})
        return
    typer.echo(text)
    until = f", until {_minute(key.expires_at)} UTC" if key.expires_at else ""
    typer.echo(f"{key.scope} key {key.id} for {key.name}{until}: keep it now, it cannot be shown again.", err=True)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every key, ended and revoked ones too, oldest first; never the secrets."""
    keys = in_transaction(service.list_keys, command="keys")
    if as_json:
        tables.document({"keys": [_facts(key) for key in keys]})
        return
    at = now()
    table = Table(box=None, header_style="bold")
    for column in ("id", "name", "scope", "state", "ends", "created", "by", "last used", "notes"):
        table.add_column(column, no_wrap=column in ("id", "scope", "state"))
    for key in keys:
        state = key.state(at)
        table.add_row(
            key.id, key.name, key.scope, Text(state.replace("_", " "), style=STYLES[state]),
            _minute(key.expires_at) if key.expires_at else "never", _minute(key.created_at), key.created_by,
            _minute(key.last_used_at) if key.last_used_at else "never", _notes(key),
        )  # fmt: skip
    tables.console().print(table)
    ending = [key for key in keys if key.state(at) is KeyState.ENDING and key.replaced_by is None]
    for key in ending:
        typer.echo(
            f"{key.id} ({key.name}) ends at {_minute(key.expires_at)} UTC; `keys rotate {key.id}` makes the next one.",
            err=True,
        )


@app.command("bind")
def bind(
    key_id: KeyId,
    reason: Reason,
    users: Annotated[list[str] | None, typer.Argument(help="Users; without any it may touch everybody's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a key touch the subscription profiles of exactly these users."""
    _see_reason(reason)

    async def work(tx: Transaction) -> ApiKey:
        return await binding.bind(tx, key_id, users or [], reason=reason, metadata=caused_here(), at=now())

    key = in_transaction(work, command="keys")
    if as_json:
        tables.document(_facts(key))
        return
    typer.echo(f"{key.id} ({key.name}) touches the profiles of {', '.join(key.users) or 'everybody'}.")


@app.command("grant")
def grant(
    key_id: KeyId,
    reason: Reason,
    secrets: Annotated[list[str] | None, typer.Argument(help="Names of secrets; without any it reads none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a key read the values of exactly these secrets, although it may not administrate."""
    names = [name_of(one) for one in secrets or []]
    _see_reason(reason)

    async def work(tx: Transaction) -> ApiKey:
        return await granting.grant(tx, key_id, names, reason=reason, metadata=caused_here(), at=now())

    key = in_transaction(work, command="keys")
    if as_json:
        tables.document(_facts(key))
        return
    typer.echo(f"{key.id} ({key.name}) reads {', '.join(key.secrets) or 'no secrets'}.")


@app.command("rotate")
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option(help="How long the old key still works: 24h, 30m, 7d; 0s ends it at once.")
    ] = "24h",
    as_json: AsJson = False,
) -> None:
    """Make a key that takes another's place; the old one works on until the overlap is over.

    The new key has the old one's name, scope, lifetime and limits. Where operator.key of the data folder holds the old
    key, it holds the new one afterwards.
    """
    at = now()
    lasts = span_of(overlap)

    async def work(tx: Transaction) -> Rotated:
        return await service.rotate_key(tx, key_id, overlap=lasts, metadata=caused_here(), at=at)

    done = in_transaction(work, command="keys")
    path = Settings.load().data_dir / "operator.key"
    held = service.held_in(path)
    kept = held is not None and held.id == key_id
    if kept:
        service.write_key_file(path, done.text)
    if as_json:
        tables.document({"key": done.text, **_facts(done.new), "replaced": _facts(done.old)})
        return
    typer.echo(done.text)
    where = f"; {path} holds it" if kept else ""
    typer.echo(f"{done.new.scope} key {done.new.id} for {done.new.name}: keep it now{where}.", err=True)
    typer.echo(f"The old key {done.old.id} ends at {_minute(done.old.expires_at)} UTC.", err=True)


@app.command("revoke")
def revoke(key_id: KeyId, as_json: AsJson = False) -> None:
    """Take a key out of force; every worker refuses it within two seconds."""

    async def work(tx: Transaction) -> ApiKey:
        return await service.revoke_key(tx, key_id, metadata=caused_here(), at=now())

    key = in_transaction(work, command="keys")
    if as_json:
        tables.document(_facts(key))
        return
    typer.echo(f"Revoked {key.id} ({key.name}).")


def _see_reason(reason: str) -> None:
    if not reason.strip():
        raise Invalid("Say why in --reason: the audit keeps it", field="reason")


def _facts(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "scope": key.scope,
        "state": key.state(now()),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "replaces": key.replaces,
        "replaced_by": key.replaced_by,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
        "revoked_by": key.revoked_by,
        "users": key.users,
        "secrets": key.secrets,
    }


def _notes(key: ApiKey) -> str:
    notes = []
    if key.revoked_at is not None:
        notes.append(f"revoked {_minute(key.revoked_at)} by {key.revoked_by}")
    if key.replaces is not None:
        notes.append(f"replaces {key.replaces}")
    if key.replaced_by is not None:
        notes.append(f"replaced by {key.replaced_by}")
    if key.users:
        notes.append(f"touches the profiles of {', '.join(key.users)}")
    if key.secrets:
        notes.append(f"reads {', '.join(key.secrets)}")
    return ", ".join(notes)


def _minute(instant: datetime | None) -> str:
    return "never" if instant is None else f"{instant:%Y-%m-%d %H:%M}"
