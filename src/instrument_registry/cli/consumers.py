"""`instrument-registry consumers`: who follows the facts, how far they are, and moving them."""

from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import facts, note, table

app = typer.Typer(name="consumers", help="Who follows the facts.", no_args_is_help=True)

PAGE = 1000
Name = Annotated[str, typer.Argument(help="The consumer's name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept for whoever asks next year.")]
From = Annotated[
    str, typer.Option("--from", help="earliest, latest, a position, or an instant (YYYY-MM-DDThh:mm:ssZ).")
]
Types = Annotated[
    list[str] | None, typer.Option("--type", help="A type, a family such as instrument.*, or *; may be repeated.")
]


class _Consumer(msgspec.Struct):
    consumer_id: str
    event_types: list[str]
    bulk: bool
    shared: bool
    position: int
    lag: int
    held: int
    waiting: int
    dead_letters: int
    processes: list[str]
    created_at: str
    created_by: str
    seen_at: str


class _Pagination(msgspec.Struct):
    next_cursor: str | None = None


class _Page(msgspec.Struct):
    consumers: list[_Consumer]
    pagination: _Pagination


@app.command("list")
def list_(url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """List consumers and how far behind they are; with --json each page on a line."""
    instance = client.connect(url, key)
    found: list[_Consumer] = []
    cursor: str | None = None
    while True:
        content = instance.get("/consumers", limit=PAGE, cursor=cursor)
        page = client.read(content, _Page)
        if as_json:
            client.print_json(content)
        found += page.consumers
        cursor = page.pagination.next_cursor
        if cursor is None:
            break
    if as_json:
        return
    if not found:
        note("Nobody follows the facts under a name.")
        return
    rows = [
        (one.consumer_id, " ".join(one.event_types), one.position, one.lag, one.held, one.waiting, one.dead_letters,
         ", ".join(one.processes), one.seen_at[:19])
        for one in found
    ]  # fmt: skip
    columns = ["consumer", "types", "position>", "lag>", "held>", "waiting>", "dead>", "served", "seen"]
    table(columns, rows)


@app.command("show")
def show(name: Name, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False) -> None:
    """Show how a consumer is doing."""
    content = client.connect(url, key).get(f"/consumers/{client.named(name)}")
    client.print_json(content) if as_json else _print(client.read(content, _Consumer))


@app.command("create")
def create(
    name: Name,
    types: Types = None,
    start: From = "latest",
    bulk: Annotated[bool, typer.Option("--bulk", help="Single facts of runs with more than 5,000 too.")] = False,
    shared: Annotated[bool, typer.Option("--shared", help="Several processes at once, in no common order.")] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Make a consumer before it first asks."""
    body = {
        "consumer_id": name, "event_types": types or ["*"], "from": start, "bulk": bulk,
        "shared": shared,
    }  # fmt: skip
    content = client.connect(url, key).post("/consumers", body)
    client.print_json(content) if as_json else _print(client.read(content, _Consumer))


@app.command("seek")
def seek(
    name: Name,
    start: From,
    reason: Reason,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Let a consumer go on from elsewhere; what it holds is forgotten."""
    body = {"from": start, "reason": reason}
    content = client.connect(url, key).post(f"/consumers/{client.named(name)}/seek", body)
    moved = client.read(content, _Consumer)
    client.print_json(content) if as_json else print(f"{name} goes on after position {moved.position:,}.")


@app.command("remove")
def remove(
    name: Name, reason: Reason, url: client.Url = None, key: client.Key = None, as_json: client.AsJson = False
) -> None:
    """Remove a consumer; its dead letters stay as long as they are kept."""
    content = client.connect(url, key).delete(f"/consumers/{client.named(name)}", reason=reason)
    gone = client.read(content, _Consumer)
    client.print_json(content) if as_json else print(f"{name} is gone; it had settled {gone.position:,}.")


def _print(one: _Consumer) -> None:
    facts(
        [
            ("consumer", one.consumer_id),
            ("types", " ".join(one.event_types)),
            ("settled up to", one.position),
            ("lag", one.lag),
            ("in hand", one.held),
            ("waiting for another try", one.waiting),
            ("dead letters", one.dead_letters),
            ("served", ", ".join(one.processes) or "nobody"),
            ("single facts of bulk runs", one.bulk),
            ("shared", one.shared),
            ("seen", one.seen_at[:19]),
            ("created", f"{one.created_at[:19]} by {one.created_by}"),
        ]
    )
