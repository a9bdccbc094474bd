"""`instrument-registry audit`: who changed what, and the proof that nobody changed the answer.

Exit codes: 0 done or in order, 1 failed, 2 wrong usage or files, 3 the audit has been changed.
"""

import secrets
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import facts, note, table
from instrument_registry.errors import Conflict, Invalid, NotFound

app = typer.Typer(name="audit", help="Who changed what; verified, proved, exported.", no_args_is_help=True)

PAGE = 1000
SHOWN_CHARACTERS = 60

Actor = Annotated[str | None, typer.Option(help="Only by this actor: api_key:<id>, a user, a worker.")]
Subject = Annotated[str | None, typer.Option(help="Only about this: an instrument's id, a key's id, a stream.")]
Action = Annotated[str | None, typer.Option(help="Only this: a fact's type, like alias.added.")]
Correlation = Annotated[str | None, typer.Option("--correlation-id", help="Only of this request.")]
From = Annotated[str | None, typer.Option("--from", help="Recorded at this instant or later.")]
To = Annotated[str | None, typer.Option("--to", help="Recorded before this instant.")]
Checkpoints = Annotated[
    Path | None,
    typer.Option("--checkpoints", help="Checkpoints kept outside; else <data dir>/audit/checkpoints.log."),
]
Keys = Annotated[Path | None, typer.Option("--keys", help="Public keys to trust; else <data dir>/audit.pub.")]


class AuditChanged(Conflict):
    """Keep everything as it is, and compare with a backup."""

    title = "The audit has been changed"


class _Record(msgspec.Struct):
    position: int | None
    at: str
    action: str
    actor: str
    subject: str
    old: msgspec.Raw
    new: msgspec.Raw
    reason: str | None
    correlation_id: str
    address: str | None


class _Pagination(msgspec.Struct):
    next_cursor: str | None = None


class _Page(msgspec.Struct):
    records: list[_Record]
    pagination: _Pagination


class _Checkpoint(msgspec.Struct):
    size: int
    root: str
    at: str
    key_id: str
    note: str


class _CheckpointPage(msgspec.Struct):
    checkpoints: list[_Checkpoint]


class _Sealed(msgspec.Struct):
    text: str


class _Inclusion(msgspec.Struct):
    position: int
    leaf: str
    path: list[str]
    checkpoint: _Checkpoint


@app.command("verify")
def verify(checkpoints: Checkpoints = None, keys: Keys = None, as_json: client.AsJson = False) -> None:
    """Read the whole audit in the database and compare it with what was signed, here and outside.

    Every text is hashed and read, every column compared with it, the whole tree computed again, every signature
    checked. The first thing that is wrong is named, with exit code 3.
    """
    from instrument_registry.cli.connected import with_database
    from instrument_registry.database import Database
    from instrument_registry.events.archives import service as archives
    from instrument_registry.events.audit import inspection, service
    from instrument_registry.events.audit.outside import Outside, read_checkpoints, read_verifiers
    from instrument_registry.events.audit.verification import SAMPLE_EVERY, Verdict
    from instrument_registry.settings import Settings

    outside = Outside(Settings.load().data_dir)
    trusted = read_verifiers(keys) if keys else outside.trusted()
    path = checkpoints or outside.checkpoints
    if checkpoints and not checkpoints.exists():
        raise Invalid(f"{checkpoints} does not exist", field="checkpoints")
    kept = read_checkpoints(path) if path.exists() else iter(())

    async def work(database: Database) -> Verdict:
        believed = trusted
        if not believed:
            async with database.transaction(read_only=True) as tx:
                believed = await service.registered_keys(tx)
        archived = await archives.prove_records(database, outside.folder)
        with database.blocking_session("audit verify") as connection:
            return inspection.inspect(
                connection, keys=believed, outside=kept, archived=archived,
                sample_offset=secrets.randbelow(SAMPLE_EVERY),
            )  # fmt: skip

    verdict = with_database(work, command="audit")
    if not trusted:
        note("No public key is known outside the database: whoever could change it could have signed it anew.")
    if verdict.outside == 0:
        note("No checkpoint is known outside the database: a tail that was cut off would not show.")
    if as_json:
        shown = {name: getattr(verdict, name) for name in verdict.__dataclass_fields__} | {"root": verdict.root.hex()}
        typer.echo(msgspec.json.encode(shown).decode())
        return
    print(f"{verdict.records:,} records are in order, {verdict.covered:,} of them signed for.")
    facts([
        ("root", verdict.root.hex()), ("checkpoints", verdict.checkpoints), ("of these outside", verdict.outside),
        ("tiles", verdict.tiles), ("canonicalised again", verdict.canonicalised), ("archived", verdict.archived),
    ])  # fmt: skip


@app.command("search")
def search(
    actor: Actor = None,
    subject: Subject = None,
    action: Action = None,
    correlation_id: Correlation = None,
    from_: From = None,
    to: To = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 50,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Find records, the newest first; with --json each page on a line."""
    instance = client.connect(url, key)
    found: list[_Record] = []
    cursor: str | None = None
    while len(found) < limit:
        content = instance.get(
            "/audit", actor=actor, subject=subject, action=action, correlation_id=correlation_id, to=to,
            limit=min(PAGE, limit - len(found)), cursor=cursor, **{"from": from_},
        )  # fmt: skip
        page = client.read(content, _Page)
        if as_json:
            client.print_json(content)
        found += page.records
        cursor = page.pagination.next_cursor
        if cursor is None:
            break
    if as_json:
        return
    if not found:
        note("There are none.")
        return
    rows = [
        (one.position, one.at[:19], one.actor, one.action, one.subject, _value(one.old), _value(one.new), one.reason)
        for one in found
    ]
    table(["position>", "at", "actor", "action", "subject", "old", "new", "reason"], rows)


@app.command("prove")
def prove(
    position: Annotated[int, typer.Argument(min=1, help="The record's position, as `search` shows it.")],
    size: Annotated[int | None, typer.Option(help="Up to the checkpoint of this size; else the newest.")] = None,
    keys: Keys = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Prove that a record is in the tree that was signed, and check the proof here; --json gives it for others."""
    from instrument_registry.events.audit import merkle
    from instrument_registry.events.audit.checkpoints import by_id, checked
    from instrument_registry.events.audit.outside import Outside, read_verifiers
    from instrument_registry.settings import Settings

    instance = client.connect(url, key)
    content = instance.get(f"/audit/{position}/proof", size=size)
    proof = client.read(content, _Inclusion)
    text = _text(instance, position)
    trusted = read_verifiers(keys) if keys else Outside(Settings.load().data_dir).trusted()
    signed = checked(proof.checkpoint.note, by_id(trusted)) if trusted else None
    leaf = bytes.fromhex(proof.leaf) if text is None else merkle.leaf_hash(text.encode())
    path = [bytes.fromhex(one) for one in proof.path]
    root = merkle.root_from_inclusion(leaf, position - 1, proof.checkpoint.size, path)
    if root is None or root.hex() != proof.checkpoint.root or (signed and (signed.size, signed.root) != (
        proof.checkpoint.size, root
    )):  # fmt: skip
        raise AuditChanged(f"The proof does not lead from record {position} to the root that was signed")
    if signed is None:
        note("No public key is at hand (--keys): the checkpoint's signature was not checked.")
    if as_json:
        client.print_json(content)
        return
    print(text or "The record itself has been archived; its leaf is proved.")
    facts([
        ("leaf", leaf.hex()), ("path", f"{len(path)} hashes"), ("root", root.hex()), ("tree", proof.checkpoint.size),
        ("signed", f"{proof.checkpoint.at[:19]} with key {proof.checkpoint.key_id}"),
    ])  # fmt: skip


@app.command("checkpoint")
def checkpoint(
    now: Annotated[bool, typer.Option("--now", help="Sign for everything recorded so far first.")] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Print the newest signed checkpoint, to be kept where nobody who may change the database gets."""
    instance = client.connect(url, key)
    if now:
        content = instance.post("/audit/checkpoints", {})
        newest = client.read(content, _Checkpoint)
    else:
        content = instance.get("/audit/checkpoints", limit=1)
        listed = client.read(content, _CheckpointPage).checkpoints
        if not listed:
            note("There is none yet.")
            raise typer.Exit(1)
        newest = listed[0]
    client.print_json(content) if as_json else print(newest.note, end="")


@app.command("export")
def export(
    file: Annotated[Path | None, typer.Argument(help="Where to write it; left out: standard output.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="jsonl or csv; else by the file's name.")] = None,
    actor: Actor = None,
    subject: Subject = None,
    action: Action = None,
    correlation_id: Correlation = None,
    from_: From = None,
    to: To = None,
    url: client.Url = None,
    key: client.Key = None,
) -> None:
    """Write records to a file, the oldest first; JSON lines hold the exact texts that were hashed."""
    chosen = format_ or ("csv" if file and file.suffix.lower() == ".csv" else "jsonl")
    pieces = client.connect(url, key).stream(
        "/audit/export", format=chosen, actor=actor, subject=subject, action=action, correlation_id=correlation_id,
        to=to, **{"from": from_},
    )  # fmt: skip
    if file is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as out:
            for piece in pieces:
                out.write(piece)
        part.replace(file)
    except OSError as error:
        raise Invalid(f"{file} cannot be written: {error.strerror or error}", field="file") from error
    finally:
        part.unlink(missing_ok=True)


def _text(instance: client.Client, position: int) -> str | None:
    try:
        return client.read(instance.get(f"/audit/{position}"), _Sealed).text
    except NotFound:
        return None


def _value(raw: msgspec.Raw) -> str | None:
    text = bytes(raw).decode()
    if text == "null":
        return None
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
