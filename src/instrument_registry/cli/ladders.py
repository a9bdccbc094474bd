"""`instrument-registry ladders`: where rules stand, and the prices that they follow."""

from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import note, table

app = typer.Typer(name="ladders", help="Where ladders stand, and the prices they follow.", no_args_is_help=True)

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="On a page.")]
Cursor = Annotated[str | None, typer.Option(help="Go on where a page ended.")]


class _Ladder(msgspec.Struct):
    source: str
    owner: str
    rule: int
    user_id: str
    kind: str
    underlying: str | None
    centre: str | None
    price: str | None
    stays_from: str | None
    stays_to: str | None
    frozen: str | None
    instruments: int
    truncated: bool
    next_edge: str | None


class _Price(msgspec.Struct):
    underlying: str
    price: str | None
    age_seconds: float | None
    frozen: str | None
    refused_price: str | None


class _Taken(msgspec.Struct):
    underlying: str
    verdict: str
    detail: str
    ladders: int
    moves: int


class _Pagination(msgspec.Struct):
    next_cursor: str | None = None


class _Ladders(msgspec.Struct):
    ladders: list[_Ladder]
    pagination: _Pagination


class _Prices(msgspec.Struct):
    prices: list[_Price]
    pagination: _Pagination


class _Told(msgspec.Struct):
    prices: list[_Taken]


@app.command("list")
def list_(
    underlying: Annotated[str | None, typer.Option(help="Only on this, for example NSE:NIFTY.")] = None,
    user: Annotated[str | None, typer.Option(help="Only of this user.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only of this owner: of a profile its id.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List where ladders and filters stand, and what keeps a ladder from following its price."""
    content = client.connect(url, key).get(
        "/subscriptions/ladders", underlying=underlying, user_id=user, owner=owner, limit=limit, cursor=cursor
    )
    if as_json:
        client.print_json(content)
        return
    page = client.read(content, _Ladders)
    if not page.ladders:
        note("There are none.")
        return
    rows = [
        (
            one.underlying or one.kind, one.centre, one.price, one.stays_from, one.stays_to, one.frozen,
            one.instruments, one.truncated, one.user_id, f"{one.source} {one.owner} {one.rule}", one.next_edge,
        )
        for one in page.ladders
    ]  # fmt: skip
    columns = [
        "on",
        "middle>",
        "by price>",
        "stays from>",
        "to>",
        "frozen",
        "brings>",
        "cut",
        "user",
        "rule",
        "next edge",
    ]
    table(columns, rows)
    if page.pagination.next_cursor:
        note(f"The next page: --cursor {page.pagination.next_cursor}")


@app.command("prices")
def prices(
    limit: Limit = 100,
    cursor: Cursor = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List what underlyings cost, and which price was refused since."""
    content = client.connect(url, key).get("/subscriptions/reference-prices", limit=limit, cursor=cursor)
    if as_json:
        client.print_json(content)
        return
    page = client.read(content, _Prices)
    rows = [(one.underlying, one.price, one.age_seconds, one.frozen, one.refused_price) for one in page.prices]
    if not rows:
        note("None was told yet.")
        return
    table(["underlying", "price>", "seconds old>", "frozen", "refused>"], rows)
    if page.pagination.next_cursor:
        note(f"The next page: --cursor {page.pagination.next_cursor}")


@app.command("price")
def price(
    underlying: Annotated[str, typer.Argument(help="For example NSE:NIFTY or MCX:GOLD.")],
    value: Annotated[str, typer.Argument(metavar="PRICE", help="What it costs now.")],
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="It is true, however far it is from the one before.")
    ] = False,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Say what an underlying costs: ladders follow it."""
    body = {"prices": [{"underlying": underlying, "price": value, "confirmed": confirmed}]}
    content = client.connect(url, key).post("/subscriptions/reference-prices", body)
    if as_json:
        client.print_json(content)
        return
    (taken,) = client.read(content, _Told).prices
    print(f"{taken.underlying} {taken.verdict}: {taken.detail}.")
    print(f"{taken.ladders} ladders are on it, {taken.moves} of them are looked at now.")
