"""`instrument-registry declarations`: corporate actions that no dump says by itself."""

from typing import Annotated, Literal

import msgspec
import typer

from instrument_registry.cli import client
from instrument_registry.cli.tables import note, table

app = typer.Typer(
    name="declarations", help="Symbol changes, demergers and mergers, as ingestion follows them.", no_args_is_help=True
)

What = Literal["symbol_change", "demerger", "merger"]


class _Declaration(msgspec.Struct):
    id: int
    what: str
    exchange: str
    old_symbol: str
    new_symbol: str
    effective_date: str
    source: str
    actor: str


class _Pagination(msgspec.Struct):
    next_cursor: str | None = None


class _Page(msgspec.Struct):
    declarations: list[_Declaration]
    pagination: _Pagination


@app.command("list")
def list_(
    what: Annotated[What | None, typer.Option(help="Only these.")] = None,
    exchange: Annotated[str | None, typer.Option(help="Only of this exchange.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only of this symbol, the old or the new one.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="On a page.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Go on where a page ended.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """List what exchanges' lists and operators declared, the latest first."""
    content = client.connect(url, key).get(
        "/declarations", what=what, exchange=exchange, symbol=symbol, limit=limit, cursor=cursor
    )
    if as_json:
        client.print_json(content)
        return
    page = client.read(content, _Page)
    rows = [
        (one.effective_date, one.what, one.exchange, one.old_symbol, one.new_symbol, one.source, one.actor)
        for one in page.declarations
    ]
    if not rows:
        note("There are none.")
        return
    table(["effective", "what", "exchange", "old", "new", "source", "by"], rows)
    if page.pagination.next_cursor:
        note(f"The next page: --cursor {page.pagination.next_cursor}")


@app.command("add")
def add(
    what: Annotated[What, typer.Argument(help="What happened.")],
    exchange: Annotated[str, typer.Argument(help="Where, for example NSE.")],
    old_symbol: Annotated[str, typer.Argument(help="The symbol before.")],
    new_symbol: Annotated[str, typer.Argument(help="The symbol after, or of what came out of it.")],
    effective: Annotated[str, typer.Option(help="From this market date on, YYYY-MM-DD.")],
    reason: Annotated[str, typer.Option(help="How one knows.")],
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Declare a corporate action: the next ingestions follow it."""
    body = {
        "what": what, "exchange": exchange, "old_symbol": old_symbol, "new_symbol": new_symbol,
        "effective_date": effective, "reason": reason,
    }  # fmt: skip
    content = client.connect(url, key).post("/declarations", body)
    made = client.read(content, _Declaration)
    if as_json:
        client.print_json(content)
    else:
        change = f"{made.what} of {made.old_symbol} into {made.new_symbol}"
        print(f"Declared: {change} at {made.exchange} from {made.effective_date}.")
