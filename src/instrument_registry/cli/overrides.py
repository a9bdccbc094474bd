"""`instrument-registry overrides`: fields that operators set against the files."""

from typing import Annotated, Literal

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import note, table

app = typer.Typer(name="overrides", help="Fields set against what the files say.", no_args_is_help=True)

PAGE = 100
Field = Literal["lot_size", "tick_size", "freeze_qty", "multiplier", "name"]
Identifier = Annotated[str, typer.Argument(help="A key, id, symbol, isin:… or broker:token.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for whoever asks next year.")]


class _Override(msgspec.Struct):
    id: int
    key: str | None
    field: str
    value: str
    reason: str
    valid_from: str
    valid_to: str
    in_force: bool
    actor: str
    withdrawn_by: str | None


class _Pagination(msgspec.Struct):
    next_cursor: str | None = None


class _Page(msgspec.Struct):
    overrides: list[_Override]
    pagination: _Pagination


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Ended and withdrawn ones too.")] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List the overrides of all instruments, the newest first; with --json each page on a line."""
    instance = client.connect(url, key)
    found: list[_Override] = []
    cursor: str | None = None
    while True:
        content = instance.get("/overrides", in_force=not all_, limit=PAGE, cursor=cursor)
        page = client.read(content, _Page)
        if as_json:
            client.print_json(content)
        found += page.overrides
        cursor = page.pagination.next_cursor
        if cursor is None:
            break
    if not as_json:
        _print(found)


@app.command("set")
def set_(
    identifier: Identifier,
    field: Annotated[Field, typer.Argument(help="What is set.")],
    value: Annotated[str, typer.Argument(help="To what.")],
    until: Annotated[str, typer.Option(help="The first market date without it, YYYY-MM-DD.")],
    reason: Reason,
    since: Annotated[str | None, typer.Option("--from", help="The first market date with it; today.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Set a field of an instrument against what the files say, until a date."""
    body: dict[str, object] = {"field": field, "value": value, "reason": reason, "valid_to": until}
    if since is not None:
        body["valid_from"] = since
    content = client.connect(url, key).post(f"/instruments/{client.named(identifier)}/overrides", body)
    made = client.read(content, _Override)
    if as_json:
        client.print_json(content)
    else:
        held = f"from {made.valid_from} until before {made.valid_to}"
        print(f"Override {made.id}: {made.field} of {made.key} is {made.value} {held}.")


@app.command("withdraw")
def withdraw(
    identifier: Identifier,
    override: Annotated[int, typer.Argument(help="Its id, as `show` and `overrides list` tell it.")],
    reason: Reason,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Take an override back: what the files say is shown again."""
    path = f"/instruments/{client.named(identifier)}/overrides/{override}"
    content = client.connect(url, key).delete(path, reason=reason)
    gone = client.read(content, _Override)
    client.print_json(content) if as_json else print(f"Override {gone.id} of {gone.field} of {gone.key} is withdrawn.")


def _print(found: list[_Override]) -> None:
    if not found:
        note("There are none.")
        return
    rows = [
        (
            one.id, one.key, one.field, one.value, one.valid_from, one.valid_to,
            "withdrawn" if one.withdrawn_by else "in force" if one.in_force else "not in force", one.actor, one.reason,
        )
        for one in found
    ]  # fmt: skip
    table(["id", "key", "field", "value", "from", "until before", "state", "by", "reason"], rows)
