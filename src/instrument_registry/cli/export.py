"""`instrument-registry export`: the catalogue, or a part of it, as one file.

Exit codes: 0 exported, 1 failed, 2 wrong usage, 3 not allowed.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from instrument_registry.cli import client, completing
from instrument_registry.errors import Invalid

SUFFIXES = {
    ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".arrow": "arrow", ".arrows": "arrow", ".parquet": "parquet",
}  # fmt: skip
BINARY = ("arrow", "parquet")


def export(
    file: Annotated[Path | None, typer.Argument(help="Where to write it; left out: standard output.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="csv, jsonl, arrow or parquet; else by the file's name, else csv.")
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="As of this market date, YYYY-MM-DD.")] = None,
    as_known_at: Annotated[str | None, typer.Option(help="As known at this instant.")] = None,
    venue: Annotated[list[str] | None, typer.Option(help="Only this venue.", autocompletion=completing.venues)] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind.", autocompletion=completing.kinds)] = None,
    underlying: Annotated[
        list[str] | None, typer.Option(help="Only contracts on this.", autocompletion=completing.symbols)
    ] = None,
    broker: Annotated[
        list[str] | None,
        typer.Option(help="Only what this broker has, with its tokens alone.", autocompletion=completing.brokers),
    ] = None,
    expiry_from: Annotated[str | None, typer.Option(help="Only what ends on this day or later.")] = None,
    expiry_to: Annotated[str | None, typer.Option(help="Only what ends on this day or earlier.")] = None,
    include_test: Annotated[bool, typer.Option(help="Test rows of the exchanges too.")] = False,
    url: client.Url = None,
    key: client.Key = None,
) -> None:
    """Write the instruments that live on a market date, by key, with each broker's token."""
    chosen = _format(format_, file)
    if file is None and chosen in BINARY and sys.stdout.isatty():
        raise Invalid(f"{chosen} is nothing for a terminal; name a file")
    pieces = client.connect(url, key).stream(
        "/export", format=chosen, as_of=as_of, as_known_at=as_known_at, venue=_upper(venue), kind=_lower(kind),
        underlying=_upper(underlying), broker=_lower(broker), expiry_from=expiry_from, expiry_to=expiry_to,
        include_test=include_test,
    )  # fmt: skip
    if file is not None:
        _write(file, pieces)
        return
    try:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever read it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _format(asked: str | None, file: Path | None) -> str:
    chosen = asked.lower() if asked else SUFFIXES.get(file.suffix.lower() if file else ".csv")
    if chosen is None or chosen not in SUFFIXES.values():
        problem = f"{asked} is no format" if asked else f"The name {file} tells no format"
        raise Invalid(f"{problem}; give --format csv, jsonl, arrow or parquet")
    return chosen


def _write(file: Path, pieces: Iterator[bytes]) -> None:
    """Into the file, which is there as a whole or as it was before."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as out:
            _copy(pieces, out)
        part.replace(file)
    except OSError as error:
        raise Invalid(f"{file} cannot be written: {error.strerror or error}", field="file", value=str(file)) from error
    finally:
        part.unlink(missing_ok=True)


def _copy(pieces: Iterable[bytes], out: BinaryIO) -> None:
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(_bar()) if sys.stderr.isatty() else None
        for piece in pieces:
            out.write(piece)
            if report is not None:
                report(len(piece))


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[int], None]]:
    """How much has come, on standard error; how much there will be nobody knows before the end."""
    from rich.console import Console
    from rich.progress import (
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    columns = (SpinnerColumn(), TextColumn("exporting"), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda size: bars.update(task, advance=size)


def _upper(several: list[str] | None) -> list[str]:
    return [one.upper() for one in several or ()]


def _lower(several: list[str] | None) -> list[str]:
    return [one.lower() for one in several or ()]
