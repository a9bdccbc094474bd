"""`instrument-registry aliases`: nicknames and former names that operators maintain."""

from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client, completing
from instrument_registry.cli.tables import note, table

app = typer.Typer(name="aliases", help="Other names by which instruments are found.", no_args_is_help=True)

PAGE = 1000
Alias = Annotated[str, typer.Argument(help="What somebody types.")]
Target = Annotated[
    str, typer.Argument(help="The name it leads to, as it stands in keys: M&M.", autocompletion=completing.symbols)
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for whoever asks next year.")]


class _Alias(msgspec.Struct):
    alias: str
    target: str
    origin: str
    reason: str | None = None
    actor: str | None = None
    created_at: str | None = None


class _Pagination(msgspec.Struct):
    next_cursor: str | None = None


class _Page(msgspec.Struct):
    aliases: list[_Alias]
    pagination: _Pagination


@app.command("list")
def list_(
    target: Annotated[str | None, typer.Option(help="Only those that lead here.")] = None,
    seed: Annotated[bool, typer.Option("--seed", help="Our own list too.")] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List what operators call things; with --json each page on a line."""
    instance = client.connect(url, key)
    found: list[_Alias] = []
    cursor: str | None = None
    while True:
        content = instance.get("/aliases", target=target, seed=seed, limit=PAGE, cursor=cursor)
        page = client.read(content, _Page)
        if as_json:
            client.print_json(content)
        found += page.aliases
        cursor = page.pagination.next_cursor
        if cursor is None:
            break
    if not as_json:
        _print(found)


@app.command("add")
def add(
    alias: Alias,
    target: Target,
    reason: Reason,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Let something be found by another name, at once and by everybody."""
    content = client.connect(url, key).post("/aliases", {"alias": alias, "target": target, "reason": reason})
    made = client.read(content, _Alias)
    client.print_json(content) if as_json else print(f"{made.alias} leads to {made.target}.")


@app.command("remove")
def remove(
    alias: Alias,
    target: Target,
    reason: Reason,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Take an alias back; those of our own list stay."""
    content = client.connect(url, key).delete(f"/aliases/{client.named(alias)}", target=target, reason=reason)
    gone = client.read(content, _Alias)
    client.print_json(content) if as_json else print(f"{gone.alias} leads to {gone.target} no longer.")


def _print(found: list[_Alias]) -> None:
    if not found:
        note("There are none; --seed lists our own.")
        return
    rows = [
        (one.alias, one.target, one.origin, one.created_at[:16] if one.created_at else None, one.actor, one.reason)
        for one in found
    ]
    table(["alias", "leads to", "origin", "added", "by", "reason"], rows)
