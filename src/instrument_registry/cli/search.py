"""`instrument-registry search`: find instruments by what a trader types.

Exit codes: 0 something was found, 1 nothing or failed, 2 wrong usage, 3 not allowed.
"""

from typing import Annotated

import msgspec
import typer

from instrument_registry.cli import client, completing
from instrument_registry.cli.listing import Instrument, table_of
from instrument_registry.cli.tables import note


class _Pagination(msgspec.Struct):
    next_cursor: str | None = None
    total: int | None = None


class _Page(msgspec.Struct):
    instruments: list[Instrument]
    pagination: _Pagination
    as_of: str
    index_age_seconds: float = 0.0


def search(
    words: Annotated[
        list[str], typer.Argument(help="What a trader types: nifty 24500 ce; banknifty aug fut; an ISIN.")
    ],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="Hits on a page.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on where a page ended.")] = None,
    as_of: Annotated[str | None, typer.Option(help="As of this market date, YYYY-MM-DD.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind.", autocompletion=completing.kinds)] = None,
    venue: Annotated[list[str] | None, typer.Option(help="Only this venue.", autocompletion=completing.venues)] = None,
    broker: Annotated[
        list[str] | None,
        typer.Option(help="Only what this broker has; shows its tokens.", autocompletion=completing.brokers),
    ] = None,
    underlying: Annotated[
        list[str] | None, typer.Option(help="Only contracts on this.", autocompletion=completing.symbols)
    ] = None,
    status: Annotated[list[str] | None, typer.Option(help="Ended ones too: active, expired, delisted.")] = None,
    url: client.Url = None,
    key: client.Key = None,
    as_json: client.AsJson = False,
) -> None:
    """Find instruments by what a trader types, the likeliest first."""
    answer = client.connect(url, key).get(
        "/search", query=" ".join(words), limit=limit, cursor=cursor, as_of=as_of, kind=_lower(kind),
        venue=_upper(venue), broker=_lower(broker), underlying=_upper(underlying), status=_lower(status),
    )  # fmt: skip
    page = client.read(answer, _Page)
    if as_json:
        client.print_json(answer)
    elif page.instruments:
        table_of(page.instruments, brokers=_lower(broker))
        _note_the_rest(page)
    else:
        note(f"Nothing was found as of {page.as_of}.")
    if not page.instruments:
        raise typer.Exit(1)


def _upper(several: list[str] | None) -> list[str]:
    return [one.upper() for one in several or ()]


def _lower(several: list[str] | None) -> list[str]:
    return [one.lower() for one in several or ()]


def _note_the_rest(page: _Page) -> None:
    if page.pagination.next_cursor:
        total = f" of {page.pagination.total:,}" if page.pagination.total is not None else ""
        note(f"{len(page.instruments)}{total}; the next page: --cursor {page.pagination.next_cursor}")
    if page.index_age_seconds:
        note(f"The index is {page.index_age_seconds:.1f} s behind; ask again in a moment.")
    if any(one.overridden for one in page.instruments):
        note("* set by an operator; `instrument-registry show KEY` says why.")
