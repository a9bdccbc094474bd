"""`instrument-registry chain`: the options of an underlying, by strike."""

from typing import Annotated

import msgspec
import typer
from rich.text import Text

from instrument_registry.cli import client, completing
from instrument_registry.cli.tables import note, table


class _Side(msgspec.Struct):
    key: str
    lot_size: int | None
    freeze_qty: int | None
    tokens: dict[str, str]


class _Strike(msgspec.Struct):
    strike: str
    call: _Side | None
    put: _Side | None
    one_sided: bool


class _Expiry(msgspec.Struct):
    expiry: str
    cycle: str


class _Chain(msgspec.Struct):
    underlying: str
    venue: str
    expiry: str
    expires_at: str | None
    cycle: str
    expiries: list[_Expiry]
    strikes: list[_Strike]
    strike_interval: str | None
    at_the_money: str | None
    completeness: dict[str, float]


def chain(
    underlying: Annotated[str, typer.Argument(help="For example NIFTY.", autocompletion=completing.symbols)],
    expiry: Annotated[str, typer.Argument(help="A date (YYYY-MM-DD), nearest, weekly or monthly.")] = "nearest",
    price: Annotated[str | None, typer.Option(help="The underlying's price: marks the strike at the money.")] = None,
    strikes: Annotated[int | None, typer.Option(help="Only so many on each side of the price.")] = None,
    broker: Annotated[
        list[str] | None, typer.Option(help="Show this broker's tokens alone.", autocompletion=completing.brokers)
    ] = None,
    venue: Annotated[
        str | None, typer.Option(help="Where, if several have it.", autocompletion=completing.venues)
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="As of this market date, YYYY-MM-DD.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Show the options of an underlying that end on one day, calls to the left, puts to the right."""
    asked = [one.lower() for one in broker or ()]
    content = client.connect(url, key).get(
        f"/chains/{client.named(underlying)}", expiry=expiry, price=price, strikes=strikes, broker=asked, venue=venue,
        as_of=as_of,
    )  # fmt: skip
    if as_json:
        client.print_json(content)
        return
    found = client.read(content, _Chain)
    brokers = asked or sorted(found.completeness)
    columns = [
        *(f"{one} call>" for one in brokers),
        "lot>",
        "freeze>",
        "strike>",
        "",
        *(f"{one} put" for one in brokers),
    ]
    ends = found.expires_at or "at an hour not known"
    title = f"{found.underlying} {found.venue} {found.expiry} {found.cycle}, ends {ends}"
    table(columns, [_row(one, brokers, found.at_the_money) for one in found.strikes], title=title)
    note(f"Every {found.strike_interval or '?'}; expiries: {', '.join(one.expiry for one in found.expiries)}")
    for one, share in found.completeness.items():
        if share < 1:
            note(f"{one} lacks {1 - share:.1%} of these contracts.")


def _row(strike: _Strike, brokers: list[str], at_the_money: str | None) -> list[object]:
    here = strike.strike == at_the_money
    side = strike.call or strike.put
    mark = "at the money" if here else "one-sided" if strike.one_sided else ""
    return [
        *(strike.call.tokens.get(broker) if strike.call else "" for broker in brokers),
        side.lot_size if side else None, side.freeze_qty if side else None,
        Text(strike.strike, style="bold" if here else ""), Text(mark, style="dim"),
        *(strike.put.tokens.get(broker) if strike.put else "" for broker in brokers),
    ]  # fmt: skip
