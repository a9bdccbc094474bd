"""`instrument-registry secrets`: values come by standard input, a prompt or a file, never as an argument."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from instrument_registry import events
from instrument_registry.cli import tables
from instrument_registry.cli.connected import caused_here, in_transaction, with_database
from instrument_registry.clock import now
from instrument_registry.configuration.secrets import model, service, wrapping
from instrument_registry.configuration.secrets.model import BadSecret, KeyUse, SecretVersion
from instrument_registry.database import Database, Transaction
from instrument_registry.errors import Conflict, Invalid, Unavailable
from instrument_registry.sealing import FILE_NAME, KeyFile, Sealer, sealer_of
from instrument_registry.sealing.master_keys import mint
from instrument_registry.settings import Settings

app = typer.Typer(name="secrets", help="Secrets: set, read, rotated; and the master keys.", no_args_is_help=True)

COMMAND = "secrets"
REWRAP_CALLS_MAX = 10_000
READ_BYTES = model.VALUE_BYTES_MAX + 3  # one more than may be, and the end of a line
Name = Annotated[str, typer.Argument(help="Which secret: A-Z, 0-9 and _.")]
Environment = Annotated[
    str | None, typer.Option("--environment", "-e", help="Of which environment; else INSTRUMENT_REGISTRY_ENVIRONMENT.")
]
Reason = Annotated[str, typer.Option(help="Why; the audit keeps it.")]
File = Annotated[Path | None, typer.Option("--file", help="Take the value from a file, as it is.")]
Overlap = Annotated[int, typer.Option(help="For how many seconds the former version can still be read.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on standard output.")]


class KeyInUse(Conflict):
    """Run `instrument-registry secrets rewrap` first."""

    title = "The master key is in use"


@app.command("list")
def list_(environment: Environment = None, as_json: AsJson = False) -> None:
    """The secrets there are, of every environment or of one; never their values."""

    async def work(tx: Transaction) -> list[SecretVersion]:
        return await service.listed(tx, environment=environment)

    found = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document({"secrets": [_facts(one) for one in found]})
    elif not found:
        tables.note("There are none; `instrument-registry secrets set NAME` sets one.")
    else:
        rows = [
            (one.name, one.environment, one.version, one.key_id, f"{one.at:%Y-%m-%d %H:%M}", one.actor, one.reason)
            for one in found
        ]
        tables.table(("secret", "environment", "version>", "master key", "set", "by", "reason"), rows)


@app.command("versions")
def versions(name: Name, environment: Environment = None, as_json: AsJson = False) -> None:
    """Who set a secret when and why, and how each version ended."""
    sealer = _sealer()

    async def work(tx: Transaction) -> list[SecretVersion]:
        return await service.versions(tx, name, environment=environment or sealer.environment)

    found = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document({"versions": [_facts(one) for one in found]})
        return
    rows = [
        (one.version, f"{one.at:%Y-%m-%d %H:%M}", one.actor, one.reason, one.key_id,
         one.ends_at and f"{one.ends_at:%Y-%m-%d %H:%M}", one.ended_by, one.ended_reason)
        for one in found
    ]  # fmt: skip
    tables.table(("version>", "set", "by", "reason", "master key", "ends", "by", "because"), rows)


@app.command("set")
def set_(
    name: Name,
    reason: Reason,
    file: File = None,
    environment: Environment = None,
    overlap: Overlap = model.OVERLAP_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Set a secret: from --file, from standard input (without the end of its last line), or as you are asked for it."""
    called, sealer, value = model.name_of(name), _sealer(), _value(file)

    async def work(tx: Transaction) -> SecretVersion:
        return await service.put(
            tx, called, value, sealer=sealer, reason=reason, metadata=caused_here(), at=now(),
            environment=environment, overlap_seconds=overlap,
        )  # fmt: skip

    _made(in_transaction(work, command=COMMAND), as_json=as_json)


@app.command("rotate")
def rotate(
    name: Name,
    reason: Reason,
    file: File = None,
    given: Annotated[
        bool, typer.Option("--given", help="Ask for the value, or read it from standard input; else one is made.")
    ] = False,
    environment: Environment = None,
    overlap: Overlap = model.OVERLAP_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Give a secret another value: a random one of 256 bits, or your own; the former can be read for a while."""
    sealer, value = _sealer(), _value(file) if given or file is not None else None

    async def work(tx: Transaction) -> SecretVersion:
        return await service.rotate(
            tx, name, sealer=sealer, reason=reason, metadata=caused_here(), at=now(), value=value,
            environment=environment, overlap_seconds=overlap,
        )  # fmt: skip

    _made(in_transaction(work, command=COMMAND), as_json=as_json)


@app.command("get")
def get(
    name: Name,
    environment: Environment = None,
    version: Annotated[int | None, typer.Option(help="A former version, within its overlap.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a value to standard output; the audit says that you read it."""
    sealer = _sealer()

    async def work(tx: Transaction) -> tuple[SecretVersion, str]:
        return await service.read(
            tx, name, sealer=sealer, metadata=caused_here(), at=now(), environment=environment, version=version
        )

    found, value = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document({**_facts(found), "value": value})
    else:
        sys.stdout.write(value + ("\n" if sys.stdout.isatty() else ""))


@app.command("delete")
def delete(name: Name, reason: Reason, environment: Environment = None) -> None:
    """Take a secret away with every version, at once; its history stays."""
    where = environment or _sealer().environment

    async def work(tx: Transaction) -> None:
        await service.delete(tx, name, reason=reason, metadata=caused_here(), at=now(), environment=where)

    in_transaction(work, command=COMMAND)
    typer.echo(f"{model.name_of(name)} of {where} is gone.")


@app.command("rewrap")
def rewrap(as_json: AsJson = False) -> None:
    """Bring everything that is sealed under the newest master key, while it is read and written as before."""
    sealer = _sealer()

    async def work(database: Database) -> tuple[model.Rewrapped, int]:
        total = 0
        for _ in range(REWRAP_CALLS_MAX):
            done = await wrapping.rewrap(database, sealer, metadata=caused_here(), clock=now)
            total += done.rewrapped
            if done.left == 0 or done.rewrapped == 0:
                break
            tables.note(f"{total} done, {done.left} left")
        await events.wake(database)
        return done, total

    done, total = with_database(work, command=COMMAND)
    if as_json:
        tables.document({"key_id": done.key_id, "rewrapped": total, "left": done.left, "damaged": done.damaged})
    else:
        typer.echo(f"{total} rewrapped under {done.key_id}; {done.left} left.")
    if done.damaged:
        raise Unavailable(f"{', '.join(done.damaged)} cannot be opened; set them anew")


@app.command("keys")
def keys(
    add: Annotated[bool, typer.Option("--add", help="Put another key before the others in the file.")] = False,
    retire: Annotated[
        str | None, typer.Option(metavar="ID", help="Take a key that wraps nothing out of the file.")
    ] = None,
    make: Annotated[
        bool, typer.Option("--mint", help="Write the line of another key to standard output, and do nothing else.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The master keys: which are here, which wraps what is new, and how much each still wraps."""
    if make:
        typer.echo(mint())
        return
    settings, sealer = Settings.load(), _sealer()

    async def work(tx: Transaction) -> list[KeyUse]:
        return await wrapping.keys(tx, sealer, at=now())

    if add:
        tables.note(f"{_file(settings).add().hex()} wraps from now on; now run: instrument-registry secrets rewrap")
    found = in_transaction(work, command=COMMAND)
    if retire is not None:
        _retire(settings, retire, found)
        found = in_transaction(work, command=COMMAND)
    if as_json:
        tables.document({"keys": found})
        return
    rows = [
        (one.key_id, "newest" if one.newest else "held" if one.held else "MISSING", one.secrets, one.webhook_secrets)
        for one in found
    ]
    tables.table(("master key", "here", "secrets>", "webhook secrets>"), rows)


def _sealer() -> Sealer:
    """Where the service has no key yet, a command makes none: it may look into another folder than the service."""
    return sealer_of(Settings.load(), may_make_key=False)


def _value(file: Path | None) -> str:
    try:
        if file is not None:
            with file.open("rb") as opened:
                return _text(opened.read(READ_BYTES))
        if sys.stdin.isatty():
            return str(typer.prompt("Value", hide_input=True, confirmation_prompt=True))
        return _text(sys.stdin.buffer.read(READ_BYTES)).removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error


def _text(content: bytes) -> str:
    if len(content) == READ_BYTES:
        raise BadSecret(f"The value has more than {model.VALUE_BYTES_MAX} bytes", field="value")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BadSecret("The value is not UTF-8; encode it first, for example with base64", field="value") from None


def _file(settings: Settings) -> KeyFile:
    if settings.master_keys is not None:
        raise Invalid("The master keys are in INSTRUMENT_REGISTRY_MASTER_KEYS; change them there (--mint makes a line)")
    return KeyFile(settings.master_keys_file or settings.data_dir / FILE_NAME, may_be_made=False)


def _retire(settings: Settings, key_id: str, found: list[KeyUse]) -> None:
    use = next((one for one in found if one.key_id == key_id.lower()), None)
    if use is not None and use.wraps:
        raise KeyInUse(f"{key_id} still wraps {use.wraps} secrets; run: instrument-registry secrets rewrap")
    if use is not None and use.newest:
        raise KeyInUse(f"{key_id} is the newest; add another one first: instrument-registry secrets keys --add")
    if use is None or not use.held:
        raise Invalid(f"There is no master key {key_id!r} here; list them with: instrument-registry secrets keys")
    _file(settings).remove(bytes.fromhex(use.key_id))
    tables.note(f"{key_id} is taken out; keep it with the backups that were made while it was here")


def _made(version: SecretVersion, *, as_json: bool) -> None:
    if as_json:
        tables.document(_facts(version))
    else:
        typer.echo(f"{version.name} of {version.environment} is at version {version.version}.")


def _facts(version: SecretVersion) -> dict[str, object]:
    return {
        "name": version.name, "environment": version.environment, "version": version.version,
        "key_id": version.key_id, "actor": version.actor, "at": version.at, "reason": version.reason,
        "ends_at": version.ends_at, "ended_by": version.ended_by, "ended_reason": version.ended_reason,
    }  # fmt: skip
