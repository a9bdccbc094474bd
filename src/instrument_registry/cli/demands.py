"""`instrument-registry demands`: who wants live data of what, put and released."""

from typing import Annotated, Literal

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import note, table

app = typer.Typer(name="demands", help="Who wants live data of what.", no_args_is_help=True)

GivenSource = Literal["position", "holding", "strategy", "manual"]
Source = Literal["live_feed", "historical", "alerts", "position", "holding", "strategy", "manual"]
Whose = Annotated[GivenSource, typer.Argument(help="What it is wanted for.")]
OwnerName = Annotated[str, typer.Argument(help="What the source calls it: a position's id, a strategy's name.")]


class _Demand(msgspec.Struct):
    source: str
    owner: str
    rule: int
    user_id: str
    key: str
    mode: str
    priority: int
    tier: int
    copies: int
    pinned: bool
    counts: bool
    expires_at: str | None = None


class _Pagination(msgspec.Struct):
    next_cursor: str | None = None


class _Page(msgspec.Struct):
    demands: list[_Demand]
    pagination: _Pagination


class _Changed(msgspec.Struct):
    wanted: int
    added: int
    changed: int
    released: int
    ended: list[str]


@app.command("list")
def list_(
    instrument: Annotated[str | None, typer.Option(help="Only of this one: its key, id, token or symbol.")] = None,
    user: Annotated[str | None, typer.Option(help="Only of this user.")] = None,
    source: Annotated[Source | None, typer.Option(help="Only what is wanted for this.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only of this owner: of a profile its id.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="On a page.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Go on where a page ended.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List who wants what, in which mode and tier; a star behind the mode says that it reaches no wire."""
    content = client.connect(url, key).get(
        "/subscriptions/demands", instrument=instrument, user_id=user, source=source, owner=owner, limit=limit,
        cursor=cursor,
    )  # fmt: skip
    if as_json:
        client.print_json(content)
        return
    page = client.read(content, _Page)
    if not page.demands:
        note("Nobody wants anything of that sort.")
        return
    columns = [
        "instrument",
        "mode",
        "tier>",
        "priority>",
        "user",
        "source",
        "owner",
        "rule>",
        "copies>",
        "pinned",
        "until",
    ]
    table(
        columns,
        [
            (
                one.key, one.mode if one.counts else f"{one.mode}*", one.tier, one.priority, one.user_id, one.source,
                one.owner, one.rule or None, one.copies, one.pinned, one.expires_at,
            )
            for one in page.demands
        ],
    )  # fmt: skip
    if page.pagination.next_cursor:
        note(f"The next page: --cursor {page.pagination.next_cursor}")


@app.command("put")
def put(
    source: Whose,
    owner: OwnerName,
    instruments: Annotated[list[str], typer.Argument(help="All that it wants: keys, ids, tokens or symbols.")],
    user: Annotated[str, typer.Option(help="For whom.")],
    mode: Annotated[Literal["ltp", "quote", "full"], typer.Option(help="How much of each.")] = "ltp",
    priority: Annotated[int, typer.Option(min=0, max=100, help="75 and more is served first.")] = 50,
    copies: Annotated[int, typer.Option(min=1, max=2, help="2: over two accounts.")] = 1,
    pinned: Annotated[bool, typer.Option("--pinned", help="Not to be moved while its connection lives.")] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Say all that an owner wants from now on: what is not named is released."""
    said = {"mode": mode, "priority": priority, "copies": copies, "pinned": pinned}
    body = {"user_id": user, "instruments": [{"instrument": one} | said for one in instruments]}
    content = client.connect(url, key).put(f"/subscriptions/demands/{client.named(source)}/{client.named(owner)}", body)
    if as_json:
        client.print_json(content)
        return
    done = client.read(content, _Changed)
    print(f"{done.wanted} wanted: {done.added} added, {done.changed} changed, {done.released} released.")
    if done.ended:
        note(f"Ended already: {', '.join(done.ended)}")


@app.command("release")
def release(source: Whose, owner: OwnerName, url: client.Url = None, key: client.Key = None) -> None:
    """Release all that an owner wants; what others want too stays."""
    client.connect(url, key).delete(f"/subscriptions/demands/{client.named(source)}/{client.named(owner)}")
    print(f"{source} {owner} wants nothing any more.")
